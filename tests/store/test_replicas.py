"""Two stores on one database: they tell each other to stop runs, and one buries the other."""

from __future__ import annotations

import pytest

from deployments.store import store as module
from tests.store.talking import Opening, ended, new_run, started

END = (9, b"lost")


async def test_an_owner_learns_which_of_its_active_runs_it_is_asked_to_stop(url: str, opening: Opening) -> None:
    owner, other = await opening(url), await opening(url)
    one, two = await started(owner), await started(owner)
    done = await ended(owner)
    assert await owner.wanted() == []
    for run in (one.run, done.run, "run_none"):
        await other.ask_to_stop(run)
    assert [(each.run, each.stop) for each in await owner.wanted()] == [(one.run, True)]
    assert await other.wanted() == []
    one.say(1, "cancelled")
    await owner.flush()
    assert await owner.wanted() == []
    assert [(await other.run(talk.run)).stop for talk in (one, two, done)] == [True, False, False]


async def test_readers_elsewhere_are_counted(url: str, opening: Opening) -> None:
    owner, other = await opening(url), await opening(url)
    one, two = await started(owner), await started(owner)
    done = await ended(owner)
    await other.reading([two.run, one.run, done.run, "run_none"])
    await other.reading({one.run})
    assert [(each.run, each.stop, each.reads) for each in await owner.wanted()] == sorted(
        [(one.run, False, 2), (two.run, False, 1)]
    )
    await other.reading([])
    assert [(await owner.run(talk.run)).reads for talk in (one, two, done)] == [2, 1, 0]


async def test_a_beat_counts_up_and_every_write_does(url: str, opening: Opening) -> None:
    owner, other = await opening(url), await opening(url)
    await owner.beat()
    await owner.beat()
    talk = await started(owner)
    before = (await other.beats())[owner.owner]
    talk.say()
    await owner.flush()
    assert await other.beats() == {owner.owner: before + 1}


async def test_a_buried_owner_s_active_runs_fail_and_it_writes_nothing_more(url: str, opening: Opening) -> None:
    owner, other = await opening(url), await opening(url)
    talk, done = await started(owner), await ended(owner)
    mine = await started(other)
    talk.say(2)
    await owner.flush()
    name, told = owner.owner, []
    owner.on_buried = lambda: told.append(owner.owner)
    assert await other.bury(name, (await other.beats())[name], *END) == [talk.run]
    talk.say(5)
    done.say()
    await owner.flush()
    row = await other.run(talk.run)
    assert row is not None
    assert (row.status, row.last, row.output) == ("failed", 3, None)
    found = await other.segments(talk.run, 0)
    assert [(segment.first, segment.last) for segment in found] == [(0, 0), (1, 2), (3, 3)]
    assert found[-1][3:] == END
    assert row.size == sum(len(segment.body) for segment in found)
    assert (row.ended_at or 0) > row.created_at
    assert told == [owner.owner]
    assert owner.owner != name
    assert [(await other.run(run)).status for run in (done.run, mine.run)] == ["completed", "pending"]


async def test_a_buried_owner_goes_on_under_a_new_name(url: str, opening: Opening) -> None:
    owner, other = await opening(url), await opening(url)
    old = await started(owner)
    name = owner.owner
    await other.bury(name, 0, *END)
    new = await started(owner)
    assert owner.owner != name
    old.say()
    new.say()
    await new.kept()
    assert (await other.run(new.run)).owner == owner.owner
    assert (await other.run(old.run)).last == 1
    assert list(await other.beats()) == [owner.owner]
    await owner.beat()
    assert (await other.beats())[owner.owner] >= 2


async def test_a_beat_of_a_buried_owner_tells_it(url: str, opening: Opening) -> None:
    owner, other = await opening(url), await opening(url)
    await started(owner)
    told: list[str] = []
    owner.on_buried = lambda: told.append("buried")
    await other.bury(owner.owner, 0, *END)
    await owner.beat()
    assert told == ["buried"]
    assert await owner.wanted() == []


async def test_an_owner_that_has_written_since_is_not_buried(url: str, opening: Opening) -> None:
    owner, other = await opening(url), await opening(url)
    talk = await started(owner)
    await owner.beat()
    assert await other.bury(owner.owner, 0, *END) == []
    assert await other.bury("owner_none", 0, *END) == []
    assert (await other.run(talk.run)).status == "pending"
    talk.say()
    await talk.kept()


async def test_nobody_is_buried_after_a_wait_for_locks(
    url: str, opening: Opening, monkeypatch: pytest.MonkeyPatch
) -> None:
    owner, other = await opening(url), await opening(url)
    talk = await started(owner)
    monkeypatch.setattr(module, "PATIENCE", -0.0)
    assert await other.bury(owner.owner, 0, *END) == []
    monkeypatch.undo()
    talk.say()
    await talk.kept()
    assert await other.bury(owner.owner, 1, *END) == [talk.run]


async def test_new_runs_that_wait_while_their_owner_is_buried_are_accepted(url: str, opening: Opening) -> None:
    owner, other = await opening(url), await opening(url)
    await started(owner)
    await other.bury(owner.owner, 0, *END)
    run = new_run(key="k")
    assert await owner.accept(run) is None
    assert (await other.run(run.id)).owner == owner.owner
