"""A model's scores, before anything changes them -> the log-probabilities of the tokens drawn, for the rows that ask for them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

import torch
from torch import Tensor

from deployments.engines.token_scores import TokenScore


class Scored(Protocol):
    """A row, as far as it is known here."""

    logprobs: int | None
    scores: list[TokenScore]


class LogProbabilities:
    """Those of one step."""

    def __init__(self, scores: Tensor, rows: Sequence[Scored]) -> None:
        self._asking = [(place, row) for place, row in enumerate(rows) if row.logprobs is not None]
        if not self._asking:
            return
        places = torch.tensor([place for place, _ in self._asking], device=scores.device)
        self._all = scores[places].float().log_softmax(-1)
        most = max(row.logprobs or 0 for _, row in self._asking)
        self._best = self._all.topk(min(most, scores.shape[-1]))

    def tell(self, tokens: Sequence[int]) -> None:
        """Tell each row that asks those of its token and of the likeliest. A row without a token fails, and isn't told."""
        if not self._asking:
            return
        drawn = torch.tensor([max(tokens[place], 0) for place, _ in self._asking], device=self._all.device)
        own: list[float] = self._all.gather(-1, drawn[:, None])[:, 0].tolist()
        values, ids = self._best.values.tolist(), self._best.indices.tolist()
        for at, (place, row) in enumerate(self._asking):
            likeliest = list(zip(ids[at], values[at], strict=True))[: row.logprobs]
            row.scores.append(TokenScore(tokens[place], own[at], likeliest))
