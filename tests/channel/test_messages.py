"""What may be a call's return: gRPC between replicas takes no more than 4 MB."""

import functools
import pickle

import pytest

from deployments.answering.messages import LARGE, Answered, Erred, fits, shortened, size_of
from graphs.errors import UpstreamFailed, from_data


def deep(levels: int) -> list:
    return functools.reduce(lambda inner, _: [inner], range(levels), [])


@pytest.mark.parametrize(
    ("answered", "said"),
    [
        (Answered("x" * LARGE), True),
        (Answered("x" * (LARGE + 1)), False),
        (Answered("\N{GRINNING FACE}" * (LARGE // 4)), True),
        (Answered("\N{GRINNING FACE}" * (LARGE - 6)), False),
        (Answered("\ud800" * (LARGE // 2)), False),
        (Answered(bytes(LARGE)), True),
        (Answered(bytes(LARGE + 1)), False),
        (Answered(["x" * LARGE]), False),
        (Answered("short", {"logprobs": "x" * LARGE}), False),
        (Answered("x" * (LARGE // 2), {"logprobs": "x" * (LARGE // 2)}), False),
        (Answered({"a": [1]}, {"usage": 3}), True),
        (Answered(deep(300)), True),
        (Answered(deep(900)), False),
    ],
)
def test_an_answer_fits_when_all_of_it_is_small_and_no_part_too_deep(answered: Answered, said: bool):
    assert fits(answered) is said


def test_what_fits_can_be_pickled_where_less_of_the_stack_is_left():
    levels = next(levels for levels in range(1000, 0, -1) if fits(Answered(deep(levels))))
    assert levels > 300
    pickle.dumps([Answered(deep(levels))], pickle.HIGHEST_PROTOCOL)


def test_a_failure_too_large_to_return_keeps_its_type_and_how_its_details_begin():
    error = UpstreamFailed(
        "it refused",
        upstream={"status": 400, "body": "x" * (6 << 20)},
        raw=b"y" * (6 << 20),
        many=[f"{n:01000}" for n in range(1000)],
        deep=deep(2000),
        retry_after=3,
    )
    erred = shortened(Erred(error.to_data()))
    assert size_of(erred.error) < LARGE
    kept = from_data(erred.error)
    assert (type(kept), kept.message) == (UpstreamFailed, "it refused")
    body = "x" * 10_000 + f"… ({(6 << 20) - 10_000} characters more)"
    assert kept.details == {"upstream": {"status": 400, "body": body}, "raw": b"y" * 10_000, "retry_after": 3}


def test_a_message_too_large_to_return_is_cut():
    assert from_data(shortened(Erred(UpstreamFailed("x" * (6 << 20)).to_data())).error).message.startswith("xxx")
    assert size_of(shortened(Erred(UpstreamFailed("x" * (6 << 20)).to_data())).error) < LARGE


def test_a_failure_that_can_be_returned_is_left_as_it_is():
    erred = Erred(UpstreamFailed("no", upstream={"status": 400, "body": "x" * 20_000}).to_data())
    assert shortened(erred) is erred
