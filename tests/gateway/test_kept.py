"""Kept runs over a real store, as two replicas see them: logs, readers, stops, keys, and how each of them ends."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import Any

import pytest

from deployments.gateway import log as logs
from deployments.gateway.entries import Accepted
from deployments.gateway.gateway import Gateway
from deployments.gateway.kept import AHEAD
from deployments.runs.events import Delta, Finished, JobEnded, JobStarted, JobStreaming, RunCancelled, Started
from deployments.streams import codec
from graphs.errors import ComponentFailed, TooLarge
from tests.gateway.keeping import die, end, impatient, numbers, read, reading, started, told
from tests.runs.builders import Components, job, joining, workflow
from tests.transports.served import DEADLINE, Feed, Feeds, answering, replicas, soon


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
