"""What was said in a session stays: when its replica is killed, when its runs are forgotten, as long as it is used."""

from __future__ import annotations

import asyncio
import json

import pytest

from deployments.store.rows import StoreDown
from graphs.errors import ComponentFailed, InvalidInput, NotFound
from graphs.plan import Sessions as SessionsPlan
from tests.gateway.keeping import die, impatient, read, reading
from tests.sessions.talking import Echo, Told, answer, asked, replicas, say, sessions, started, turns
from tests.transports.served import soon


async def test_what_a_killed_replica_said_is_remembered_and_the_next_message_goes_on(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    model = Told()
    async with replicas(model, url) as (here, there):
        run = await started(here, "one")
        waiting = await started(here, "two")
        async with reading(there, run) as reader:
            model["one"].give("half")
            await reader.chunks("half")
            three = asyncio.create_task(asked(there, "three"))
            await die(here)
            model["three"].give("third")
            model["three"].end()
            assert await three == "third"
        found = await turns(there)
        assert [(turn.run, turn.state) for turn in found][:2] == [(run, "failed"), (waiting, "failed")]
        assert json.loads(found[0].answer or "")["content"] == "half"
    assert [each["content"] for each in model.sent[-1]] == ["one", "half", "two\n\nthree"]


async def test_sessions_outlive_a_restart(url: str) -> None:
    model = Told()
    async with replicas(model, url, count=1) as (here,):
        await started(here, "one", system_prompt="Be brief.")
        model["one"].give("said")
        await soon(model["one"].asked)
    async with replicas(model, url, count=1) as (here,):
        model["two"].end()
        await asked(here, "two")
        assert [turn.state for turn in await turns(here)] == ["failed", "complete"]
    assert model.sent[-1][0] == {"role": "system", "content": "Be brief."}


async def test_what_failed_is_marked_and_its_question_is_sent_with_the_next(url: str) -> None:
    model = Told()
    async with replicas(model, url) as (here, there):
        model["one"].fail(ComponentFailed("out of order"))
        with pytest.raises(ComponentFailed):
            await asked(here, "one")
        model["two"].end()
        await asked(there, "two")
        assert [turn.state for turn in await turns(here)] == ["failed", "complete"]
    assert model.sent[-1] == [{"role": "user", "content": "one\n\ntwo"}]


async def test_an_answer_that_nobody_reads_any_more_is_cut_and_kept(url: str) -> None:
    model = Told()
    async with replicas(model, url) as (here, there):
        running = await say(here, "one", on_disconnect="cancel")
        reader = asyncio.create_task(answer(here, running))
        async with reading(there, running.run.id) as far:
            model["one"].give("half")
            await far.chunks("half")
            reader.cancel()
            await far.all()
        (turn,) = await turns(there)
        assert (turn.state, json.loads(turn.answer or "")["content"]) == ("cut", "half")


async def test_the_run_of_a_turn_may_be_forgotten_and_the_turn_is_not(url: str) -> None:
    async with replicas(Echo(), url) as (here, there):
        run = await started(here, "keep this")
        await read(here, run)
        await there.kept.forget(run)
        with pytest.raises(NotFound):
            await here.kept.find(run)
        (turn,) = await turns(here)
        assert (turn.state, json.loads(turn.answer or "")["content"]) == ("complete", "keep this ")


async def test_old_runs_are_swept_after_their_turns_are_remembered(url: str) -> None:
    async with replicas(Echo(), url) as (here, there):
        await asked(here, "keep this")
        store = await there.kept.store()
        assert store is not None
        while await store.sessions.unsettled():
            await sessions(there).sweep(0.0)
        assert await store.sweep(older_than=2e12, max_size=None) == 1
        assert [turn.state for turn in await turns(here)] == ["complete"]
        await asked(there, "and this")
        assert len(await turns(here)) == 2


async def test_a_turn_that_is_not_remembered_yet_keeps_its_run(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with replicas(Echo(), url) as (here, there):
        monkeypatch.setattr(sessions(here).turns, "ended", lambda _: None)
        run = await started(here, "keep this")
        await read(there, run)
        store = await there.kept.store()
        assert store is not None
        assert await store.sweep(older_than=2e12, max_size=0) == 0
        await sessions(there).sweep(0.0)
        assert await store.sweep(older_than=2e12, max_size=0) == 1
        assert [turn.state for turn in await turns(there)] == ["complete"]


async def test_sessions_are_forgotten_some_time_after_their_last_message(url: str) -> None:
    model = Told()
    async with replicas(model, url, sessions=SessionsPlan(keep_for=100.0)) as (here, there):
        model["one"].end()
        await asked(here, "one", "old")
        await started(here, "two", "under way")
        (last, *_) = await sessions(there).list(None, 9)
        await turns(there, "old")
        await sessions(there).sweep(last.updated_at + 50)
        assert len(await sessions(here).list(None, 9)) == 2
        await sessions(there).sweep(last.updated_at + 200)
        assert [each.key.id for each in await sessions(here).list(None, 9)] == ["under way"]
        with pytest.raises(NotFound, match="no session 'old'"):
            await turns(here, "old")


async def test_a_session_that_is_cleared_begins_anew_with_its_system_prompt(url: str) -> None:
    model = Echo()
    async with replicas(model, url) as (here, there):
        await asked(here, "one", system_prompt="Be brief.")
        await sessions(there).clear("s")
        assert await turns(here) == []
        assert await here.kept.list(workflow=None, status=None, session="s", before=None, limit=9) == []
        await asked(here, "two")
        assert model.sent[-1] == [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "two"}]
        await asked(here, "three", system_prompt="")
        assert [each["role"] for each in model.sent[-1]] == ["user", "assistant", "user"]


async def test_a_session_is_listed_by_its_last_message(url: str) -> None:
    async with replicas(Echo(), url) as (here, there):
        for id in ("a", "b", "c", "a"):
            await asked(here, "x", id)
        found = await sessions(there).list(None, 9)
        assert [(each.key.id, each.turns, each.workflow) for each in found] == [
            ("a", 2, "story"),
            ("c", 1, "story"),
            ("b", 1, "story"),
        ]
        first, second = found[:2]
        assert await sessions(here).list((first.updated_at, first.key.id), 1) == [second]


async def test_an_unknown_session_is_not_found_and_makes_no_store(url: str) -> None:
    async with replicas(Echo(), url, count=1) as (here,):
        for id in ("", "s", "\0", "\ud800"):
            for call in (sessions(here).clear(id), sessions(here).forget(id), sessions(here).under_way(id)):
                with pytest.raises(NotFound):
                    await call
        assert await sessions(here).list(None, 9) == []
        assert await here.kept.store() is None


async def test_a_reader_joins_the_answer_under_way_at_any_replica(url: str) -> None:
    model = Told()
    async with replicas(model, url) as (here, there):
        await started(here, "one")
        model["one"].give("so far")
        joined = await sessions(there).under_way("s")
        assert joined is not None
        reader = asyncio.create_task(answer(there, joined))
        model["one"].give(", and on")
        model["one"].end()
        assert await reader == "so far, and on"
        assert await sessions(there).under_way("s") is None
        (turn,) = await turns(here)
        assert await answer(there, await sessions(there).replay("s", turn.run)) == "so far, and on"
        with pytest.raises(NotFound, match="has no turn of the run"):
            await sessions(there).replay("s", "run_0")


async def test_a_message_that_the_store_cannot_take_is_refused(url: str, monkeypatch: pytest.MonkeyPatch) -> None:
    async with replicas(Echo(), url, count=1) as (here,):
        await asked(here, "one")
        store = await here.kept.store()
        assert store is not None

        async def refuse(*_: object) -> None:
            raise StoreDown("the disk is full")

        with monkeypatch.context() as down:
            down.setattr(store._database, "write", refuse)
            with pytest.raises(StoreDown, match="the disk is full"):
                await say(here, "two")
        await asked(here, "three")
        assert len(await turns(here)) == 2
        with pytest.raises(InvalidInput, match="session_id holds a character that can't be stored"):
            await say(here, "x", "\ud800")
