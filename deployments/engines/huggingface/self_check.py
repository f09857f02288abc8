"""A loaded model reads a few tokens in several ways; if their scores differ, it must not be served."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, cast

import torch
from torch import Tensor

from deployments.engines.huggingface import torch_failures as failures
from deployments.engines.huggingface.cohorts import Cohort, cohort
from deployments.engines.huggingface.network import Network
from deployments.engines.huggingface.transformers_internals import VERSIONS, token_bytes
from graphs.errors import AnabranchError, Unavailable

if TYPE_CHECKING:
    from deployments.engines.huggingface.rows import Row

TOLERANCE = {torch.float32: 1e-2, torch.float64: 1e-2}
"""How far two ways may differ, as a share of the scores' spread. Rounding makes less than a hundredth of this in float32…"""
TOLERANCE_OF_HALF = 0.15
"""…and a few hundredths in half precision. A cache that is lost, or padding that is read, makes a third and more."""

PROMPT, STEPS, LONGER = 5, 3, 16
"""Tokens of the prompt, tokens that follow it, and tokens by which the other row's prompt is longer."""


@dataclass(slots=True)
class _Text:
    """As much of a row as reading takes."""

    prompt: Sequence[int]
    tokens: list[int] = field(default_factory=list[int])


def check(network: Network, name: str) -> int:
    """Return the bytes that a token takes in the model's cache; raise if the model doesn't read as it must."""
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
    except AnabranchError as error:
        if isinstance(error, Unavailable):
            raise
        raise _refusal(name, network, f"reading {way}: {error.message}") from error
    except Exception as error:
        raise _refusal(name, network, f"reading {way} failed: {failures.words(error)}") from error
    return token_bytes(alone.cache)


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
