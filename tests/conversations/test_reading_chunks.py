"""A workflow that passes on an API's own chunks: what they say beside the text comes through."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.conversations.pieces import CallPiece, Ended, Piece
from deployments.conversations.reading import Reading
from deployments.runs.events import Delta, Finished
from graphs.stream import Note

TEXT = {"type": "text", "text": " a"}
USAGE = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}


def chunk(delta: dict[str, Any], finish: str | None = None) -> dict[str, Any]:
    return {"object": "chat.completion.chunk", "choices": [{"index": 0, "delta": delta, "finish_reason": finish}]}


def read(*chunks: Any, notes: tuple[Note, ...] = ()) -> list[Piece]:
    reading = Reading("run_1")
    pieces = [piece for each in chunks for piece in reading.read(Delta([each]))]
    return pieces + reading.end(Finished(None, streamed=True, notes=notes))


def test_the_finish_and_the_usage_of_chunks_come_through():
    said = read(
        chunk({"role": "assistant"}), chunk({"content": "Once"}), chunk({}, "length"), {"choices": [], "usage": USAGE}
    )
    assert said == ["Once", Ended("length", USAGE)]


def test_usage_may_stand_in_every_chunk_and_the_last_one_counts():
    said = read({**chunk({"content": "Once"}), "usage": {"total_tokens": 4}}, {**chunk({}, "stop"), "usage": USAGE})
    assert said == ["Once", Ended("stop", USAGE)]


def test_what_a_component_notes_comes_first():
    note = Note({"finish_reason": "stop", "usage": {"total_tokens": 9}})
    assert read({**chunk({"content": "a"}, "length"), "usage": USAGE}, notes=(note,)) == [
        "a",
        Ended("stop", {"total_tokens": 9}),
    ]


def test_the_empty_delta_at_the_end_says_nothing():
    assert read({"role": "assistant", "content": ""}, {"content": "Once"}, {}) == ["Once", Ended("stop")]


def test_deltas_of_text_alone_and_others_stand_in_one_batch():
    said: list[Any] = [
        {"content": "Once"},
        {"content": ""},
        {"content": None},
        " upon",
        {"content": 1},
        {"content": [TEXT]},
    ]
    assert [*Reading("run_1").read(Delta([*said, {"content": "d"}, {"other": "e"}]))] == [
        "Once", " upon", "1", " a", "d", '{"other": "e"}',
    ]  # fmt: skip


def test_calls_end_with_their_own_finish():
    call = {"index": 0, "id": "c1", "function": {"name": "f", "arguments": "{}"}}
    assert read(chunk({"tool_calls": [call]}), chunk({}, "stop")) == [
        CallPiece(0, "c1", "f", "{}"),
        Ended("tool_calls"),
    ]


@pytest.mark.parametrize(
    "output",
    [
        {"choices": [{"message": {"role": "assistant", "content": "Hi"}, "finish_reason": "length"}], "usage": USAGE},
        {"role": "assistant", "content": "Hi", "finish_reason": "length", "usage": USAGE},
    ],
)
def test_a_whole_completion_says_the_same(output: dict[str, Any]):
    assert Reading("run_1").end(Finished(output, streamed=False)) == ["Hi", Ended("length", USAGE)]


def test_an_empty_object_as_a_whole_result_is_its_json():
    assert Reading("run_1").end(Finished({}, streamed=False)) == ["{}", Ended("stop")]
