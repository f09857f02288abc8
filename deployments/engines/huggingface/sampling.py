"""Scores of the next token -> a token, for each row."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from deployments.engines.settings import Draw

NOTHING = -1
"""In place of a token: this row's scores are not numbers, or ban every token."""

NUCLEUS = 1024
"""How many of the likeliest tokens top_p looks at first. Sorting a whole vocabulary is slow."""


def pick(scores: Tensor, draws: Sequence[Draw], chances: Sequence[float]) -> list[int]:
    """Return each row's token. A row's chance, a random number in [0, 1), decides among its likely tokens."""
    ways = ([], [], [])
    for row, draw in enumerate(draws):
        ways[0 if draw.greedy else 1 if draw.limited else 2].append(row)
    tokens = [NOTHING] * len(draws)
    for way, rows in zip((_likeliest, _among_likely, _among_all), ways, strict=True):
        if not rows:
            continue
        some = scores if len(rows) == len(draws) else scores[torch.tensor(rows, device=scores.device)]
        picked = way(some, [draws[row] for row in rows], [chances[row] for row in rows])
        for row, token in zip(rows, picked, strict=True):
            tokens[row] = token
    return tokens


def _likeliest(scores: Tensor, draws: Sequence[Draw], chances: Sequence[float]) -> list[int]:
    del draws, chances
    best, tokens = scores.max(-1)
    return _where(best.isfinite(), tokens)


def _among_likely(scores: Tensor, draws: Sequence[Draw], chances: Sequence[float]) -> list[int]:
    """Choose within top_k, and of these within top_p: from the likeliest up to the token that completes top_p."""
    vocabulary = scores.shape[-1]
    scores = scores / _column(scores, [draw.temperature for draw in draws])
    top_k = _column(scores, [draw.top_k or vocabulary for draw in draws])
    top_p = _column(scores, [draw.top_p for draw in draws])
    unlimited = top_k >= vocabulary
    width = min(vocabulary, max(draw.top_k or NUCLEUS for draw in draws))
    while True:
        best, tokens = scores.topk(width)
        best = best.masked_fill(torch.arange(width, device=scores.device) >= top_k, -torch.inf)
        among = torch.where(unlimited, scores.logsumexp(-1, keepdim=True), best.logsumexp(-1, keepdim=True))
        share = (best - among).exp()
        mass = share.cumsum(-1)
        if width == vocabulary or not bool((unlimited & (mass[:, -1:] < top_p)).any()):
            break
        width = vocabulary
    kept = share.masked_fill(mass - share >= top_p, 0)
    mass = kept.cumsum(-1)
    place = (mass <= _column(scores, chances) * mass[:, -1:]).sum(-1)
    place = place.minimum((kept > 0).sum(-1) - 1).clamp(min=0)
    return _where(best[:, 0].isfinite(), tokens.gather(-1, place[:, None])[:, 0])


def _among_all(scores: Tensor, draws: Sequence[Draw], chances: Sequence[float]) -> list[int]:
    share = (scores / _column(scores, [draw.temperature for draw in draws])).softmax(-1)
    # A sum over a whole vocabulary needs more than single precision.
    mass = share.double().cumsum(-1)
    total = mass[:, -1:]
    place = torch.searchsorted(mass, _column(scores, chances).double() * total, right=True)
    return _where(total[:, 0].isfinite(), place[:, 0].clamp(max=scores.shape[-1] - 1))


def _column(like: Tensor, values: Sequence[float]) -> Tensor:
    return torch.tensor(values, dtype=torch.float32, device=like.device)[:, None]


def _where(fine: Tensor, tokens: Tensor) -> list[int]:
    """Return tokens, or NOTHING. All rows come from the device in one transfer."""
    return torch.where(fine, tokens, NOTHING).tolist()
