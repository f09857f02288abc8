"""Pieces in, parts out, one open at a time."""

from __future__ import annotations

from deployments.conversations.parts import Began, Closed, Grew, Part, Parts, arguments_of
from deployments.conversations.pieces import CallPiece, Ended, LogProbs, Piece, Refusal, Thought


def told(*pieces: Piece) -> list[str]:
    """What becomes of the parts, a word each: +kind begins, -kind ends, the rest is text."""
    words: list[str] = []
    for event in Parts().add(pieces):
        match event:
            case Began(part):
                words.append(f"+{part.name or part.kind}")
            case Grew(_, text):
                words.append(text)
            case Closed(part):
                words.append(f"-{part.name or part.kind}")
    return words


def test_each_part_ends_before_the_next_begins() -> None:
    assert told(Thought("Hm"), Thought("."), "Yes", Refusal("No"), Ended("stop")) == [
        "+reasoning", "Hm", ".", "-reasoning", "+text", "Yes", "-text", "+refusal", "No", "-refusal",
    ]  # fmt: skip


def test_mixed_calls_are_put_in_order() -> None:
    pieces = [
        CallPiece(0, "a", "first", '{"q"'), CallPiece(1, "b", "second", '{"r"'), CallPiece(1, arguments=": 2}"),
        CallPiece(0, arguments=": 1}"), Ended("tool_calls"),
    ]  # fmt: skip
    assert told(*pieces) == [
        "+first", '{"q"', ": 1}", "-first", "+second", '{"r"', ": 2}", "-second",
    ]  # fmt: skip


def test_a_call_that_is_complete_waits_for_no_other() -> None:
    pieces = [CallPiece(0, "a", "first", "{}"), CallPiece(1, "b", "second", "{}"), Ended("tool_calls")]
    assert told(*pieces) == ["+first", "{}", "-first", "+second", "{}", "-second"]


def test_probabilities_belong_to_the_text_that_follows() -> None:
    parts = Parts()
    events = list(parts.add([LogProbs([1]), LogProbs([2]), "ab", "c", Ended("stop")]))
    assert [event.logprobs for event in events if isinstance(event, Grew)] == [[1, 2], []]
    assert parts.all[0].logprobs == [1, 2]


def test_arguments_that_are_no_object_stand_under_a_name() -> None:
    assert arguments_of(Part(0, "call", texts=['{"q": 1}'])) == {"q": 1}
    assert arguments_of(Part(0, "call")) == {}
    assert arguments_of(Part(0, "call", texts=["[1]"])) == {"arguments": [1]}
    assert arguments_of(Part(0, "call", texts=["cut {"])) == {"arguments": "cut {"}
