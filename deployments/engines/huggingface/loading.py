"""A hub id or a folder, and a task -> the model on its device with its tokenizer; or an error of one line."""

from __future__ import annotations

import importlib
import json
import logging
import threading
import time
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deployments.engines.fetching import CONFIG, fetch, fetch_config, in_bytes, trusts_code
from deployments.engines.prompts import context_length
from graphs.errors import AnabranchError, InvalidInput, Unavailable, first_line
from graphs.suggest import closest

if TYPE_CHECKING:
    import torch

logger = logging.getLogger("anabranch.model")

Kind = Literal["decoder", "encoder-decoder", "embedding", "classification"]

OPTIONS = (
    "revision", "trust_remote_code", "attn_implementation", "source_language", "target_language", "max_model_len",
)  # fmt: skip
"""The keys of `options:` that are about loading…"""
OF_THE_ENGINE = ("max_batch_size", "max_cache_tokens")
"""…and those that the engine takes."""
KINDS: Mapping[str, Kind] = {"text-embedding": "embedding", "text-classification": "classification"}
"""Of the tasks that generate nothing."""
WEIGHTS = ("*.safetensors", "*.bin")
"""Files of weights, as transformers names them."""

# One lock for the whole process: transformers builds models on a device that is set globally, and two loads at once
# leave weights that were never filled in.
_ONE_AT_A_TIME = threading.Lock()


@dataclass(frozen=True, slots=True)
class Loaded:
    """A model that is ready, and what an engine needs to know about it."""

    name: str
    task: str
    kind: Kind
    folder: Path
    model: Any
    tokenizer: Any
    config: Any
    device: str
    dtype: torch.dtype
    context: int | None
    """Tokens it can see; None if its configuration doesn't say."""
    token_bytes: int = 0
    """Memory that a token takes in the cache of a model that generates; 0 where its cache doesn't grow."""


def load(
    name: str, task: str, device: str | None = None, precision: str = "auto", options: Mapping[str, Any] | None = None
) -> Loaded:
    """Load the model. This takes long and blocks: call it in a thread."""
    options = options or {}
    check_options(options, OPTIONS)
    with _ONE_AT_A_TIME, _staying(name):
        _refuse_without_packages(name, "huggingface")
        from deployments.engines import devices

        with _quiet():
            chosen = devices.choose_device(device, name)
            dtype, placed = devices.choose_precision(precision, chosen), devices.placed(chosen)
            folder = fetch(name, options)
            logger.info("loading %s on %s…", name, placed)
            began, before = time.monotonic(), devices.memory(chosen)
            loaded = _loaded(name, task, folder, chosen, dtype, options)
            _log_loaded(loaded, placed, time.monotonic() - began, devices.memory(chosen) - before)
            return loaded


def read_config(name: str, options: Mapping[str, Any] | None = None) -> Any:
    """Return the model's configuration, without loading it, for vLLM."""
    options = options or {}
    with _staying(name):
        _refuse_without_packages(name, "vllm")
        return _config(name, fetch_config(name, options), trusts_code(options))


def check_options(options: Mapping[str, Any], known: tuple[str, ...]) -> None:
    """Refuse unknown options, and a trust_remote_code that is neither true nor false."""
    trusts_code(options)
    for option in options:
        if option not in known:
            near = closest(option, known)
            hint = f"did you mean '{near}'?" if near else f"known options: {', '.join(known)}"
            raise InvalidInput(f"options: there is no '{option}' for the driver huggingface; {hint}", field="options")


def _refuse_without_packages(name: str, driver: str) -> None:
    try:
        for package in ("torch", "transformers"):
            importlib.import_module(package)
    except ImportError as error:
        raise Unavailable(
            f"model {name!r}: the driver {driver} can't be imported here ({first_line(error)}); "
            f"install it: pip install 'anabranch[{driver}]'"
        ) from error


@contextmanager
def _staying(name: str) -> Generator[None]:
    """Turn `sys.exit` in code that a model brings into an error: it would end the loop that all calls share."""
    try:
        yield
    except (SystemExit, KeyboardInterrupt) as exit:
        raise Unavailable(
            f"model {name!r} could not be loaded: code that it brings raised {type(exit).__name__}: {first_line(exit)}"
        ) from exit


