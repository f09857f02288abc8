"""What a loaded model must pass before it is served.

Each field of its GenerationConfig is done, is without effect here, or is refused. Then the model reads a few tokens in
several ways, and their scores must not differ.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

import torch
from torch import Tensor

from deployments.engines.huggingface import torch_failures as failures
from deployments.engines.huggingface.cohorts import Cohort, cohort
from deployments.engines.huggingface.network import Network
from deployments.engines.huggingface.transformers_internals import VERSIONS, GenerationConfig, token_bytes
from graphs.errors import AnabranchError, Unavailable

if TYPE_CHECKING:
    from deployments.engines.huggingface.rows import Row

TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-2}
"""How far two ways may differ, as a share of the scores' spread. Rounding makes less than a hundredth of this in float32…"""
TOLERANCE_OF_HALF = 0.15
"""…and a few hundredths in half precision. A cache that is lost, or padding that is read, makes a third and more."""

PROMPT, STEPS, LONGER = 5, 3, 16
"""Tokens of the prompt, tokens that follow it, and tokens by which the other row's prompt is longer."""


DONE = frozenset({
    # settings.py
    "max_length", "max_new_tokens", "min_length", "min_new_tokens", "stop_strings", "do_sample", "num_beams",
    "temperature", "top_k", "top_p", "repetition_penalty", "eos_token_id",
    # rows.py, by the rules of `generate`
    "min_p", "top_h", "typical_p", "epsilon_cutoff", "eta_cutoff", "encoder_repetition_penalty",
    "no_repeat_ngram_size", "encoder_no_repeat_ngram_size", "bad_words_ids", "renormalize_logits",
    "forced_bos_token_id", "forced_eos_token_id", "remove_invalid_values", "exponential_decay_length_penalty",
    "suppress_tokens", "begin_suppress_tokens", "sequence_bias", "watermarking_config",
    # network.py
    "decoder_start_token_id", "bos_token_id",
    # beams.py
    "early_stopping", "length_penalty", "pad_token_id",
})  # fmt: skip

WITHOUT_EFFECT = frozenset({
    # How `generate` computes, and not what.
    "use_cache", "cache_implementation", "cache_config", "max_cache_len", "compile_config", "disable_compile",
    "continuous_batching_config", "prefill_chunk_size", "low_memory",
    # What it returns besides the tokens. A request has one answer.
    "output_attentions", "output_hidden_states", "output_scores", "output_logits", "return_dict_in_generate",
    "num_return_sequences",
    # How an assistant guesses ahead. The model itself decides whether a guess stands.
    "is_assistant", "num_assistant_tokens", "num_assistant_tokens_schedule", "assistant_confidence_threshold",
    "prompt_lookup_num_tokens", "max_matching_ngram_size", "assistant_early_exit", "assistant_lookbehind",
    "target_lookbehind", "assistant_ensemble_weight", "speculation_type", "use_mtp",
    # Where the configuration comes from.
    "_from_model_config", "transformers_version",
})  # fmt: skip

REFUSED: dict[str, tuple[Any, ...]] = {
    "max_time": (None,),
    "token_healing": (None, False),
    "guidance_scale": (None, 1),
    "penalty_alpha": (None, 0),
    "dola_layers": (None,),
    "num_beam_groups": (None, 1),
    "diversity_penalty": (None, 0),
    "constraints": (None,),
    "force_words_ids": (None,),
}
"""Other ways to generate, and the values that ask for none of them."""


@dataclass(slots=True)
class _Text:
    """As much of a row as reading takes."""

    prompt: Sequence[int]
    tokens: list[int] = field(default_factory=list[int])


