"""`rate_limit`: no more calls begin in any span of time than an API allows, and each waits for its turn in order."""

from __future__ import annotations

import asyncio

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deployments.components.http_client import HttpClient
from deployments.upstream.exchange import Rate
from tests.fakes.calls import Client, one
from tests.fakes.http_server import Upstream


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.now += seconds


@given(requests=st.integers(1, 4), per=st.integers(1, 10), pauses=st.lists(st.integers(0, 4), min_size=1, max_size=30))
async def test_no_span_of_time_sees_more_calls_than_allowed(requests: int, per: int, pauses: list[int]):
    clock = Clock()
    rate = Rate(requests, per, clock, clock.sleep)
    begun: list[float] = []
    for pause in pauses:
        clock.now += pause
        await rate.turn()
        begun.append(clock.now)
    assert all(later - earlier >= per for earlier, later in zip(begun, begun[requests:], strict=False))


async def test_what_is_allowed_begins_at_once():
    clock = Clock()
    rate = Rate(3, 60, clock, clock.sleep)
    for _ in range(3):
        await rate.turn()
    assert clock.now == 0
    await rate.turn()
    assert clock.now == 60


async def test_calls_wait_in_the_order_in_which_they_came_and_who_leaves_takes_no_turn():
    clock, awake, began = Clock(), asyncio.Event(), list[int]()

    async def sleep(seconds: float) -> None:
        await awake.wait()
        clock.now += seconds

    rate = Rate(1, 1, clock, sleep)
    await rate.turn()

    async def call(number: int) -> None:
        await rate.turn()
        began.append(number)

    calls = [asyncio.create_task(call(number)) for number in range(4)]
    await asyncio.sleep(0)
    calls[1].cancel()
    awake.set()
    await asyncio.gather(*calls, return_exceptions=True)
    assert began == [0, 2, 3]
    assert clock.now == 3


async def test_retries_count_as_calls(client: Client, upstream: Upstream):
    turns: list[int] = []

    class Counted(Rate):
        async def turn(self) -> None:
            turns.append(1)

    api = await client(max_retries=2, retry_delay=0, rate_limit={"requests": 2, "per": "1m"})
    assert isinstance(api._exchange._rate, Rate)
    api._exchange._rate = Counted(1, 1)
    await one(api, path="/text", params={"status": 503, "times": 2})
    assert len(turns) == len(upstream.calls) == 3


@pytest.mark.parametrize(
    "limit", [{"requests": 0}, {"requests": 1, "per": 0}, {"per": 1}, 5, {"requests": 1, "each": 1}]
)
def test_a_limit_says_how_many_in_what_time(limit: object):
    with pytest.raises(ValidationError):
        HttpClient.Config.model_validate({"rate_limit": limit})