def _loaded(name: str, task: str, folder: Path, device: str, dtype: torch.dtype, options: Mapping[str, Any]) -> Loaded:
    trust = trusts_code(options)
    config = _config(name, folder, trust)
    kind = KINDS.get(task) or ("encoder-decoder" if config.is_encoder_decoder else "decoder")
    _refuse_unfit(name, task, kind, config)
    try:
        tokenizer = _tokenizer(name, folder, trust, options)
        model = _model(name, task, kind, folder, config, dtype, options).to(device)
    except AnabranchError:
        raise
    except Exception as error:  # transformers raises errors of all kinds
        raise Unavailable(f"model {name!r} could not be loaded: {_reason(error, device)}") from error
    _say_target(name, model, tokenizer, options)
    if kind == "classification" and model.config.pad_token_id is None:
        model.config.pad_token_id = tokenizer.eos_token_id  # a decoder finds the end of each text by it
    context = context_length(model.config, tokenizer, options.get("max_model_len"))
    size = _checked(name, model, tokenizer, device) if kind in ("decoder", "encoder-decoder") else 0
    return Loaded(name, task, kind, folder, model, tokenizer, model.config, device, dtype, context, size)


def _checked(name: str, model: Any, tokenizer: Any, device: str) -> int:
    """Return the bytes of a token in the model's cache, once the model has shown that it reads as it must."""
    from deployments.engines.huggingface.network import network
    from deployments.engines.huggingface.self_check import check

    called = network(model, tokenizer, device)
    if not called.encodes and not called.joins:
        logger.info("%s: requests of different lengths take turns, for this model's rows can't be padded", name)
    return check(called, name)


def _config(name: str, folder: Path, trust: bool) -> Any:
    from transformers import AutoConfig

    _refuse_unknown_architecture(name, folder, trust)
    try:
        return AutoConfig.from_pretrained(folder, trust_remote_code=trust)
    except Exception as error:
        raise Unavailable(f"model {name!r} could not be loaded: its config.json: {first_line(error)}") from error


def _refuse_unknown_architecture(name: str, folder: Path, trust: bool) -> None:
    """Raise if the model's architecture is neither in transformers nor in code that may run."""
    import transformers

    try:
        said = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        kind, brought = said.get("model_type"), "AutoConfig" in said.get("auto_map", {})
    except (OSError, ValueError, AttributeError):
        return  # transformers says what is wrong with the file
    if kind is None or kind in transformers.CONFIG_MAPPING or (brought and trust):
        return
    why = (
        "it brings code of its own; read that, and if you trust it write `options: {trust_remote_code: true}`"
        if brought
        else f"transformers {transformers.__version__} has no architecture {kind!r}; a newer version may have it"
    )
    raise Unavailable(f"model {name!r} could not be loaded: its config.json: {why}")


def _refuse_unfit(name: str, task: str, kind: Kind, config: Any) -> None:
    """Refuse a model that was made for something else: transformers would fill in random weights."""
    from transformers.models.auto import modeling_auto as auto

    said = set(config.architectures or ())
    generative = _classes(auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES)
    judging = _classes(auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES)
    other = _classes(auto.MODEL_FOR_MASKED_LM_MAPPING_NAMES, auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES) | judging
    shown = ", ".join(sorted(said))
    if kind in ("decoder", "encoder-decoder") and said & other and not said & generative:
        raise Unavailable(
            f"model {name!r} ({shown}) does not generate text; for the task {task} take one that does, or write "
            f"`task: {'text-classification' if said & judging else 'text-embedding'}`"
        )
    if kind == "classification" and said and not said & judging and said & (generative | other):
        raise Unavailable(
            f"model {name!r} ({shown}) was not trained to classify; for the task {task} take one that was"
        )


def _classes(*mappings: Mapping[Any, Any]) -> set[str]:
    found = [names for mapping in mappings for names in mapping.values()]
    return {name for names in found for name in ([names] if isinstance(names, str) else names)}


def _tokenizer(name: str, folder: Path, trust: bool, options: Mapping[str, Any]) -> Any:
    from transformers import AutoTokenizer, PreTrainedTokenizerFast

    languages = {"src_lang": options.get("source_language"), "tgt_lang": options.get("target_language")}
    said = {key: value for key, value in languages.items() if value is not None}
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, trust_remote_code=trust, **said)
    except ImportError:
        raise
    except Exception as error:
        raise Unavailable(f"model {name!r}: its tokenizer could not be loaded: {first_line(error)}") from error
    if not tokenizer.get_vocab().keys() - set(tokenizer.all_special_tokens):
        # Without files, transformers makes a tokenizer with an empty vocabulary, which reads every text as nothing.
        raise Unavailable(
            f"model {name!r} has no tokenizer in its folder; copy tokenizer.json and the files that go with it there"
        )
    if isinstance(tokenizer, PreTrainedTokenizerFast):
        # Requests use it from several threads. Undoing these settings for each request would be a race.
        tokenizer.backend_tokenizer.no_truncation()
        tokenizer.backend_tokenizer.no_padding()
    return tokenizer


