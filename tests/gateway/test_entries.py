"""What a log holds comes out of its bytes as it went in."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.gateway.entries import Accepted, Entry, LogEvent, last_segment, pack, unpack
from deployments.runs.events import (
    Delta,
    Finished,
    JobChunks,
    JobEnded,
    JobRetried,
    JobStarted,
    JobStreaming,
    RunCancelled,
    RunFailed,
    Started,
)
from graphs.errors import AnabranchError, ComponentFailed, UpstreamFailed
from graphs.stream import Note, Value

BYTES = bytes(range(256))


class OfAPlugin(ComponentFailed):
    type = "quota_gone"
    status = 418


def again(*events: LogEvent) -> list[Entry]:
    """The events as the store gives them back, from number 7 on."""
    entries: list[Entry] = []
    for event in events:
        entries.append(Entry(entries[-1].last + 1 if entries else 7, 5.25, event))
    back = list(unpack(7, *pack(entries)))
    assert [(entry.first, entry.last, entry.at) for entry in back] == [(e.first, e.last, e.at) for e in entries]
    return back


@pytest.mark.parametrize(
    "event",
    [
        Accepted("w", {"a": ["안", None, 1.5, {"b": BYTES}]}, "session"),
        Accepted("w", None),
        Accepted("w", {"\0base64": "no bytes"}),
        Started("run_1", "w"),
        Delta(["a", "\ud800", "", None, BYTES, 1, [2], {"c": True}]),
        Delta([Note({"usage": 3}), "a", Note(), {"usage": 3}, Note({"image": BYTES})], "named"),
        Delta([{"chunks": []}], "n", whole=True),
        Delta([Note({"usage": 3})]),
        JobStarted("a/b"),
        JobStreaming("a"),
        JobChunks("a", ["x", BYTES, Note({"n": 1})]),
        JobEnded("a", "completed", {"out": BYTES}),
        JobEnded("a", "completed", streamed=True),
        JobEnded("a", "skipped", why="its condition is false"),
        Finished({"out": [1, None]}, streamed=False),
        Finished(None, streamed=True, notes=(Note({"usage": {"tokens": 3}}), Note())),
        RunCancelled("its client disconnected"),
    ],
    ids=lambda event: type(event).__name__,
)
def test_an_event_comes_back_as_it_was(event: LogEvent) -> None:
    before, back, behind = again(JobStarted("before"), event, JobStarted("behind"))
    assert (before.event, back.event, behind.event) == (JobStarted("before"), event, JobStarted("behind"))


def test_numbers_that_json_has_no_word_for_come_back() -> None:
    chunks = again(Delta([math.nan, math.inf, -math.inf, 10**40]))[0].event.chunks  # type: ignore[union-attr]
    assert math.isnan(chunks[0])
    assert chunks[1:] == [math.inf, -math.inf, 10**40]


@pytest.mark.parametrize(
    "error",
    [
        UpstreamFailed("no\nsuch \ud800 model", upstream={"status": 404, "body": {"raw": BYTES, "nan": math.inf}}),
        OfAPlugin("gone", job="a", left=[1, {"x": None}]),
        AnabranchError(""),
    ],
)
def test_an_error_keeps_its_class_type_status_and_details(error: AnabranchError) -> None:
    for event in (RunFailed(error), JobEnded("a", "failed", why="b took over", error=error), JobRetried("a", 2, error)):
        back: Any = again(event)[0].event
        assert type(back) is type(event)
        assert type(back.error) is type(error)
        assert (back.error.type, back.error.status) == (error.type, error.status)
        assert (back.error.message, back.error.details) == (error.message, error.details)


def test_details_that_no_json_can_say_are_left_out_and_the_error_stays() -> None:
    back: Any = again(RunFailed(ComponentFailed("odd", what=object(), job="a")))[0].event
    assert (back.error.type, back.error.message) == ("component_failed", "odd")


def test_chunks_take_a_number_each_and_every_other_event_takes_one() -> None:
    entries = again(Started("r", "w"), Delta(["a", "b", "c"]), JobChunks("j", ["x", "y"]), JobStarted("k"))
    assert [(entry.first, entry.last) for entry in entries] == [(7, 7), (8, 10), (11, 12), (13, 13)]


def test_the_first_and_the_last_segment_of_a_log_are_read_like_all_others() -> None:
    assert list(unpack(0, *pack([Entry(0, 2.0, Accepted("w", 1))]))) == [Entry(0, 2.0, Accepted("w", 1))]
    (end,) = unpack(91, *last_segment(ComponentFailed("gone"), 3.0))
    assert (end.first, end.at) == (91, 3.0)
    assert isinstance(end.event, RunFailed)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text() | st.binary(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
CHUNKS = st.lists(JSON | st.builds(Note, st.dictionaries(st.text(), JSON, max_size=2)), min_size=1, max_size=6)


@given(CHUNKS, st.none() | st.text(), JSON)
def test_any_chunk_note_and_output_comes_back(chunks: list[Value], name: str | None, output: Value) -> None:
    events = [Delta(chunks, name), JobChunks("a", chunks), JobEnded("a", "completed", output), Finished(output, False)]
    assert [entry.event for entry in again(*events)] == events


@given(st.integers(0, 20), st.integers(1, 6), st.integers(-1, 30))
def test_what_follows_a_number_is_the_rest_of_an_entry(first: int, count: int, number: int) -> None:
    rest = Entry(first, 1.0, Delta([str(first + index) for index in range(count)])).after(number)
    expected = [str(each) for each in range(first, first + count) if each > number]
    assert (rest.event.chunks if rest else []) == expected  # type: ignore[union-attr]
    assert rest is None or str(rest.first) == expected[0]
