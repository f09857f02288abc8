"""Kept runs as they stand in the store: found, listed, forgotten, known by their keys, and while the store is down."""

from __future__ import annotations

import asyncio
import os
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.gateway.entries import Accepted
from deployments.gateway.gateway import Gateway
from deployments.gateway.kept import Keep
from deployments.runs.events import Finished, Invocation, JobChunks, JobEnded, JobStarted, RunCancelled, RunFailed
from deployments.store.rows import StoreDown
from graphs.errors import ComponentFailed, Conflict, InvalidInput, NotFound, Unavailable
from graphs.plan import Options, Store
from tests.gateway.keeping import end, ended, numbers, read, reading, said, started
from tests.store.postgres import Postgres, binaries
from tests.transports.served import DEADLINE, Feed, Feeds, answering, one, plan, replicas, soon

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
