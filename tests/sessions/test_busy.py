"""A message comes while its session is answering another: it waits, is refused, or takes the other's place, at any replica."""

from __future__ import annotations

import asyncio

import pytest

from deployments.gateway.gateway import Gateway
from graphs.errors import Cancelled, Conflict, Overloaded
from tests.gateway.keeping import impatient, reading
from tests.sessions.talking import Told, answer, asked, message, replicas, say, sessions, started, turns
from tests.transports.served import soon

HERE, THERE = (0, 0), (0, 1)
"""The replicas that two messages come to."""


@pytest.fixture(params=[HERE, THERE], ids=["here", "there"])
def at(request: pytest.FixtureRequest) -> tuple[int, int]:
    return request.param


async def test_a_message_waits_for_the_one_before_it_and_sees_its_answer(url: str, at: tuple[int, int]) -> None:
    model = Told()
    async with replicas(model, url) as gateways:
        first, second = (gateways[index] for index in at)
        one = await say(first, "one")
        two = asyncio.create_task(asked(second, "two"))
        answering = asyncio.create_task(answer(first, one))
        await soon(model["one"].asked)
        model["one"].give("first")
        assert [turn.state for turn in await turns(second)][:1] == [None]
        assert not model["two"].asked.is_set()
        model["one"].end()
        assert await answering == "first"
        await soon(model["two"].asked)
        model["two"].give("second")
        model["two"].end()
        assert await two == "second"
    assert [[each["content"] for each in sent] for sent in model.sent] == [["one"], ["one", "first", "two"]]


async def test_a_message_that_will_not_wait_is_refused_and_leaves_nothing(url: str, at: tuple[int, int]) -> None:
    model = Told()
    async with replicas(model, url) as gateways:
        first, second = (gateways[index] for index in at)
        run = await started(first, "one")
        await soon(model["one"].asked)
        with pytest.raises(Conflict, match="the session 's' is answering another message"):
            await say(second, "two", on_busy="reject", key="k")
        model["one"].end()
        async with reading(second, run) as reader:
            await reader.all()
        model["three"].end()
        await asked(second, "three", on_busy="reject", key="k")
        assert [turn.said for turn in await turns(first)] == [
            f'[{{"role": "user", "content": "{said}"}}]' for said in ("one", "three")
        ]


async def test_a_message_takes_the_place_of_all_before_it_which_are_cut(url: str, at: tuple[int, int]) -> None:
    model = Told()
    async with replicas(model, url) as gateways:
        first, second = (gateways[index] for index in at)
        one = await started(first, "one")
        waiting = await started(second, "two")
        async with reading(second, one) as reader:
            model["one"].give("half an answ")
            await reader.chunks("half an answ")
            three = asyncio.create_task(asked(second, "three", on_busy="interrupt"))
            await soon(model["one"].closed)
            model["three"].give("third")
            model["three"].end()
            assert await three == "third"
        assert [(turn.run, turn.state) for turn in await turns(first)][:2] == [(one, "cut"), (waiting, "cut")]
        assert (await turns(second))[2].state == "complete"
    assert "two" not in [sent[-1]["content"] for sent in model.sent]
    assert [each["content"] for each in model.sent[-1]] == ["one", "half an answ", "two\n\nthree"]


async def test_a_message_that_waits_can_be_stopped_and_the_next_one_goes_on(url: str) -> None:
    model = Told()
    async with replicas(model, url) as (here, there):
        await started(here, "one")
        two = await started(here, "two")
        three = asyncio.create_task(asked(there, "three"))
        assert (await there.kept.cancel(two)).status == "cancelled"
        model["one"].end()
        model["three"].give("third")
        model["three"].end()
        assert await three == "third"
        assert [turn.state for turn in await turns(here)] == ["complete", "cut", "complete"]


async def test_more_messages_than_may_wait_are_refused(url: str) -> None:
    model = Told()
    async with replicas(model, url, count=1) as (here,):
        for number in range(65):
            await started(here, str(number))
        with pytest.raises(Overloaded, match="65 messages of the session 's' are under way or wait") as refused:
            await say(here, "one more")
        assert refused.value.details["retry_after"] == 1
        await sessions(here).forget("s")


async def test_a_session_is_deleted_under_its_messages_which_end(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    impatient(monkeypatch)
    model = Told()
    async with replicas(model, url) as (here, there):
        one, two = await say(here, "one"), await say(there, "two")
        reading_both = [
            asyncio.create_task(answer(gateway, running)) for gateway, running in ((here, one), (there, two))
        ]
        await soon(model["one"].asked)
        await sessions(there).forget("s")
        for each in reading_both:
            with pytest.raises(Cancelled):
                await each
        assert await sessions(here).list(None, 9) == []
        model["again"].end()
        await asked(here, "again")
        assert len(await turns(there)) == 1
    assert [each["content"] for each in model.sent[-1]] == ["again"]


async def test_messages_of_other_sessions_never_wait(url: str) -> None:
    model = Told()
    async with replicas(model, url) as (here, there):
        await started(here, "one", "a")
        model["two"].give("at once")
        model["two"].end()
        assert await asked(there, "two", "b") == "at once"
        model["three"].end()
        assert await asked(there, "three", None) == ""
        await sessions(here).forget("a")


async def test_the_same_key_is_the_same_turn(url: str) -> None:
    model = Told()
    async with replicas(model, url) as (here, there):
        runs = await asyncio.gather(*(started(gateway, "one", key="k") for gateway in (here, there, here)))
        assert len(set(runs)) == 1
        model["one"].end()
        assert len(await turns(there)) == 1

        async def new(gateway: Gateway) -> str:
            running = await sessions(gateway).say(message("x"), key="new")
            await running.aclose()
            assert running.run.context.session_id is not None
            return running.run.context.session_id

        model["x"].end()
        assert await new(here) == await new(there)
