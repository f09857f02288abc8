"""Beam search for one answer, by transformers' `generate`; between its steps the other rows go on."""

from __future__ import annotations

import copy
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from transformers import GenerationConfig, StoppingCriteria, StoppingCriteriaList

from deployments.engines.batching.network import Network
from deployments.engines.batching.rows import Row


def search(network: Network, row: Row, between: Callable[[], bool]) -> str:
    """Return the whole text, and end the row; `between` is called after each step and says whether to give up."""
    prompt = torch.tensor([row.prompt], device=network.device)
    before = 1 if network.encodes else len(row.prompt)
    devices = [network.device] if network.device.type == "cuda" else []
    with torch.random.fork_rng(devices, enabled=row.settings.seed is not None):
        if row.settings.seed is not None:
            torch.manual_seed(row.settings.seed)
        found: Tensor = network.model.generate(
            prompt,
            attention_mask=torch.ones_like(prompt),
            generation_config=_configuration(network.own, row, before),
            stopping_criteria=StoppingCriteriaList([_Between(between)]),
        )
    if row.over:
        return ""
    return row.finish(found[0, before:].tolist())


def _configuration(own: GenerationConfig, row: Row, before: int) -> GenerationConfig:
    """Return the model's own configuration with the row's settings; what is None there is the model's own again."""
    settings, draw = row.settings, row.settings.draw
    said = copy.deepcopy(own)
    said.num_beams = settings.beams
    said.min_new_tokens, said.min_length = settings.least, 0
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
    def __init__(self, between: Callable[[], bool]) -> None:
        self._between = between

    def __call__(self, input_ids: Any, scores: Any, **kwargs: Any) -> Any:
        del scores, kwargs
        return torch.full((input_ids.shape[0],), self._between(), dtype=torch.bool, device=input_ids.device)
