"""The log of one run in memory: its numbers, its window, what its readers get, and how it waits for the store."""

from __future__ import annotations

import asyncio
from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway import log as logs
from deployments.gateway.entries import Accepted, Entry, LogEvent, unpack
from deployments.gateway.log import ENTRY_SIZE, FollowedLog, OwnLog, RunLog
from deployments.runs.events import Delta, Finished, JobChunks, JobEnded, JobStarted, RunCancelled, RunFailed, Started
from graphs.errors import ComponentFailed, TooLarge
from graphs.stream import Note
from tests.transports.served import DEADLINE


class Ledger:
    """A store's writer in a test's hands."""

    def __init__(self) -> None:
        self.marked = 0
        self.stored = 0
        self.log = OwnLog("run", self._mark, self._all)

    def _mark(self, log: OwnLog) -> None:
        assert log is self.log
        self.marked += 1

    def _all(self) -> None:
        self.stored += 1

    def write(self) -> list[Entry]:
        """Take all there is and say that it is written; returns it."""
        entries: list[Entry] = []
        while (taken := self.log.take()) is not None:
            segment, _ = taken
            entries += unpack(segment.first, segment.kind, segment.body)
            assert (segment.first, segment.last) == (entries[0].first, entries[-1].last) or len(entries) > 1
            self.log.written(segment.last)
        return entries


def begun() -> Ledger:
    ledger = Ledger()
    ledger.log.accept(Accepted("w", None))
    ledger.log.say(Started("run", "w"))
    return ledger


def texts(entries: list[Entry]) -> list[Any]:
    return [chunk for entry in entries if isinstance(entry.event, Delta) for chunk in entry.event.chunks]


EVENTS: list[LogEvent] = [Started("r", "w"), JobStarted("a"), Delta(["x", "y"]), Delta(["z"]), JobChunks("a", [1, 2])]


def test_numbers_are_dense_and_the_first_segment_is_number_zero() -> None:
    log = OwnLog("run", lambda _: None)
    segment = log.accept(Accepted("w", {"a": 1}))
    assert (segment.run, segment.first, segment.last) == ("run", 0, 0)
    assert [entry.event for entry in unpack(0, segment.kind, segment.body)] == [Accepted("w", {"a": 1})]
    for event in EVENTS:
        log.say(event)
    assert [(e.first, e.last) for e in log.since(-1)] == [(0, 0), (1, 1), (2, 2), (3, 4), (5, 5), (6, 7)]
    assert log.next == 8


def test_the_status_is_that_of_the_newest_event() -> None:
    for end, status in (
        (Finished(None, streamed=True), "completed"),
        (RunFailed(ComponentFailed("x")), "failed"),
        (RunCancelled(), "cancelled"),
    ):
        log = OwnLog("run", lambda _: None)
        seen = [log.status]
        for event in (Started("r", "w"), Delta(["x"]), end):
            log.say(event)
            seen.append(log.status)
        assert seen == ["pending", "processing", "streaming", status]
        assert log.ended


@pytest.mark.parametrize(
    ("deltas", "format"),
    [
        ([Delta([Note(), "", None]), Delta(["x"])], "text"),
        ([Delta([b""]), Delta([b"x"]), Delta(["x"])], "bytes"),
        ([Delta([{"a": 1}])], "text"),
        ([Delta([b"x"], "a")], "named"),
        ([Delta([Note()])], None),
    ],
)
def test_the_first_chunk_that_says_something_is_the_format(deltas: list[Delta], format: str | None) -> None:
    log = OwnLog("run", lambda _: None)
    for delta in deltas:
        log.say(delta)
    assert log.format == format


def test_a_reader_in_the_middle_of_a_delta_gets_its_rest() -> None:
    log = begun().log
    log.say(Delta(["a", "b", "c"]))
    log.say(Delta(["d"]))
    assert [(entry.first, texts([entry])) for entry in log.since(3)] == [(4, ["c"]), (5, ["d"])]
    assert texts(log.since(2)) == ["b", "c", "d"]
    assert log.since(5) == log.since(99) == []
    assert texts(log.since(1)) == ["a", "b", "c", "d"]


