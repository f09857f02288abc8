"""What runs say is kept: at once when they are accepted, then in batches."""

from __future__ import annotations

import asyncio
import json
import subprocess
import sys

import pytest

from deployments.store.rows import Existing, StoreDown
from deployments.store.store import Store
from graphs.errors import InvalidInput
from tests.store.talking import Opening, Talk, body, ended, new_run, started


async def test_an_accepted_run_stands_in_the_store_with_its_first_segment(url: str, opening: Opening) -> None:
    store = await opening(url)
    run = new_run(session="s", caller="c", policy='{"on_disconnect": "cancel"}')
    assert await store.accept(run) is None
    row = await store.run(run.id)
    assert row is not None
    assert (row.id, row.workflow, row.status, row.session, row.caller) == (run.id, "chat", "pending", "s", "c")
    assert (row.owner, row.created_at, row.ended_at, row.output) == (store.owner, 1000.0, None, None)
    assert (row.last, row.size, row.policy) == (0, len(run.segment.body), run.policy)
    assert (row.stop, row.reads) == (False, 0)
    assert await store.segments(run.id, 0) == [run.segment]


async def test_what_a_run_says_between_two_writes_is_one_segment(url: str, opening: Opening) -> None:
    store = await opening(url)
    talk = await started(store)
    for _ in range(5):
        talk.say()
    await store.flush()
    talk.say(2, "completed", output='"all"')
    await store.flush()
    found = await store.segments(talk.run, 0)
    assert [(segment.first, segment.last, segment.body) for segment in found] == [
        (0, 0, body(0, 0)),
        (1, 5, body(1, 5)),
        (6, 7, body(6, 7)),
    ]
    row = await store.run(talk.run)
    assert row is not None
    assert (row.status, row.ended_at, row.output) == ("completed", 2007.0, '"all"')
    assert (row.last, row.size) == (7, sum(len(segment.body) for segment in found))


async def test_a_marked_run_is_written_without_being_asked_for(url: str, opening: Opening) -> None:
    store = await opening(url)
    talk = await started(store)
    for _ in range(3):
        talk.say()
        await talk.kept()
    assert [segment.last for segment in await store.segments(talk.run, 1)] == [1, 2, 3]


async def test_all_runs_share_one_transaction(url: str, opening: Opening) -> None:
    store = await opening(url, every=60)
    talks = await asyncio.gather(*[started(store) for _ in range(40)])
    accepted = (await store.beats())[store.owner]
    for talk in talks:
        talk.say(3)
    await store.flush()
    assert accepted == 0
    assert await store.beats() == {store.owner: 1}
    assert {talk.safe for talk in talks} == {3}


async def test_a_run_that_has_ended_is_forgotten_by_the_writer(url: str, opening: Opening) -> None:
    store = await opening(url)
    talk = await ended(store)
    talk.say(1, "failed")
    await store.flush()
    row = await store.run(talk.run)
    assert row is not None
    assert (row.status, row.last, talk.safe) == ("completed", 1, 1)


async def test_a_flush_of_nothing_returns(url: str, opening: Opening) -> None:
    await (await opening(url)).flush()


async def test_a_key_stands_for_one_run_of_a_caller(url: str, opening: Opening) -> None:
    store = await opening(url)
    await started(store, "run_a", key="k", digest="d")
    assert await store.accept(new_run("run_b", key="k", digest="other")) == Existing("run_a", "d")
    assert await store.run("run_b") is None
    assert await store.segments("run_b", 0) == []
    await started(store, "run_c", key="k", digest="d", caller="another")


async def test_of_replicas_that_race_with_one_key_exactly_one_starts_a_run(url: str, opening: Opening) -> None:
    stores = [await opening(url), await opening(url)]
    for key in map(str, range(10)):
        runs = [new_run(key=key, digest="d") for _ in range(6)]
        answers = await asyncio.gather(*[stores[i % 2].accept(run) for i, run in enumerate(runs)])
        (winner,) = [run.id for run, answer in zip(runs, answers, strict=True) if answer is None]
        assert {answer.run for answer in answers if answer is not None} == {winner}
    assert len(await stores[0].runs(limit=100)) == 10


async def test_of_a_run_whose_client_left_while_it_was_accepted_nothing_stays(url: str, opening: Opening) -> None:
    store = await opening(url)
    await started(store)
    leaving = [asyncio.create_task(store.accept(new_run(f"run_x{i}", key=f"k{i}"))) for i in range(4)]
    leaving[0].cancel()
    await asyncio.sleep(0)
    leaving[1].cancel()
    await asyncio.sleep(0)
    leaving[2].cancel()
    assert await leaving[3] is None
    await store.flush()
    await store.flush()
    assert [row.id for row in await store.runs(limit=10) if row.id.startswith("run_x")] == ["run_x3"]
    await started(store, key="k0")


@pytest.mark.parametrize("text", ["a\0b", "\ud83d", "é" * 513])
@pytest.mark.parametrize("field", ["session", "caller", "key"])
async def test_a_text_that_a_database_refuses_is_refused_before(
    url: str, opening: Opening, field: str, text: str
) -> None:
    store = await opening(url)
    with pytest.raises(InvalidInput):
        await store.accept(new_run(**{field: text}))
    await started(store, **{field: "é" * 512})


@pytest.mark.parametrize("output", ['"\ud83d"', '"é \\u0000"', "null"])
async def test_an_output_that_a_database_refuses_is_kept_as_the_same_json(
    url: str, opening: Opening, output: str
) -> None:
    store = await opening(url)
    talk = await started(store)
    talk.say(1, "completed", output)
    await store.flush()
    row = await store.run(talk.run)
    assert row is not None
    assert json.loads(row.output or "") == json.loads(output)


async def test_a_source_that_fails_does_not_end_the_writer(url: str, opening: Opening) -> None:
    class Broken(Talk):
        def take(self) -> None:
            raise RuntimeError("a fault")

    store = await opening(url)
    talk = await started(store)
    Broken(talk.run, store).say()
    talk.say()
    await talk.kept()


async def test_a_closed_store_says_so(url: str) -> None:
    store = await Store.open(url)
    assert store is not None
    talk = await started(store)
    talk.say()
    await store.aclose()
    assert talk.safe == 1
    with pytest.raises(StoreDown, match="is being closed"):
        await store.accept(new_run())
    with pytest.raises(StoreDown, match="is being closed"):
        await store.flush()


def test_rows_are_known_without_a_database_library() -> None:
    code = "import sys, deployments.store.rows; sys.exit(int('sqlalchemy' in sys.modules))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0
