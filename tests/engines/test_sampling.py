from __future__ import annotations

from collections import Counter

import pytest
import torch

from deployments.engines.huggingface import sampling
from deployments.engines.huggingface.sampling import NOTHING, pick
from deployments.engines.settings import Draw

SHARES = torch.tensor([0.05, 0.4, 0.1, 0.25, 0.2])
SCORES = SHARES.log()
EVERYWHERE = [(index + 0.5) / 2000 for index in range(2000)]
"""Chances over all of [0, 1)."""


def shares(draw: Draw, scores: torch.Tensor = SCORES) -> dict[int, float]:
    """Return how often each token is chosen."""
    tokens = pick(scores.expand(len(EVERYWHERE), -1), [draw] * len(EVERYWHERE), EVERYWHERE)
    return {token: count / len(EVERYWHERE) for token, count in sorted(Counter(tokens).items())}


def test_greedy_takes_the_likeliest():
    assert shares(Draw()) == {1: 1.0}


def test_all_tokens_come_as_often_as_they_are_likely():
    assert shares(Draw(1.0)) == pytest.approx({0: 0.05, 1: 0.4, 2: 0.1, 3: 0.25, 4: 0.2}, abs=1e-3)


def test_top_k_leaves_the_likeliest_in_proportion():
    assert shares(Draw(1.0, top_k=2)) == pytest.approx({1: 0.4 / 0.65, 3: 0.25 / 0.65}, abs=1e-3)


def test_top_p_goes_up_to_the_token_that_completes_it():
    assert shares(Draw(1.0, top_p=0.6)) == pytest.approx({1: 0.4 / 0.65, 3: 0.25 / 0.65}, abs=1e-3)
    assert shares(Draw(1.0, top_p=0.01)) == {1: 1.0}


def test_top_p_is_a_share_of_what_top_k_leaves():
    assert shares(Draw(1.0, top_k=2, top_p=0.62)) == pytest.approx({1: 0.4 / 0.65, 3: 0.25 / 0.65}, abs=1e-3)
    assert shares(Draw(1.0, top_k=2, top_p=0.61)) == {1: 1.0}


def test_a_high_temperature_levels_and_a_low_one_sharpens():
    warm, cold = shares(Draw(2.0)), shares(Draw(0.25))
    assert warm[0] > 0.05 > cold.get(0, 0)
    assert warm[1] < 0.4 < cold[1]


def test_a_nucleus_wider_than_the_first_look_is_found(monkeypatch):
    monkeypatch.setattr(sampling, "NUCLEUS", 2)
    assert shares(Draw(1.0, top_p=0.9)) == pytest.approx(
        {1: 0.4 / 0.95, 2: 0.1 / 0.95, 3: 0.25 / 0.95, 4: 0.2 / 0.95}, abs=1e-3
    )


def test_a_row_is_chosen_alike_whoever_else_is_there():
    draws = [Draw(), Draw(1.0), Draw(0.7, top_k=3), Draw(1.3, top_p=0.8), Draw(1.0, top_k=4, top_p=0.9)]
    scores = torch.randn(len(draws), 300, generator=torch.Generator().manual_seed(1))
    chances = [0.1, 0.35, 0.6, 0.85, 0.99]
    together = pick(scores, draws, chances)
    assert together == [pick(scores[row : row + 1], [draws[row]], [chances[row]])[0] for row in range(len(draws))]


@pytest.mark.parametrize("draw", [Draw(), Draw(1.0), Draw(1.0, top_k=3), Draw(1.0, top_p=0.5)])
def test_scores_that_leave_no_token_give_none(draw):
    spoiled = SCORES.clone()
    spoiled[2] = torch.nan
    banned = torch.full_like(SCORES, -torch.inf)
    assert pick(torch.stack([spoiled, SCORES, banned]), [draw] * 3, [0.1] * 3) == [NOTHING, 1, NOTHING]


@pytest.mark.parametrize("draw", [Draw(), Draw(1.0), Draw(1.0, top_k=3), Draw(1.0, top_p=1 - 1e-7)])
def test_a_banned_token_is_never_chosen(draw):
    banned = SCORES.clone()
    banned[[0, 1, 4]] = -torch.inf
    assert set(shares(draw, banned)) <= {2, 3}
