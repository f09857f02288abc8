"""The database fails while runs are under way: each failure is told in words, and what runs said is written later."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import psycopg
import pytest

from deployments.store import database
from deployments.store.rows import StoreDown
from deployments.store.store import Store
from tests.store.postgres import Postgres
from tests.store.talking import HANGS, Opening, Talk, body, ended, new_run, started

NOBODY = 65534


async def refused(store: Store, talk: Talk, words: str) -> None:
    """See that new runs are refused with these words, and what a run says is kept for later."""
    talk.say()
    before = talk.safe
    with pytest.raises(StoreDown, match=words) as told:
        await store.accept(new_run("run_refused", key="refused"))
    assert "\n" not in told.value.message
    with pytest.raises(StoreDown, match=words):
        await store.flush()
    talk.say()
    assert store.trouble == told.value.message
    assert talk.safe == before


async def complete(store: Store, talk: Talk) -> None:
    """See that the writer goes on by itself, with every number once."""
    await talk.kept()
    found = await store.segments(talk.run, 0)
    assert [number for segment in found for number in json.loads(segment.body)] == list(range(talk.last + 1))
    assert (await store.run(talk.run)).size == sum(len(segment.body) for segment in found)
    assert store.trouble is None
    assert await store.run("run_refused") is None
    assert await store.accept(new_run("run_refused", key="refused")) is None


async def test_a_file_that_another_process_has_locked(
    file: Path, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(database, "BUSY", 0.05)
    store, other = await opening(f"sqlite:///{file}"), await opening(f"sqlite:///{file}")
    talk = await started(store)
    locking = sqlite3.connect(file, isolation_level=None)
    locking.execute("BEGIN IMMEDIATE")
    await refused(store, talk, r"runs\.db can't be used: another process has locked it")
    assert await other.bury(store.owner, 0, 9, b"lost") == []
    assert (await store.run(talk.run)).last == 0
    locking.execute("COMMIT")
    locking.close()
    await complete(store, talk)


async def test_a_file_that_is_full(file: Path, opening: Opening) -> None:
    store = await opening(f"sqlite:///{file}")
    talk = await started(store)

    async def at_most(pages: int) -> None:
        await store._database.write(lambda c: c.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar())

    await at_most(1)
    talk.say(10_000)
    await refused(store, talk, "the disk is full; free some space")
    await at_most(100_000)
    await complete(store, talk)


@pytest.fixture
def folder() -> Iterator[Path]:
    """A folder that every user may enter, which pytest's own isn't."""
    folder = Path(tempfile.mkdtemp(prefix="anabranch-store-"))
    folder.chmod(0o755)
    yield folder
    shutil.rmtree(folder)


async def test_a_file_that_is_read_only(folder: Path, opening: Opening) -> None:
    url = f"sqlite:///{folder}/runs.db"
    await ended(await opening(url))
    await opening.aclose()
    with read_only(folder):
        with pytest.raises(
            StoreDown, match=r"it is read-only; let this user|it can't be opened; check that this user may"
        ):
            await accepting(url)
        with pytest.raises(StoreDown, match="permission denied"):
            await Store.open(f"sqlite:///{folder}/new/runs.db")


async def accepting(url: str) -> None:
    store = await Store.open(url)
    assert store is not None
    try:
        await store.accept(new_run())
    finally:
        await store.aclose()


@contextmanager
def read_only(folder: Path) -> Iterator[None]:
    """Let no user write the folder and its database."""
    (folder / "runs.db").chmod(0o444)
    folder.chmod(0o555)
    root = os.geteuid() == 0
    if root:  # root may write everywhere
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        if root:
            os.seteuid(0)
        folder.chmod(0o755)


async def test_a_file_that_was_deleted_and_put_back(file: Path, opening: Opening) -> None:
    store = await opening(f"sqlite:///{file}")
    talk = await started(store)
    shutil.move(file, f"{file}.away")
    await refused(store, talk, r"is gone: the file was deleted or replaced; put it back, or restart the server")
    with pytest.raises(StoreDown, match="is gone"):
        await store.runs(limit=1)
    os.mknod(file)
    with pytest.raises(StoreDown, match="is gone"):
        await store.flush()
    shutil.move(f"{file}.away", file)
    await complete(store, talk)


async def test_a_server_that_was_stopped_and_started(postgres: Postgres, opening: Opening) -> None:
    store = await opening(postgres.database())
    talk = await started(store)
    postgres.stop()
    try:
        await refused(store, talk, "it can't be reached|it is being shut down|it has closed the connection")
        with pytest.raises(StoreDown):
            await store.run(talk.run)
    finally:
        postgres.start()
    await complete(store, talk)


async def test_a_restart_between_two_calls_is_not_noticed(postgres: Postgres, opening: Opening) -> None:
    store = await opening(postgres.database())
    talk = await started(store)
    await asyncio.gather(*[store.run(talk.run) for _ in range(6)])
    postgres.stop()
    postgres.start()
    found = await asyncio.gather(*[store.run(talk.run) for _ in range(6)])
    assert {row.id for row in found if row is not None} == {talk.run}
    assert await store.accept(new_run()) is None


async def test_a_server_whose_process_is_killed_while_it_writes(postgres: Postgres, opening: Opening) -> None:
    url = postgres.database()
    store = await opening(url)
    talk = await started(store)
    pid = await store._database.write(lambda c: c.exec_driver_sql("SELECT pg_backend_pid()").scalar_one())
    locking = psycopg.connect(url)
    locking.execute("LOCK TABLE segments")
    talk.say(3)
    writing = asyncio.create_task(store.accept(new_run("run_new", key="k")))
    # The writer's process waits for the lock, in the middle of its transaction.
    with psycopg.connect(url, autocommit=True) as watching:
        while watching.execute("SELECT count(*) FROM pg_locks WHERE NOT granted").fetchone() == (0,):  # noqa: ASYNC110
            await asyncio.sleep(0)  # another process's lock wakes no event here
    os.kill(pid, signal.SIGKILL)
    await asyncio.wait({writing})
    # The server ends every connection when one of its processes is killed.
    locking.close()
    talk.say()
    await talk.kept()
    found = await store.segments(talk.run, 0)
    assert [number for segment in found for number in json.loads(segment.body)] == [0, 1, 2, 3, 4]
    kept = await store.run("run_new") is not None
    assert kept == (writing.exception() is None)


async def test_a_commit_whose_answer_was_lost_is_made_once(url: str, opening: Opening) -> None:
    """The transaction is committed, and the connection dies before its process hears of it."""
    store = await opening(url)
    talk = await started(store)
    write, lost = store._database._write, []

    def losing(work: object) -> object:
        result = write(work)
        if len(lost) < 2:
            lost.append(result)
            raise ConnectionError("lost")
        return result

    store._database._write = losing
    talk.say(4)
    with pytest.raises(StoreDown, match="lost"):
        await store.accept(new_run("run_new", key="k"))
    await talk.kept()
    await store.flush()
    row = await store.run(talk.run)
    assert row is not None
    assert row.size == len(body(0, 0)) + len(body(1, 4))
    assert await store.run("run_new") is None
    assert await store.segments("run_new", 0) == []
    assert await store.accept(new_run("run_new", key="k")) is None


async def test_a_store_whose_database_is_down_closes_all_the_same(postgres: Postgres) -> None:
    store = await Store.open(postgres.database())
    assert store is not None
    talk = await started(store)
    postgres.stop()
    try:
        talk.say()
        async with asyncio.timeout(HANGS):
            await store.aclose()
    finally:
        postgres.start()
    assert talk.safe == 0


CHILD = """
import asyncio, sys
from tests.store.talking import started
from deployments.store.store import Store