def _model(
    name: str, task: str, kind: Kind, folder: Path, config: Any, dtype: torch.dtype, options: Mapping[str, Any]
) -> Any:
    if not any(each for ending in WEIGHTS for each in folder.glob(ending)):
        raise Unavailable(f"model {name!r} could not be loaded: its folder has no weights ({', '.join(WEIGHTS)})")
    more = {key: options[key] for key in ("attn_implementation",) if key in options}
    model, report = _auto_class(kind, config).from_pretrained(
        folder, config=config, dtype=dtype, output_loading_info=True, trust_remote_code=trusts_code(options), **more
    )
    # What a model's own pooler makes of the states is not read here: embedding.py pools them itself.
    unread = "pooler." if kind == "embedding" else ()
    missing = [key for key in sorted(report["missing_keys"]) if not key.startswith(unread)]
    if missing:
        shown = ", ".join(missing[:3]) + (", …" if len(missing) > 3 else "")
        raise Unavailable(
            f"model {name!r} has no weights for {len(missing)} of its parameters ({shown}); the folder is incomplete, "
            f"or the model was not trained for the task {task}"
        )
    if kind == "embedding" and config.is_encoder_decoder:
        model = model.get_encoder()
    return model.eval().requires_grad_(False)


def _auto_class(kind: Kind, config: Any) -> Any:
    import transformers
    from transformers.models.auto import modeling_auto as auto

    match kind:
        case "decoder":
            return transformers.AutoModelForCausalLM
        case "encoder-decoder":
            return transformers.AutoModelForSeq2SeqLM
        case "classification":
            return transformers.AutoModelForSequenceClassification
        case "embedding":
            encodes = config.model_type in auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES
            return transformers.AutoModelForTextEncoding if encodes else transformers.AutoModel


def _say_target(name: str, model: Any, tokenizer: Any, options: Mapping[str, Any]) -> None:
    """Have a model of many languages (NLLB, mBART) begin its answers with the token of the target language."""
    target = options.get("target_language")
    if target is None:
        return
    # getattr: M2M-100's tokenizer has this table because its tokens are named otherwise (`__fr__`); NLLB's has none
    codes: Mapping[str, int] = getattr(tokenizer, "lang_code_to_id", {})
    token = codes.get(target, tokenizer.convert_tokens_to_ids(target))
    if token in (None, tokenizer.unk_token_id):
        raise InvalidInput(
            f"options: the model {name!r} has no language {target!r}; its model card lists its languages",
            field="options.target_language",
        )
    model.generation_config.forced_bos_token_id = token


@contextmanager
def _quiet() -> Generator[None]:
    """Keep progress bars and tables out of the log. What is wrong is raised as an error."""
    from transformers.utils import logging as theirs

    before = theirs.get_verbosity()
    theirs.disable_progress_bar()
    theirs.set_verbosity_error()
    try:
        yield
    finally:
        theirs.set_verbosity(before)


def _reason(error: Exception, device: str) -> str:
    from deployments.engines.huggingface.torch_failures import out_of_memory

    said = first_line(error)
    if out_of_memory(error):
        where = "on the GPU" if device.startswith("cuda") else "into memory"
        return f"it doesn't fit {where}; take a smaller one, a lower `precision`, or more `resources`"
    if isinstance(error, ImportError):
        return f"it needs a Python package that isn't installed: {said}"
    return said


def _log_loaded(loaded: Loaded, placed: str, seconds: float, grown: int) -> None:
    parameters = list(loaded.model.parameters())
    count = sum(each.numel() for each in parameters)
    size = sum(each.numel() * each.element_size() for each in parameters)
    logger.info(
        "loaded %s: %.1f M parameters, %s, %s on %s, %.1f s, memory +%s",
        loaded.name, count / 1e6, in_bytes(size), str(loaded.dtype).removeprefix("torch."),
        placed, seconds, in_bytes(max(0, grown)),
    )  # fmt: skip
