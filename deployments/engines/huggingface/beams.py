"""Beam search by transformers' `generate`, for several rows at once; other rows go on between its steps."""

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
from deployments.engines.huggingface.transformers_internals import VERSIONS
from graphs.errors import ComponentFailed


def alike(network: Network, rows: Sequence[Row], most: int) -> int:
    """Return how many of the first rows can share a search: at least one, and at most `most` beams in all."""
    first = rows[0].settings
    # `generate` draws for all rows from one random generator, and a row with a seed needs its own.
    if not first.draw.greedy or not (network.encodes or network.joins):
        return 1
    same = takewhile(lambda row: replace(row.settings, stops=first.stops, seed=first.seed) == first, rows)
    return max(1, min(len(list(same)), most // first.beams))


def search(network: Network, rows: Sequence[Row], between: Callable[[], bool]) -> list[str]:
    """Return each row's whole text, and end the row. `between` is called after each step; True stops the search.

    A row that has failed or was cancelled has no text.
    """
    prompts, mask = network.padded([row.prompt for row in rows])
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
            stopping_criteria=StoppingCriteriaList([_Between(rows, between, None if network.encodes else prompts)]),
            tokenizer=network.tokenizer,  # for a model that has stop strings of its own
        )
    answers = zip(rows, found[:, before:].tolist(), strict=True)
    return ["" if row.over else row.finish(tokens) for row, tokens in answers]


def _configuration(own: GenerationConfig, row: Row, before: int) -> GenerationConfig:
    """Return the model's own configuration with the row's settings.

    Where it has None, `generate` takes the value of the model's own configuration again.
    """
    settings, draw = row.settings, row.settings.draw
    said = copy.deepcopy(own)
    said.num_beams = settings.beams
    said.num_return_sequences, said.return_dict_in_generate = 1, False
    # The row's limit goes into the field that the model's own configuration uses, which would win over the other.
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
    """Ends the beams of rows that are over. `generate` keeps a row's beams side by side, in the order of the rows."""

    def __init__(self, rows: Sequence[Row], between: Callable[[], bool], prompts: Tensor | None) -> None:
        self._rows = rows
        self._between = between
        self._prompts = prompts

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        del scores, kwargs
        self._refuse_other_order(input_ids)
        over = self._between()
        ended = torch.tensor([over or row.over for row in self._rows], device=input_ids.device)
        return ended.repeat_interleave(input_ids.shape[0] // len(self._rows))

    def _refuse_other_order(self, beams: Tensor) -> None:
        """Raise, once, if beams stand in another order. An encoder-decoder's don't begin with the prompt and can't tell."""
        prompts, self._prompts = self._prompts, None
        if prompts is None:
            return
        expected = prompts.repeat_interleave(beams.shape[0] // len(self._rows), dim=0)
        if not torch.equal(beams[:, : expected.shape[1]], expected):
            raise ComponentFailed(f"generate of {VERSIONS} keeps beams in another order than this driver expects")
