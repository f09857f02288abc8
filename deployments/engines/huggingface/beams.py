"""Beam search by transformers' `generate`, for several answers at once; between its steps the other rows go on."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import replace
from itertools import takewhile
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from deployments.engines.huggingface.network import Network
from deployments.engines.huggingface.rows import Row


def alike(network: Network, rows: Sequence[Row], most: int) -> int:
    """Return how many of the first rows may be searched for together: one at least, `most` rows in all with their beams."""
    first = rows[0].settings
    # Drawing takes from one generator for all; with a seed, each must have its own.
    if not first.draw.greedy or not (network.encodes or network.joins):
        return 1
    same = takewhile(lambda row: replace(row.settings, stops=first.stops, seed=first.seed) == first, rows)
    return max(1, min(len(list(same)), most // first.beams))


def search(network: Network, rows: Sequence[Row], between: Callable[[], bool]) -> list[str]:
    """Return each row's whole text, and end the row; `between` is called after each step and says whether to give up."""
    prompts, mask = _padded(network, rows)
    before = 1 if network.encodes else prompts.shape[1]
    seed = rows[0].settings.seed
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices, enabled=seed is not None):
        if seed is not None:
            torch.manual_seed(seed)
        found: Tensor = network.model.generate(
            prompts,
            attention_mask=mask,
            generation_config=_configuration(network.own, rows[0], before),
            stopping_criteria=StoppingCriteriaList([_Between(rows, between)]),
            tokenizer=network.tokenizer,  # for a model that has stop strings of its own
        )
    return [_text(row, tokens) for row, tokens in zip(rows, found[:, before:].tolist(), strict=True)]


def _text(row: Row, tokens: Sequence[int]) -> str:
    """Return the row's text; what follows an end is padding, and ends the row no second time."""
    return "" if row.over else row.finish(tokens)


def _padded(network: Network, rows: Sequence[Row]) -> tuple[Tensor, Tensor]:
    """Return prompts and mask; a decoder goes on from the right, so its prompts are padded on the left."""
    longest = max(len(row.prompt) for row in rows)
    padding = network.model.config.pad_token_id or 0
    prompts: list[list[int]] = []
    mask: list[list[int]] = []
    for row in rows:
        gap, length = longest - len(row.prompt), len(row.prompt)
        prompts.append([*row.prompt, *[padding] * gap] if network.encodes else [*[padding] * gap, *row.prompt])
        mask.append([1] * length + [0] * gap if network.encodes else [0] * gap + [1] * length)
    return torch.tensor(prompts, device=network.device), torch.tensor(mask, device=network.device)


def _configuration(own: GenerationConfig, row: Row, before: int) -> GenerationConfig:
    """Return the model's own configuration with the row's settings; what is None there is the model's own again."""
    settings, draw = row.settings, row.settings.draw
    said = copy.deepcopy(own)
    said.num_beams = settings.beams
    said.num_return_sequences, said.return_dict_in_generate = 1, False
    # Whichever of the two the model's own configuration says, it would win over the other.
    if own.min_new_tokens is None:
        said.min_length = before + settings.least if settings.least else 0
    else:
        said.min_new_tokens = settings.least
    if own.max_new_tokens is None:
        said.max_length = before + settings.most
    else:
        said.max_new_tokens = settings.most
    said.repetition_penalty = settings.repetition_penalty
    said.eos_token_id = sorted(settings.ends) or None
    if said.pad_token_id is None:
        said.pad_token_id = min(settings.ends, default=0)
    said.do_sample = not draw.greedy
    if said.do_sample:
        said.temperature, said.top_k, said.top_p = draw.temperature, draw.top_k, draw.top_p
    return said


class _Between(StoppingCriteria):
    def __init__(self, rows: Sequence[Row], between: Callable[[], bool]) -> None:
        self._rows = rows
        self._between = between

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        del scores, kwargs
        over = self._between()
        ended = torch.tensor([over or row.over for row in self._rows], device=input_ids.device)
        return ended.repeat_interleave(input_ids.shape[0] // len(self._rows))