def check(network: Network, name: str) -> int:
    """Return the bytes that a token takes in the model's cache; raise if the model doesn't read as it must."""
    refuse_unknown(network.own, name)
    ids = _ids(network)
    prompt, tokens, other = ids[:PROMPT], ids[PROMPT : PROMPT + STEPS], ids[PROMPT:]
    # A row beside it is longer where rows can be padded.
    other = other if network.joins or network.encodes else other[:PROMPT]
    way = "in one pass"
    try:
        with torch.inference_mode():
            right = network.logits_without_cache(prompt, tokens)
            alone = cohort(network, cast("list[Row]", [_Text(prompt)]))
            scores = _filled(alone)
            _compare(scores[:1], right[:1], f"{way} with a cache and in one pass without", name, network)
            way = "step by step over its cache"
            scores = torch.stack([scores[0], *_stepped(alone, tokens)])
            _compare(scores, right, f"{way} and in one pass", name, network)
            way = "as a padded row beside another" if len(other) > PROMPT else "as a row beside another"
            beside = cohort(network, cast("list[Row]", [_Text(prompt), _Text(other)]))
            scores = torch.stack([_filled(beside)[0], *_stepped(beside, tokens)])
            _compare(scores, right, f"{way} and alone", name, network)
    except Unavailable:
        raise
    except AnabranchError as error:
        raise _refusal(name, network, f"reading {way}: {error.message}") from error
    except Exception as error:
        raise _refusal(name, network, f"reading {way} failed: {failures.words(error)}") from error
    return token_bytes(alone.cache)


def refuse_unknown(own: Any, name: str) -> None:
    """Raise if the model's own configuration asks for what this driver doesn't do."""
    known = vars(GenerationConfig())
    values = {key: value for key, value in vars(own).items() if key in known}
    for key, value in values.items():
        if key in REFUSED and value not in REFUSED[key]:
            raise Unavailable(
                f"model {name!r} wants to generate with {key}: {value!r}, which the driver huggingface doesn't do; "
                "take it out of the generation_config.json in the model's folder, or take another model"
            )
        if value is not None and key not in DONE | WITHOUT_EFFECT | REFUSED.keys():
            raise Unavailable(
                f"model {name!r} wants to generate with {key}: {value!r}, which the driver huggingface doesn't know "
                f"({VERSIONS}); take it out of the generation_config.json in the model's folder, or install the "
                "versions that this release was tested with"
            )


def _ids(network: Network) -> list[int]:
    """Return tokens from all over the vocabulary, none twice: equal ones would hide that one is read for another."""
    size = min(len(network.tokenizer), network.model.get_input_embeddings().weight.shape[0])
    count = PROMPT + PROMPT + LONGER
    special = set(network.tokenizer.all_special_ids)
    usual = [id for id in range(size) if id not in special]
    if len(usual) < count:
        usual = list(range(size)) * count
    return [usual[(index + 1) * len(usual) // (count + 1)] for index in range(count)]


def _filled(part: Cohort) -> Tensor:
    scores = part.fill(PROMPT + LONGER)
    assert scores is not None
    return scores


def _stepped(part: Cohort, tokens: Sequence[int]) -> Iterator[Tensor]:
    """Yield the first row's scores after each of the tokens."""
    for token in tokens:
        for row in part.rows:
            row.tokens.append(token)
        yield part.step()[0]


def _compare(got: Tensor, right: Tensor, ways: str, name: str, network: Network) -> None:
    got, right = got.float(), right.float()
    spread = right - right.mean(-1, keepdim=True)
    difference = float((got - right).norm() / spread.norm().clamp(min=1e-6))
    # Not a number counts as different.
    if not difference <= TOLERANCE.get(network.model.dtype, TOLERANCE_OF_HALF):
        raise _refusal(name, network, f"its scores differ by {difference:.0%} between reading {ways}")


def _refusal(name: str, network: Network, why: str) -> Unavailable:
    model = network.model
    return Unavailable(
        f"model {name!r} failed its self-check and would answer nonsense: {why} "
        f"(class {type(model).__name__}, {str(model.dtype).removeprefix('torch.')}, {VERSIONS}); "
        "take another model, or the versions that this release was tested with"
    )
