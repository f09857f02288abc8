"""What may be a call's return: gRPC between replicas takes no more than 4 MB."""

import functools
import warnings

import pytest

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    from deployments.serve.envelopes import LARGE, seal_reply, shortened, unseal_reply

from deployments.answering.messages import Answered, Erred
from graphs.errors import TooLarge, UpstreamFailed


def deep(levels: int) -> list:
    return functools.reduce(lambda inner, _: [inner], range(levels), [])


@pytest.mark.parametrize(
    "answered",
    [
        Answered("x" * (LARGE - 1000)),
        Answered("\N{GRINNING FACE}" * (LARGE // 4 - 250)),
        Answered(bytes(LARGE - 1000)),
        Answered({"a": [1]}, {"usage": 3}),
        Answered(deep(300)),
    ],
    ids=["text", "wide text", "bytes", "data", "deep"],
)
def test_an_answer_that_is_small_and_not_too_deep_is_its_call_s_return(answered: Answered):
    assert unseal_reply(seal_reply(answered)) == answered


@pytest.mark.parametrize(
    "answered",
    [
        Answered("x" * LARGE),
        Answered("\N{GRINNING FACE}" * (LARGE // 4)),
        Answered("\ud800" * (LARGE // 2)),
        Answered(bytes(LARGE)),
        Answered(["x" * LARGE]),
        Answered("short", {"logprobs": "x" * LARGE}),
        Answered("x" * (LARGE // 2), {"logprobs": "x" * (LARGE // 2)}),
    ],
    ids=["text", "wide text", "surrogates", "bytes", "data", "notes", "both"],
)
def test_an_answer_that_is_too_large_is_not_its_call_s_return(answered: Answered):
    with pytest.raises(TooLarge, match="too large to be a call's return"):
        seal_reply(answered)


def test_an_answer_that_is_too_deep_is_not_its_call_s_return():
    with pytest.raises(TooLarge, match="nested too deep to be a call's return"):
        seal_reply(Answered(deep(2000)))


def sealed_size(error: UpstreamFailed) -> int:
    return len(seal_reply(Erred(error)))


def test_a_failure_too_large_to_return_keeps_its_type_and_how_its_details_begin():
    error = UpstreamFailed(
        "it refused",
        upstream={"status": 400, "body": "x" * (6 << 20)},
        raw=b"y" * (6 << 20),
        many=[f"{n:01000}" for n in range(1000)],
        deep=deep(2000),
        retry_after=3,
    )
    assert sealed_size(error) < LARGE
    kept = shortened(error)
    assert (type(kept), kept.message) == (UpstreamFailed, "it refused")
    body = "x" * 10_000 + f"… ({(6 << 20) - 10_000} characters more)"
    assert kept.details == {"upstream": {"status": 400, "body": body}, "raw": b"y" * 10_000, "retry_after": 3}


def test_a_message_too_large_to_return_is_cut():
    error = UpstreamFailed("x" * (6 << 20))
    assert shortened(error).message.startswith("xxx")
    assert sealed_size(error) < LARGE


def test_a_failure_that_can_be_returned_is_left_as_it_is():
    error = UpstreamFailed("no", upstream={"status": 400, "body": "x" * 20_000})
    assert shortened(error) is error
    assert unseal_reply(seal_reply(Erred(error))).error.to_data() == error.to_data()
