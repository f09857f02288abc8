"""Kept runs over a real store, as two replicas see them: logs, readers, stops, keys, and how each of them ends."""

from __future__ import annotations

import asyncio
import os
import random
import sys
from contextlib import AsyncExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.gateway import log as logs
from deployments.gateway.entries import Accepted
from deployments.gateway.gateway import Gateway
from deployments.gateway.kept import AHEAD, Keep
from deployments.gateway.log import OwnLog
from deployments.gateway.replicas import WRITE_OFTEN
from deployments.runs.events import (
    Delta,
    Finished,
    Invocation,
    JobChunks,
    JobEnded,
    JobStarted,
    JobStreaming,
    RunCancelled,
    RunFailed,
    Started,
)
from deployments.store.rows import StoreDown
from deployments.streams import codec
from graphs.errors import ComponentFailed, Conflict, InvalidInput, NotFound, TooLarge, Unavailable
from graphs.plan import Options, Store
from tests.gateway.keeping import by_number, die, end, ended, impatient, numbers, read, reading, said, started, told
from tests.runs.builders import Components, job, joining, workflow
from tests.store.postgres import Postgres, binaries
from tests.transports.served import DEADLINE, Feed, Feeds, answering, one, plan, replicas, soon


async def test_a_log_begins_with_its_acceptance_and_ends_with_its_end_and_has_no_hole(url: str) -> None:
    async with replicas(Feed("a", "b"), url) as (here, there):
        id = await started(here, {"x": 1}, session="s")
        for log in (await read(here, id), await read(there, id)):
            assert numbers(log) == list(range(log[-1].last + 1))
            assert [entry.event for entry in log] == [
                Accepted("story", {"x": 1}, "s"),
                Started(id, "story"),
                JobStarted("a"),
                JobStreaming("a"),
                Delta(["a"]),
                Delta(["b"]),
                JobEnded("a", "completed", streamed=True),
                Finished(None, streamed=True),
            ]
            times = [entry.at for entry in log]
            assert times == sorted(times)


async def test_the_store_has_the_run_before_its_client_hears_of_it(url: str) -> None:
    async with replicas(Feed(), url) as (here, there):
        id = await started(here, 7)
        info = await there.kept.find(id)
        assert (info.id, info.workflow, info.ended) == (id, "story", False)
        async with reading(there, id) as reader:
            await reader.until(lambda entries: len(entries) >= 1)
            assert reader.entries[0].event == Accepted("story", 7)


async def test_a_plain_run_is_kept_with_its_output(file: Path) -> None:
    async with replicas(answering({"n": [b"\xff", None]}), file) as (here, there):
        log = await read(there, await started(here))
        assert end(log) == Finished({"n": [b"\xff", None]}, streamed=False)


# --- every end -------------------------------------------------------------------------------------------------------


async def test_a_run_that_fails_ends_with_its_error(file: Path) -> None:
    feed = Feed("a", ends=False)
    feed.fail(ComponentFailed("it broke", part=3))
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        for log in (await read(here, id), await read(there, id)):
            error = end(log).error
            assert (error.type, error.details["part"], error.details["job"]) == ("component_failed", 3, "a")
            assert next(entry.event for entry in log if isinstance(entry.event, JobEnded)).status == "failed"
        assert (await there.kept.find(id)).status == "failed"


async def test_a_run_that_is_stopped_ends_as_cancelled_at_its_own_replica_and_at_another(file: Path) -> None:
    async with replicas(Feeds(), file) as (here, there):
        for name, stopping in (("h", here), ("t", there)):
            id = await started(here, name)
            async with asyncio.timeout(DEADLINE):
                info = await stopping.kept.cancel(id)
            assert info.status == "cancelled"
            assert end(await read(there, id)) == RunCancelled("it was stopped by a request")
            assert end(await read(here, id)) == RunCancelled("it was stopped by a request")


async def test_a_stop_goes_all_the_way_to_the_component(file: Path) -> None:
    feed = Feed("a", ends=False)
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        async with reading(there, id) as reader:
            await reader.chunks("a")
            await there.kept.cancel(id)
            await soon(feed.closed)
            assert isinstance(end(await reader.all()), RunCancelled)


async def test_to_stop_a_run_that_has_ended_changes_nothing(file: Path) -> None:
    async with replicas(Feed("a"), file) as (here, there):
        id = await started(here)
        log = await read(here, id)
        assert (await here.kept.cancel(id)).status == "completed"
        assert (await there.kept.cancel(id)).status == "completed"
        assert await read(there, id) == log