def test_what_the_store_has_leaves_memory_beyond_the_window_and_nothing_else_does() -> None:
    ledger = begun()
    log = ledger.log
    for _ in range(8):
        log.say(Delta(["x" * (logs.WINDOW // 4)]))
    assert log.base == 0
    taken = log.take()
    assert taken is not None
    assert log.base == 0
    log.written(taken[0].last)
    assert 0 < log.base < log.next
    kept = log.since(log.base - 1)
    assert sum(ENTRY_SIZE + logs.WINDOW // 4 for _ in kept) <= logs.WINDOW
    log.trim(log.next)
    assert log.since(log.base - 1) == kept


def test_one_entry_larger_than_the_window_goes_once_it_is_stored() -> None:
    ledger = begun()
    ledger.log.say(Delta(["x" * 2 * logs.WINDOW]))
    ledger.write()
    assert ledger.log.base == ledger.log.next


async def test_a_reader_waits_for_news_and_an_ended_log_has_none() -> None:
    log = begun().log
    waiting = [log.news() for _ in range(3)]
    await asyncio.sleep(0)
    assert not any(task.done() for task in waiting)
    log.say(Delta(["x"]))
    async with asyncio.timeout(DEADLINE):
        await asyncio.gather(*waiting)
        log.say(RunCancelled())
        await log.news()


async def test_a_reader_that_left_while_it_waited_disturbs_nobody() -> None:
    log = begun().log
    gone, stays = log.news(), log.news()
    await asyncio.sleep(0)
    gone.cancel()
    await asyncio.wait([gone])
    log.say(Delta(["x"]))
    async with asyncio.timeout(DEADLINE):
        await stays


async def test_a_run_that_is_far_ahead_of_the_store_waits_for_it(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_UNWRITTEN", 1000)
    ledger = begun()
    ledger.log.say(Delta(["x" * 900]))
    waiting = asyncio.create_task(ledger.log.room())
    await asyncio.sleep(0)
    assert not waiting.done()
    taken = ledger.log.take()
    assert taken is not None
    await asyncio.sleep(0)
    assert not waiting.done(), "what is taken isn't written"
    ledger.log.written(taken[0].last)
    async with asyncio.timeout(DEADLINE):
        await waiting
        await ledger.log.room()


async def test_a_run_whose_log_is_lost_waits_for_no_store(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_UNWRITTEN", 10)
    ledger = begun()
    waiting = asyncio.create_task(ledger.log.room())
    await asyncio.sleep(0)
    ledger.log.lose()
    async with asyncio.timeout(DEADLINE):
        await waiting
    marked = ledger.marked
    ledger.log.say(Delta(["x" * 100]))
    await ledger.log.room()
    assert ledger.log.take() is None
    assert ledger.marked == marked
    assert texts(ledger.log.since(-1)) == ["x" * 100]


async def test_a_run_that_says_too_much_is_told_so() -> None:
    log = begun().log
    log.most = 2 << 20
    log.say(Delta(["x" * (1 << 20)]))
    await log.room()
    log.say(Delta(["x" * (1 << 20)]))
    with pytest.raises(TooLarge, match="more than 2 MiB, the most that is kept of a run"):
        await log.room()


def test_the_writer_takes_segments_of_a_bounded_size_whose_state_is_true(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MAX_SEGMENT", 1000)
    ledger = begun()
    log = ledger.log
    for _ in range(5):
        log.say(Delta(["x" * 600]))
    log.say(Finished(None, streamed=True))
    states: list[tuple[int, int, str, bool]] = []
    while (taken := log.take()) is not None:
        (_, first, last, _, _), state = taken
        states.append((first, last, state.status, state.ended_at is None))
    assert states == [
        (1, 2, "streaming", True),
        *((n, n, "streaming", True) for n in (3, 4, 5)),
        (6, 7, "completed", False),
    ]
    marked = ledger.marked
    for last in (2, 3, 4, 5):
        log.written(last)
    assert (ledger.marked, ledger.stored) == (marked, 0)
    log.written(7)
    assert ledger.stored == 1


def test_what_is_said_after_the_writer_took_is_marked_again() -> None:
    ledger = begun()
    taken = ledger.log.take()
    assert taken is not None
    ledger.log.say(Delta(["x"]))
    marked = ledger.marked
    ledger.log.written(taken[0].last)
    assert ledger.marked == marked + 1
    assert texts(ledger.write()) == ["x"]


def test_times_never_go_back_whatever_the_clock_of_the_day_does(monkeypatch: pytest.MonkeyPatch) -> None:
    ticks = iter(range(100))
    log = OwnLog("run", lambda _: None, clock=lambda: float(next(ticks)))
    monkeypatch.setattr("time.time", lambda: 0.0)
    for event in EVENTS:
        log.say(event)
    times = [entry.at for entry in log.since(-1)]
    assert [round(later - earlier, 3) for earlier, later in pairwise(times)] == [1.0] * 4


def test_what_a_follower_knows_already_is_left_out() -> None:
    log = FollowedLog("run", 4)
    log.extend([Entry(2, 1.0, Delta(["a", "b", "c", "d"]))])
    log.extend([Entry(2, 1.0, Delta(["a", "b", "c", "d"])), Entry(6, 1.0, Delta(["e"]))])
    assert (log.base, texts(log.since(3))) == (4, ["c", "d", "e"])


CHUNK = st.text(max_size=3) | st.integers() | st.none()
SAID = st.lists(
    st.lists(CHUNK, min_size=1, max_size=4).map(Delta)
    | st.lists(CHUNK, min_size=1, max_size=3).map(lambda chunks: JobChunks("a", chunks))
    | st.just(JobStarted("a"))
    | st.just(JobEnded("a", "completed", "x" * 200)),
    max_size=12,
)


@given(SAID, st.data())
def test_whatever_is_said_and_wherever_a_reader_resumes_it_gets_exactly_the_rest(said: list[Any], data: Any) -> None:
    ledger = begun()
    log = ledger.log
    stored: list[Entry] = list(log.since(-1))[:1]
    for event in said:
        log.say(event)
        if data.draw(st.booleans()):
            stored += ledger.write()
    log.say(Finished(None, streamed=True))
    stored += ledger.write()
    assert ledger.stored == 1
    flat = _flat(stored)
    assert list(flat) == list(range(log.next)), "the store's numbers have no hole"
    number = data.draw(st.integers(-1, log.next))
    rest = {each: what for each, what in flat.items() if each > number}
    if number + 1 >= log.base:
        assert _flat(log.since(number)) == rest
    assert _flat([after for entry in stored if (after := entry.after(number)) is not None]) == rest
    followed = FollowedLog("run", number + 1)
    followed.extend(stored)
    assert _flat(followed.since(number)) == rest


def _flat(entries: list[Entry]) -> dict[int, Any]:
    """What each number stands for."""
    flat: dict[int, Any] = {}
    for entry in entries:
        each = entry.event.chunks if isinstance(entry.event, Delta | JobChunks) else [entry.event]
        for index, chunk in enumerate(each):
            assert entry.first + index not in flat
            flat[entry.first + index] = chunk
    return flat


def test_a_log_without_entries_begins_with_its_next_number() -> None:
    log = RunLog("run", 5)
    assert (log.base, log.next, log.since(4)) == (5, 5, [])
