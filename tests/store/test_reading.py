"""Readers find runs and their logs; what is old goes."""

from __future__ import annotations

import pytest

from tests.store.talking import Opening, body, ended, new_run, started


async def test_runs_are_listed_the_newest_first_and_by_what_is_asked_for(url: str, opening: Opening) -> None:
    store = await opening(url)
    await started(store, "run_1", workflow="a", session="s", caller="me")
    await ended(store, "run_2", workflow="b", session="s")
    await ended(store, "run_3", workflow="a", status="failed")
    await started(store, "run_4", workflow="b", caller="me")

    async def ids(**wanted: object) -> list[str]:
        return [row.id[4:] for row in await store.runs(**{"limit": 10, **wanted})]

    assert await ids() == ["4", "3", "2", "1"]
    assert await ids(limit=2) == ["4", "3"]
    assert await ids(before="run_3", limit=1) == ["2"]
    assert await ids(workflow="a") == ["3", "1"]
    assert await ids(status="completed") == ["2"]
    assert await ids(session="s") == ["2", "1"]
    assert await ids(caller="me", workflow="b") == ["4"]
    assert await ids(workflow="c") == []
    assert await ids(session="\0") == []
    assert await ids(before="\ud83d") == []


async def test_what_is_not_there_is_not_found(url: str, opening: Opening) -> None:
    store = await opening(url)
    for id in ("run_none", "", "a\0", "\ud83d"):
        assert await store.run(id) is None
        assert await store.segments(id, 0) == []
        assert await store.forget(id) is False


async def test_a_log_is_read_from_any_number_on(url: str, opening: Opening) -> None:
    store = await opening(url)
    talk = await started(store)
    for numbers in (3, 1, 4):
        talk.say(numbers)
        await store.flush()

    async def found(*wanted: int, **more: int) -> list[tuple[int, int]]:
        return [(segment.first, segment.last) for segment in await store.segments(talk.run, *wanted, **more)]

    assert await found(0) == [(0, 0), (1, 3), (4, 4), (5, 8)]
    assert await found(2) == [(1, 3), (4, 4), (5, 8)]
    assert await found(4, 4) == [(4, 4)]
    assert await found(3, 5) == [(1, 3), (4, 4), (5, 8)]
    assert await found(1, limit=2) == [(1, 3), (4, 4)]
    assert await found(8) == [(5, 8)]
    assert await found(9) == []


async def test_the_new_segments_of_many_runs_come_with_one_query(url: str, opening: Opening) -> None:
    store, other = await opening(url), await opening(url)
    one, two, three = [await started(store, f"run_{n}") for n in "abc"]
    for talk in (one, two, three):
        talk.say(2)
    await store.flush()
    one.say(1)
    await store.flush()
    positions = {"run_b": 0, "run_a": 0, "run_c": 2, "run_none": 0}
    found = await other.tail(positions)
    assert [segment[:3] for segment in found] == [("run_a", 1, 2), ("run_a", 3, 3), ("run_b", 1, 2)]
    assert [segment.body for segment in found] == [body(1, 2), body(3, 3), body(1, 2)]
    assert await other.tail(positions, limit=1) == found[:1]
    assert await other.tail({"run_a": 2}) == [found[1]]
    assert await other.tail({}) == []


async def test_a_large_log_is_kept_as_it_is(url: str, opening: Opening) -> None:
    store = await opening(url)
    talks = [await started(store) for _ in range(3)]
    for talk in talks:
        talk.say(300_000)
    await store.flush()
    assert [(await store.segments(talk.run, 5))[0].body for talk in talks] == [body(1, 300_000)] * 3


async def test_a_run_that_has_ended_can_be_forgotten_with_its_key(url: str, opening: Opening) -> None:
    store = await opening(url)
    talk = await started(store, key="k")
    assert await store.forget(talk.run) is False
    talk.say(1, "cancelled")
    await store.flush()
    assert await store.forget(talk.run) is True
    assert await store.forget(talk.run) is False
    assert await store.run(talk.run) is None
    assert await store.segments(talk.run, 0) == []
    await started(store, key="k")


async def test_old_runs_are_swept_in_steps(url: str, opening: Opening) -> None:
    store = await opening(url)
    for n in range(1, 6):
        await ended(store, f"run_{n}", numbers=n, key=str(n))
    await started(store, "run_0")
    swept = [await store.sweep(older_than=2005, max_size=None, step=3) for _ in range(3)]
    assert swept == [3, 1, 0]
    assert [row.id for row in await store.runs(limit=10)] == ["run_5", "run_0"]
    await started(store, key="1")
    assert await store.accept(new_run(key="5")) is not None


async def test_the_oldest_runs_are_swept_until_the_logs_are_small_enough(url: str, opening: Opening) -> None:
    store = await opening(url)
    active = await started(store, "run_0")
    active.say(50)
    for n in range(1, 6):
        await ended(store, f"run_{n}", numbers=9 + n)
    sizes = {row.id: row.size for row in await store.runs(limit=10)}
    room = sum(sizes.values()) - sizes["run_1"] - 1
    assert await store.sweep(older_than=None, max_size=sum(sizes.values())) == 0
    assert await store.sweep(older_than=None, max_size=room) == 2
    assert await store.sweep(older_than=None, max_size=room) == 0
    assert await store.sweep(older_than=None, max_size=0) == 3
    assert [row.id for row in await store.runs(limit=10)] == ["run_0"]


async def test_all_stands_after_a_restart(url: str, opening: Opening) -> None:
    first = await opening(url)
    done = await ended(first, key="k", digest="d")
    await first.aclose()
    second = await opening(url)
    row = await second.run(done.run)
    assert row is not None
    assert row.status == "completed"
    assert await second.accept(new_run(key="k")) == (done.run, "d")


@pytest.mark.parametrize("active", [True, False])
async def test_an_owner_that_leaves_active_runs_behind_can_be_buried(url: str, opening: Opening, active: bool) -> None:
    first, second = await opening(url), await opening(url)
    talk = await started(first)
    if not active:
        talk.say(1, "completed")
    await first.aclose()
    assert list(await second.beats()) == ([first.owner] if active else [])
