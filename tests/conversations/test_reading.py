"""Every kind of chunk that a component may give, as the vendors' APIs read it."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.conversations.pieces import CallPiece, Ended, LogProbs, Piece, Refusal, Thought
from deployments.conversations.reading import Reading
from deployments.runs.events import Delta, Finished
from graphs.stream import Note

CALL = {"id": "c1", "type": "function", "function": {"name": "f", "arguments": "{}"}}


def read(*deltas: Delta, primary: str | None = None, parallel_calls: bool = True) -> list[Piece]:
    reading = Reading("run_abc", primary, parallel_calls=parallel_calls)
    pieces = [piece for each in deltas for piece in reading.read(each)]
    return pieces + reading.end(Finished(None, streamed=True))


@pytest.mark.parametrize(
    ("chunks", "pieces"),
    [
        (["a", "", "b"], ["a", "b"]),
        ([None, "a"], ["a"]),
        (["한글".encode()[:4], "한글".encode()[4:]], ["한", "글"]),
        ([b"\xed\x95"], ["\ufffd"]),
        ([{"reasoning_content": "Hm."}, {"reasoning": "So."}], [Thought("Hm."), Thought("So.")]),
        ([{"refusal": "No."}], [Refusal("No.")]),
        ([{"role": "assistant"}, {"content": ""}, {"content": None}], []),
        ([{"content": [{"type": "text", "text": "a"}, {"type": "image_url"}]}], ["a"]),
        ([{"answer": 42}], ['{"answer": 42}']),
        ([[1, 2], 3, True], ["[1, 2]", "3", "true"]),
        ([Note({"logprobs": [{"token": "a"}]}), "a"], [LogProbs([{"token": "a"}]), "a"]),
        ([Note({"anything": 1})], []),
    ],
)
def test_a_chunk_is_read_as(chunks: list[Any], pieces: list[Piece]) -> None:
    assert read(Delta(chunks)) == [*pieces, Ended("stop")]


@pytest.mark.parametrize(
    "chunk", [{"tool_calls": [{"index": 0, **CALL}]}, Note({"tool_calls": [{"index": 0, **CALL}]})]
)
def test_a_call_may_come_in_a_delta_or_in_a_note(chunk: Any) -> None:
    assert read(Delta([chunk])) == [CallPiece(0, "c1", "f", "{}"), Ended("tool_calls")]


def test_a_call_without_an_id_gets_one_and_what_else_it_says_is_kept() -> None:
    call = {"function": {"name": "f", "arguments": {"q": 1}}, "extra_content": {"google": "x"}}
    assert read(Delta([{"tool_calls": [call]}])) == [
        CallPiece(0, "call_abc_0", "f", '{"q": 1}', {"extra_content": {"google": "x"}}),
        Ended("tool_calls"),
    ]


def test_only_the_first_call_is_read_where_one_is_allowed() -> None:
    calls = {"tool_calls": [{"index": 0, **CALL}, {"index": 1, **CALL}]}
    assert read(Delta([calls]), parallel_calls=False) == [CallPiece(0, "c1", "f", "{}"), Ended("tool_calls")]


@pytest.mark.parametrize(("primary", "expected"), [(None, ["b"]), ("a", ["a"]), ("c", [])])
def test_of_streams_side_by_side_one_is_the_answer(primary: str | None, expected: list[Piece]) -> None:
    deltas = (Delta(["b"], "b"), Delta(["a"], "a"))
    assert read(*deltas, primary=primary) == [*expected, Ended("stop")]


@pytest.mark.parametrize(
    ("output", "pieces"),
    [
        ("text", ["text"]),
        (None, []),
        ({"score": 0.5}, ['{"score": 0.5}']),
        ({"role": "assistant", "content": None, "tool_calls": [CALL]}, [CallPiece(0, "c1", "f", "{}")]),
        ({"answer": "main", "summary": "side"}, ["main"]),
    ],
)
def test_a_result_that_does_not_stream_is_read_alike(output: Any, pieces: list[Piece]) -> None:
    *said, ended = Reading("run_1", "answer").end(Finished(output, streamed=False))
    assert said == pieces
    assert isinstance(ended, Ended)


def test_the_usage_of_all_components_is_summed_at_any_depth() -> None:
    notes = tuple(
        Note({"usage": {"prompt_tokens": count, "prompt_tokens_details": {"cached_tokens": count}}}) for count in (1, 2)
    )
    *_, ended = Reading("run_1").end(Finished("x", streamed=False, notes=notes))
    assert ended == Ended("stop", {"prompt_tokens": 3, "prompt_tokens_details": {"cached_tokens": 3}})


def test_the_probabilities_of_a_whole_answer_come_before_its_text() -> None:
    note = Note({"logprobs": [{"token": "x"}]})
    said = Reading("run_1").end(Finished("x", streamed=False, notes=(note,)))
    assert said == [LogProbs([{"token": "x"}]), "x", Ended("stop")]