async def test_a_shut_down_ends_its_runs_as_lost_for_readers_here_and_there_and_later(file: Path) -> None:
    feed = Feed("a", ends=False)
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        async with reading(here, id) as near, reading(there, id) as far:
            await near.chunks("a")
            await far.chunks("a")
            await here.aclose()
            assert feed.closed.is_set()
            for reader in (near, far):
                assert end(await reader.all()).error.type == "lost"
    async with replicas(feed, file, count=1) as (later,):
        assert (end(await read(later, id)).error.type, (await later.kept.find(id)).status) == ("lost", "failed")


async def test_a_run_that_says_what_cannot_be_kept_fails_and_its_log_has_no_hole(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "MAX_CHUNK", 10_000)
    feed = Feed("a", ends=False)
    feed.give("b", "x" * 20_000, "c")
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        for log in (await read(here, id), await read(there, id)):
            assert numbers(log) == list(range(log[-1].last + 1))
            assert end(log).error.type == "too_large"
        await soon(feed.closed)


async def test_an_output_that_cannot_be_kept_is_a_failure_in_the_store(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(codec, "MAX_CHUNK", 10_000)
    async with replicas(answering("x" * 20_000), file) as (here, there):
        id = await started(here)
        log = await read(there, id)
        assert numbers(log) == list(range(log[-1].last + 1))
        assert end(log).error.type == "too_large"
        assert (await there.kept.find(id)).status == "failed"


async def test_a_run_that_says_more_than_is_kept_ends_in_words(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_LOG", 1 << 20)
    feed = Feed("x" * (1 << 20), "y" * (1 << 20), ends=False)
    async with replicas(feed, file, count=1) as (here,):
        id = await started(here)
        log = await read(here, id)
        assert isinstance(end(log).error, TooLarge)
        await soon(feed.closed)


async def test_a_run_whose_job_says_too_much_inside_ends_too(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The chunks that one job reads of another are no chunks of the output."""
    monkeypatch.setattr(logs, "MAX_LOG", 1 << 20)
    inside = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",)), output="${jobs.b.output}", reads=("b",))
    feed = Feed(*["x" * (1 << 20)] * 3, ends=False)
    async with replicas(Components(a=feed, b=joining), file, inside, count=1) as (here,):
        id = await started(here, job_chunks=True)
        assert isinstance(end(await read(here, id)).error, TooLarge)


async def test_a_replica_that_was_taken_for_dead_ends_its_runs_as_lost_everywhere(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    feed = Feed("a", ends=False)
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        async with reading(here, id) as near, reading(there, id) as far:
            await near.chunks("a")
            await far.chunks("a")
            await bury(here, there)
            feed.give("never kept")
            for reader in (near, far):
                assert end(await reader.all()).error.type == "lost"
        await soon(feed.closed)
        near_log, far_log = await read(here, id), await read(there, id)
        assert told(near_log) == told(far_log)
        assert numbers(far_log) == list(range(far_log[-1].last + 1))
        again = await started(here)
        assert (await there.kept.find(again)).id == again


async def bury(here: Gateway, there: Gateway) -> None:
    """Have one replica bury another that is alive."""
    from deployments.gateway.entries import last_segment
    from graphs.errors import RunLost

    owner = here.kept._store.owner  # type: ignore[union-attr]
    store: Any = there.kept._store
    ended: list[str] = []
    while not ended:
        beat = (await store.beats())[owner]
        ended = await store.bury(owner, beat, *last_segment(RunLost("the replica that ran it died"), 1.0))


async def test_a_run_that_had_ended_unwritten_when_its_replica_was_buried_is_what_the_others_say(file: Path) -> None:
    feed = Feed("a", ends=False)
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        async with reading(there, id) as reader:
            await reader.chunks("a")
            store: Any = here.kept._store
            database, write = store._database, store._database.write
            held = asyncio.Event()

            async def waiting(*work: Any) -> Any:
                await held.wait()
                return await write(*work)

            database.write = waiting
            feed.end()
            assert isinstance(end(await read(here, id)), Finished)
            database.write = write
            database_is_back = held
            await bury(here, there)
            database_is_back.set()
            assert end(await reader.all()).error.type == "lost"
            async with asyncio.timeout(DEADLINE):
                while (await here.kept.find(id)).status != "failed":
                    await here.kept.list(workflow=None, status=None, session=None, before=None, limit=1)
        assert told(await read(here, id)) == told(await read(there, id))


# --- a lost owner ----------------------------------------------------------------------------------------------------


async def test_the_runs_of_a_replica_that_died_are_lost_and_its_readers_elsewhere_are_told(
    url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    async with replicas(Feed("a", ends=False), url) as (here, there):
        id = await started(here)
        async with reading(there, id) as reader:
            await reader.chunks("a")
            await die(here)
            log = await reader.all()
        assert end(log).error.type == "lost"
        assert numbers(log) == list(range(log[-1].last + 1))
        assert (await there.kept.find(id)).status == "failed"


async def test_a_reader_that_saw_more_than_was_kept_gets_the_end_alone(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    async with replicas(Feed("a", ends=False), file) as (here, there):
        id = await started(here)
        async with reading(there, id) as far:
            await far.chunks("a")
            seen = far.entries[-1].last + 20
            async with reading(there, id, seen) as ahead:
                await die(here)
                (last,) = await ahead.all()
            assert (last.first, last.event.error.type) == (AHEAD, "lost")  # type: ignore[union-attr]
            real_end = (await far.all())[-1].first
        for after in (real_end, real_end + 1, seen):
            (last,) = await read(there, id, after)
            assert (last.first, last.event.error.type) == (AHEAD, "lost")  # type: ignore[union-attr]
        assert await read(there, id, AHEAD) == []


async def test_a_reader_at_the_end_gets_nothing_and_one_beyond_it_the_end(file: Path) -> None:
    async with replicas(Feed("a"), file) as (here, there):
        id = await started(here)
        last = (await read(here, id))[-1]
        for gateway in (here, there):
            assert await read(gateway, id, last.first - 1) == [last]
            assert await read(gateway, id, last.first) == []
            assert [(entry.first, entry.event) for entry in await read(gateway, id, last.first + 5)] == [
                (AHEAD, last.event)
            ]
            assert await read(gateway, id, AHEAD) == []


async def test_after_all_replicas_died_the_next_one_finds_the_runs_and_ends_them(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch)
    feeds = Feeds()
    async with replicas(feeds, file) as (here, there):
        ids = [await started(here, "x"), await started(there, "y")]
        for name in ("x", "y"):
            feeds[name].give("a")
        for gateway, id in zip((here, there), ids, strict=True):
            async with reading(gateway, id) as reader:
                await reader.chunks("a")
        await die(here)
        await die(there)
        async with replicas(answering(1), file, count=1) as (next_one,):
            for id in ids:
                assert end(await read(next_one, id)).error.type == "lost"


async def test_a_replica_that_is_slow_but_alive_keeps_its_runs(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The one that looks was held up itself: what it saw before counts for nothing."""
    impatient(monkeypatch, patience=60.0)
    async with replicas(Feed("a"), file) as (here, there):
        id = await started(here)
        await there.kept.find(id)
        watch: Any = there.kept._replicas
        store: Any = here.kept._store
        now = watch._clock()
        monkeypatch.setattr(watch, "_clock", lambda: now)
        await watch._bury()
        now += 1000
        await watch._bury()
        assert store.owner in await store.beats()
        assert isinstance(end(await read(here, id)), Finished)


# --- readers ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("seed", range(3))
async def test_readers_that_come_and_go_while_it_is_said_have_no_gap_and_no_repeat(
    seed: int, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "WINDOW", 2000)
    dice = random.Random(seed)
    feed = Feed()
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        async with AsyncExitStack() as stack:
            readers = [
                await stack.enter_async_context(reading(dice.choice((here, there)), id, dice.randrange(-1, 8)))
                for _ in range(4)
            ]
            cuts: list[tuple[int, list[Any]]] = []
            for number in range(120):
                feed.give(*(f"{number}.{index}" for index in range(dice.randrange(1, 4))))
                for _ in range(dice.randrange(6)):
                    await asyncio.sleep(0)
                if number % 4 == 0:
                    index = dice.randrange(len(readers))
                    gone = await readers[index].leave()
                    cuts.append((index, gone))
                    after = gone[-1].last if gone else readers[index].after
                    readers[index] = await stack.enter_async_context(reading(dice.choice((here, there)), id, after))
                if number % 30 == 29:
                    late = await stack.enter_async_context(reading(there, id))
                    readers.append(late)
            feed.end()
            finished = [await reader.all() for reader in readers]
        whole = by_number(await read(there, id))
        assert list(whole) == list(range(len(whole)))
        for reader, got in zip(readers, finished, strict=True):
            rest = {number: what for number, what in whole.items() if number > reader.after}
            assert by_number(got) == rest
        for _, gone in cuts:
            for number, what in by_number(gone).items():
                assert whole[number] == what
            assert numbers(gone) == list(range(gone[0].first, gone[-1].last + 1)) if gone else True


async def test_a_reader_far_behind_the_window_reads_the_store_and_then_memory(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logs, "WINDOW", 5000)
    feed = Feed()
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        async with reading(here, id) as near, reading(there, id) as far:
            for number in range(50):
                feed.give(f"{number}:" + "x" * 1000)
            await near.until(lambda entries: len(said(entries)) == 50)
            await far.until(lambda entries: len(said(entries)) == 50)
            await here.kept._store.flush()  # type: ignore[union-attr]
            own: OwnLog = here.kept._own[id].log
            assert own.base > 40, "it has left memory"
            assert sum(len(text) for text in said(own.since(own.base - 1))) <= 5000
            for gateway in (here, there):
                async with reading(gateway, id) as late:
                    await late.until(lambda entries: len(said(entries)) == 50)
                    assert late.entries == near.entries == far.entries
            feed.end()
            log = await far.all()
            assert log == await near.all()


async def test_what_a_run_says_reaches_a_reader_at_another_replica_while_it_runs(url: str) -> None:
    feed = Feed()
    async with replicas(feed, url) as (here, there):
        id = await started(here)
        async with reading(there, id) as reader:
            for word in ("one", "two", "three"):
                feed.give(word)
                await reader.chunks(word)
            feed.end()
            assert said(await reader.all()) == ["one", "two", "three"]


async def test_all_readers_of_another_replica_share_one_look_at_the_store(file: Path) -> None:
    feed = Feed()
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        await there.kept.find(id)
        async with AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(reading(there, id)) for _ in range(30)]
            for reader in readers:
                await reader.until(lambda entries: len(entries) >= 3)
            assert len(there.kept._tails._logs) == 1  # type: ignore[union-attr]
            feed.give("x")
            feed.end()
            logs_of_all = [await reader.all() for reader in readers]
        assert all(log == logs_of_all[0] for log in logs_of_all)
        assert there.kept._tails._logs == {}  # type: ignore[union-attr]


async def test_all_runs_that_are_followed_are_asked_for_in_one_query(file: Path) -> None:
    feed = Feed("x", ends=False)
    async with replicas(feed, file) as (here, there):
        ids = [await started(here) for _ in range(5)]
        await there.kept.find(ids[0])
        tail, asked = there.kept._store.tail, []  # type: ignore[union-attr]

        async def counted(positions: dict[str, int]) -> Any:
            asked.append(set(positions))
            return await tail(positions)

        there.kept._store.tail = counted  # type: ignore[union-attr]
        async with AsyncExitStack() as stack:
            readers = [await stack.enter_async_context(reading(there, id)) for id in ids for _ in range(4)]
            for reader in readers:
                await reader.until(lambda entries: len(entries) >= 2)
            async with asyncio.timeout(DEADLINE):
                while set(ids) not in asked:  # noqa: ASYNC110  (the next look comes by itself)
                    await asyncio.sleep(0)
            for gateway_id in ids:
                await here.kept.cancel(gateway_id)
            for reader in readers:
                assert isinstance(end(await reader.all()), RunCancelled)


async def test_an_owner_writes_more_often_while_its_runs_are_read_elsewhere(file: Path) -> None:
    feed = Feed("x", ends=False)
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        every, often = here.kept._store.write_every, asyncio.Event()  # type: ignore[union-attr]

        def written_every(seconds: float) -> None:
            every(seconds)
            if seconds == WRITE_OFTEN:
                often.set()

        here.kept._store.write_every = written_every  # type: ignore[union-attr]
        async with asyncio.timeout(DEADLINE), reading(there, id):
            await often.wait()
        assert here.kept._store._writer.every == WRITE_OFTEN  # type: ignore[union-attr]
        await here.kept.cancel(id)


async def test_readers_of_a_run_that_is_forgotten_meanwhile_are_told_so(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 60.0)
    feed = Feed("a", ends=False)
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        async with reading(there, id) as reader:
            await reader.chunks("a")
            tails: Any = there.kept._tails
            looks, tails._look_once = tails._look_once, asyncio.Event().wait
            feed.end()
            await read(here, id)
            await here.kept.forget(id)
            tails._look_once = looks
            tails._task.cancel()
            await asyncio.wait([tails._task])
            tails._task = asyncio.create_task(tails._look())
            with pytest.raises(NotFound, match="no longer kept"):
                await reader.all()


async def test_a_log_that_cannot_be_read_fails_its_readers_and_no_others(file: Path) -> None:
    feeds = Feeds()
    async with replicas(feeds, file) as (here, there):
        bad, good = await started(here, "bad"), await started(here, "good")
        async with reading(there, bad) as one_reader, reading(there, good) as other:
            for name, reader in (("bad", one_reader), ("good", other)):
                feeds[name].give("a")
                await reader.chunks("a")
            monkey: Any = here.kept._own[bad].log
            take = monkey.take

            def garbage() -> Any:
                taken = take()
                return None if taken is None else (taken[0]._replace(body=b'[[1.0,"unheard-of"]]'), taken[1])

            monkey.take = garbage
            feeds["bad"].give("b")
            feeds["good"].give("b")
            await other.chunks("b")
            with pytest.raises(Unavailable):
                await one_reader.all()
            feeds["good"].end()
            assert said(await other.all()) == ["a", "b"]


async def test_readers_end_when_their_replica_closes(file: Path) -> None:
    feed = Feed("a", ends=False)
    async with replicas(feed, file) as (here, there):
        id = await started(here)
        async with reading(there, id) as reader:
            await reader.chunks("a")
            await there.aclose()
            with pytest.raises(Unavailable, match="stopping"):
                await reader.all()


# --- without readers -------------------------------------------------------------------------------------------------


async def test_the_last_readers_leaving_cancels_a_run_that_says_so(file: Path) -> None:
    feed = Feed("a", ends=False)
    async with replicas(feed, file, count=1) as (here,):
        id = await started(here, on_disconnect="cancel")
        async with reading(here, id) as first, reading(here, id) as second:
            await first.chunks("a")
            await second.chunks("a")
            await first.leave()
            feed.give("b")
            await second.chunks("b")
            await second.leave()
            await soon(feed.closed)
        assert end(await read(here, id)) == RunCancelled("its client disconnected")


async def test_a_run_that_continues_does_so_without_readers(file: Path) -> None:
    feed = Feed("a", ends=False)
    async with replicas(feed, file, count=1) as (here,):
        id = await started(here, on_disconnect="continue")
        async with reading(here, id) as reader:
            await reader.chunks("a")
        feed.give("b")
        feed.end()
        assert said(await read(here, id)) == ["a", "b"]


async def test_a_detached_run_ends_when_it_has_had_no_reader_for_that_long(file: Path) -> None:
    feed = Feed("a", ends=False)
    async with replicas(feed, file, count=1) as (here,):
        id = await started(here, on_disconnect=0.05)
        await soon(feed.closed)
        assert end(await read(here, id)) == RunCancelled("it had no reader for 0.05 s")


async def test_a_reader_keeps_a_detached_run_alive_and_its_leaving_begins_the_time_anew(file: Path) -> None:
    feed = Feed("a", ends=False)
    async with replicas(feed, file, count=1) as (here,):
        id = await started(here, on_disconnect=0.05)
        async with reading(here, id) as reader:
            await reader.chunks("a")
            keeper = here.kept._own[id]
            assert keeper._leaving is None
            assert not feed.closed.is_set()
        assert keeper._leaving is not None
        await soon(feed.closed)


async def test_a_reader_at_another_replica_keeps_a_detached_run_alive(
    file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    impatient(monkeypatch, 60.0)
    feed = Feed("a", ends=False)
    async with replicas(feed, file) as (here, there):
        id = await started(here, on_disconnect=0.3)
        counted: list[int] = []
        keeper = here.kept._own[id]
        reads, three = keeper._read_elsewhere, asyncio.Event()

        async def counting(run: str) -> int:
            counted.append(await reads(run))
            if len(counted) == 3:
                three.set()
            return counted[-1]

        monkeypatch.setattr(keeper, "_read_elsewhere", counting)
        async with reading(there, id) as reader:
            await reader.chunks("a")
            await soon(three)
            assert not feed.closed.is_set()
            assert counted == sorted(set(counted)), "it was read each time"
        await soon(feed.closed)


async def test_a_store_that_says_nothing_ends_no_detached_run(file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    feed = Feed("a", ends=False)
    async with replicas(feed, file, count=1) as (here,):
        id = await started(here, on_disconnect=0.02)
        keeper = here.kept._own[id]
        asked = asyncio.Semaphore(0)

        async def down(_: str) -> int:
            asked.release()
            raise Unavailable("the store is down")

        monkeypatch.setattr(keeper, "_read_elsewhere", down)
        async with asyncio.timeout(DEADLINE):
            for _ in range(4):
                await asked.acquire()
        assert not feed.closed.is_set()


# --- finding, listing, forgetting ------------------------------------------------------------------------------------


async def test_a_run_that_ended_is_forgotten_with_its_log_and_its_key(url: str) -> None:
    async with replicas(Feeds(), url) as (here, there):
        id = await started(here, "x", key="k", digest="d")
        with pytest.raises(Conflict, match="stop it first, with POST"):
            await here.kept.forget(id)
        with pytest.raises(Conflict):
            await there.kept.forget(id)
        await there.kept.cancel(id)
        await there.kept.forget(id)
        for gateway in (here, there):
            with pytest.raises(NotFound, match=f"no run '{id}'"):
                await gateway.kept.find(id)
            with pytest.raises(NotFound):
                await gateway.kept.forget(id)
            with pytest.raises(NotFound):
                await read(gateway, id)
        assert await started(here, "y", key="k", digest="other") != id


async def test_a_run_may_be_forgotten_the_moment_it_has_ended(file: Path) -> None:
    async with replicas(Feed("a"), file) as (here, there):
        id = await started(here)
        await read(here, id)
        await here.kept.forget(id)
        for gateway in (here, there):
            with pytest.raises(NotFound):
                await gateway.kept.find(id)


async def test_an_unknown_run_is_not_found_and_makes_no_store(file: Path) -> None:
    async with replicas(Feed(), file, count=1) as (here,):
        for id in ("", "run_0", "../x", "\0", "\ud800", "x" * 10_000):
            with pytest.raises(NotFound, match="it was never kept, or is forgotten"):
                await here.kept.find(id)
        assert await here.kept.list(workflow=None, status=None, session=None, before=None, limit=9) == []
    assert not file.parent.exists()


async def test_runs_are_listed_newest_first_by_filters_and_cursor(url: str) -> None:
    feeds = Feeds()
    async with replicas(feeds, url, one(id="a"), one(id="b")) as (here, there):
        ids: list[str] = []
        for index in range(6):
            running = await (here, there)[index % 2].keep(
                "ab"[index // 3], f"feed{index}", f"s{index % 3}", Keep("continue")
            )
            await running.aclose()
            ids.append(running.run.id)
            await asyncio.to_thread(lambda: None)
        for name in ("feed0", "feed1"):
            feeds[name].end()
        await ended(there, ids[0])
        await ended(here, ids[1])
        await there.kept.cancel(ids[2])
        for gateway in (here, there):

            async def listed(gateway: Gateway = gateway, **asked: Any) -> list[str]:
                everything: dict[str, Any] = {"workflow": None, "status": None, "session": None, "before": None}
                found = await gateway.kept.list(**{**everything, "limit": 50, **asked})
                return [info.id for info in found]

            newest_first = sorted(ids, reverse=True)
            assert await listed() == newest_first
            assert await listed(limit=2) == newest_first[:2]
            assert await listed(limit=2, before=newest_first[1]) == newest_first[2:4]
            assert await listed(workflow="a") == sorted(ids[:3], reverse=True)
            assert await listed(session="s1") == sorted((ids[1], ids[4]), reverse=True)
            assert await listed(status="completed") == sorted(ids[:2], reverse=True)
            assert await listed(status="cancelled", workflow="a") == [ids[2]]
            assert await listed(status="cancelled", workflow="b") == []
            assert await listed(session="\0") == []


# --- Idempotency-Key -------------------------------------------------------------------------------------------------


async def test_the_same_key_and_body_are_the_same_run_while_it_runs_and_after_at_every_replica_and_after_a_restart(
    url: str,
) -> None:
    feeds = Feeds()
    async with replicas(feeds, url) as (here, there):
        id = await started(here, "x", key="k", digest="d")
        assert await started(here, "x", key="k", digest="d") == id
        assert await started(there, "x", key="k", digest="d") == id
        feeds["x"].give("once")
        feeds["x"].end()
        await ended(there, id)
        assert await started(here, "x", key="k", digest="d") == id
    async with replicas(feeds, url) as (here, there):
        assert await started(there, "x", key="k", digest="d") == id
        assert said(await read(here, id)) == ["once"]
        with pytest.raises(InvalidInput, match=f"the Idempotency-Key 'k' belongs to another request, that of run {id}"):
            await started(here, "x", key="k", digest="other")
        assert await started(here, "y", key="another", digest="d") != id
        await soon(feeds["y"].asked)
    assert feeds.called == ["x", "y"]


async def test_of_many_requests_with_one_key_at_once_one_runs(url: str) -> None:
    feeds = Feeds()
    async with replicas(feeds, url) as (here, there):
        ids = await asyncio.gather(
            *(started(gateway, "x", key="k", digest="d") for gateway in (here, there, here, there, here))
        )
        assert len(set(ids)) == 1
        feeds["x"].end()
        await ended(here, ids[0])
    assert feeds.called == ["x"]


# --- beginning and closing -------------------------------------------------------------------------------------------


async def test_a_run_that_is_stopped_before_its_first_step_ends(file: Path) -> None:
    feed = Feed("a", ends=False)
    async with replicas(feed, file, count=1) as (here,):
        await here.kept._open()
        keep = asyncio.create_task(here.keep(None, {}, None, Keep("continue")))
        async with asyncio.timeout(DEADLINE):
            while not here.kept._own:  # noqa: ASYNC110  (in the very turn in which the run begins)
                await asyncio.sleep(0)
        (keeper,) = here.kept._own.values()
        keeper.stop(RunCancelled("at once"))
        running = await keep
        await running.aclose()
        assert end(await read(here, running.run.id)) == RunCancelled("at once")
        await here.ended()


async def test_the_chunks_of_jobs_are_kept_where_that_is_asked_for(file: Path) -> None:
    async with replicas(Feeds(), file, count=1) as (here,):
        for name, wanted in (("x", False), ("y", True)):
            here_feed: Feed = here._invoke[name]  # type: ignore[index]
            here_feed.give("a")
            here_feed.end()
            log = await read(here, await started(here, name, job_chunks=wanted))
            assert any(isinstance(entry.event, JobChunks) for entry in log) is wanted
            assert numbers(log) == list(range(log[-1].last + 1))


async def test_a_secret_in_an_error_is_not_kept(file: Path) -> None:
    with_secrets = replace(plan(store=Store(f"sqlite:///{file}")), secrets=frozenset({"hunter2-hunter2"}))
    failing = answering(ComponentFailed("the key hunter2-hunter2 is wrong", sent={"key": "hunter2-hunter2"}))
    here = Gateway(with_secrets, failing)
    try:
        log = await read(here, await started(here))
        assert [type(entry.event) for entry in log[-2:]] == [JobEnded, RunFailed]
        for entry in log[-2:]:
            shown = str(entry.event.error.to_data())  # type: ignore[union-attr]
            assert "is wrong" in shown
            assert "hunter2" not in shown
    finally:
        await here.aclose()


async def test_a_gateway_is_drained_once_its_kept_runs_have_ended(file: Path) -> None:
    feed = Feed()
    async with replicas(feed, file, count=1) as (here,):
        await started(here)
        draining = asyncio.create_task(here.ended())
        await soon(feed.asked)
        assert not draining.done()
        feed.end()
        async with asyncio.timeout(DEADLINE):
            await draining


async def test_a_closed_gateway_starts_no_run(file: Path) -> None:
    async with replicas(Feed("a"), file, count=1) as (here,):
        await started(here)
        await here.aclose()
        with pytest.raises(Unavailable):
            await started(here)
    async with replicas(Feed("a"), file, count=1) as (here,):
        await here.aclose()
        with pytest.raises(Unavailable, match="the server is stopping"):
            await started(here)


async def test_a_run_that_waits_for_its_place_can_be_stopped(file: Path) -> None:
    called: list[Any] = []

    async def invoke(invocation: Invocation) -> Any:
        called.append(invocation.input)
        return await Feed()(invocation)

    async with replicas(invoke, file, options=Options(max_concurrent_count=1)) as (here, there):
        first = await started(here, 1)
        async with reading(here, first) as reader:
            await reader.until(lambda entries: any(isinstance(entry.event, JobStarted) for entry in entries))
            second = await started(here, 2)
            assert (await there.kept.find(second)).status == "pending"
            assert (await there.kept.cancel(second)).status == "cancelled"
            assert [type(entry.event) for entry in await read(there, second)] == [Accepted, RunCancelled]
    assert called == [1]


# --- a store that is down --------------------------------------------------------------------------------------------


class Outage:
    """Makes every write of a gateway's store fail until it is over."""

    def __init__(self, gateway: Gateway) -> None:
        self._database: Any = gateway.kept._store._database  # type: ignore[union-attr]
        self._write = self._database.write
        self.refused = asyncio.Event()
        self._database.write = self._refuse

    async def _refuse(self, *_: Any) -> Any:
        self.refused.set()
        raise StoreDown("the store runs.db can't be used: the disk is full; free some space")

    def over(self) -> None:
        self._database.write = self._write


async def test_runs_under_way_go_on_while_the_store_is_down_and_are_all_written_when_it_is_back(file: Path) -> None:
    feeds = Feeds()
    async with replicas(feeds, file) as (here, there):
        ids = [await started(here, name) for name in "xy"]
        async with reading(here, ids[0]) as near, reading(there, ids[0]) as far:
            feeds["x"].give("before")
            await far.chunks("before")
            outage = Outage(here)
            feeds["x"].give("during")
            feeds["y"].give("meanwhile")
            feeds["y"].end()
            await near.chunks("before", "during")
            await soon(outage.refused)
            assert said(await read(here, ids[1])) == ["meanwhile"]
            assert said(far.entries) == ["before"]
            with pytest.raises(StoreDown, match="the disk is full"):
                await started(here, "z")
            with pytest.raises(StoreDown):
                await here.kept.forget(ids[1])
            outage.over()
            await far.chunks("before", "during")
            feeds["x"].give("after")
            feeds["x"].end()
            assert said(await far.all()) == said(await near.all()) == ["before", "during", "after"]
        for id in ids:
            log = await read(there, id)
            assert numbers(log) == list(range(log[-1].last + 1))
            assert isinstance(end(log), Finished)
        assert "z" not in feeds.called
        runs = await there.kept.list(workflow=None, status=None, session=None, before=None, limit=9)
        assert {info.id for info in runs} == set(ids)


async def test_an_idempotency_key_of_a_run_that_could_not_be_kept_is_free(file: Path) -> None:
    feeds = Feeds()
    async with replicas(feeds, file, count=1) as (here,):
        await here.kept._open()
        outage = Outage(here)
        with pytest.raises(StoreDown):
            await started(here, "x", key="k", digest="d")
        outage.over()
        id = await started(here, "y", key="k", digest="other")
        feeds["y"].end()
        await ended(here, id)
    assert feeds.called == ["y"]


async def test_plain_runs_need_no_store_and_load_no_library() -> None:
    code = """
import asyncio, sys
from deployments.transports.app import build_app
from tests.transports.served import Feed, answering, connected, one, plan, serving
from deployments.gateway.gateway import Gateway
from graphs.plan import Store

async def main():
    gateway = Gateway(plan(store=Store("sqlite:////nowhere/at/all/runs.db")), answering(...))
    async with serving(build_app(gateway, gateway.aclose)) as address, connected(address) as wire:
        await wire.ask({"output_only": True, "input": {"a": 1}})
        assert (await wire.head())[0] == 200
        assert await wire.until(b"}") == b'{"a": 1}'

asyncio.run(main())
print(sorted(name for name in sys.modules if name.split(".")[0] in ("sqlalchemy", "alembic", "sqlite3", "psycopg")))
"""
    environment = {**os.environ, "PYTHONPATH": str(Path(__file__).parents[2])}
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", code, env=environment, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE
    )
    async with asyncio.timeout(6 * DEADLINE):
        out, err = await process.communicate()
    assert (out.decode().strip(), process.returncode) == ("[]", 0), err.decode()


async def test_runs_under_way_and_their_readers_outlive_the_death_of_postgresql() -> None:
    if (programs := binaries()) is None:
        pytest.skip("PostgreSQL is not installed")
    server, feed = Postgres(programs), Feed("a", ends=False)
    try:
        async with replicas(feed, server.database()) as (here, there):
            id = await started(here)
            async with reading(there, id) as reader:
                await reader.chunks("a")
                server.kill()
                feed.give("b")
                with pytest.raises(
                    StoreDown, match=r"the store postgresql://someone@127\.0\.0\.1:\d+/store1 can't be used"
                ):
                    await started(here)
                await asyncio.to_thread(server.start)
                feed.give("c")
                feed.end()
                assert said(await reader.all()) == ["a", "b", "c"]
            assert said(await read(here, id)) == ["a", "b", "c"]
    finally:
        server.remove()
