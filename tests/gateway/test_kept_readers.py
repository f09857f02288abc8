"""Readers of kept runs: they come and go, at either replica, and what happens without them."""

from __future__ import annotations

import asyncio
import random
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest

from deployments.gateway import log as logs
from deployments.gateway.log import OwnLog
from deployments.gateway.replicas import WRITE_OFTEN
from deployments.runs.events import RunCancelled
from graphs.errors import NotFound, Unavailable
from tests.gateway.keeping import by_number, end, impatient, numbers, read, reading, said, started
from tests.transports.served import DEADLINE, Feed, Feeds, replicas, soon

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