async def main():
    store = await Store.open(sys.argv[1], every=0)
    talks = [await started(store, f"run_{n}") for n in range(5)]
    while True:
        for talk in talks:
            talk.say(3)
        await talks[0].kept()
        print(talks[0].safe, flush=True)

asyncio.run(main())
"""


def killed_while_it_writes(url: str) -> int:
    """Run the child, kill it, and return the last number that it knew to be safe."""
    with subprocess.Popen([sys.executable, "-c", CHILD, url], stdout=subprocess.PIPE) as child:
        assert child.stdout is not None
        said = [int(child.stdout.readline()) for _ in range(30)]
        child.kill()
    return said[-1]


async def test_a_killed_process_leaves_whole_segments_and_is_buried(url: str, opening: Opening) -> None:
    acknowledged = killed_while_it_writes(url)
    store = await opening(url)
    buried: list[str] = []
    while not buried:  # what the process had sent when it was killed may still be on its way into the database
        ((owner, beat),) = (await store.beats()).items()
        buried = await store.bury(owner, beat, 9, b"[-1]")
    assert buried == [f"run_{n}" for n in range(5)]
    for row in await store.runs(limit=10):
        found = await store.segments(row.id, 0, limit=10_000)
        numbers = [number for segment in found for number in json.loads(segment.body)]
        assert numbers == [*range(row.last), -1]
        assert row.last > acknowledged
        assert (row.status, row.size) == ("failed", sum(len(segment.body) for segment in found))
    assert await store.beats() == {}
