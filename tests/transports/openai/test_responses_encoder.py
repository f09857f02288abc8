"""Pieces in, the events of a response out: their order, their numbers, and that the response is their fold."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.conversations.pieces import CallPiece, Ended, LogProbs, Piece, Refusal, Thought
from deployments.transports.openai.responses.encoder import ALL, About, ResponseEncoder, response_error
from graphs.errors import AnabranchError, Cancelled, ComponentFailed, InvalidInput, RateLimited, RunLost
from tests.transports.openai.responding import folded, told, types

ABOUT = About("run_7", 1000.5, {"background": False, "store": True})
QUEUED = About("run_7", 1000.5, {"background": True, "store": True})
TOKEN = {
    "token": "é",
    "logprob": -0.5,
    "bytes": None,
    "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
}
STOP = Ended("stop")


def encoded(
    pieces: Sequence[Piece], about: About = ABOUT, after: int = -1
) -> tuple[ResponseEncoder, list[dict[str, Any]]]:
    encoder = ResponseEncoder(about, after)
    return encoder, told([*encoder.begin(), *encoder.add(pieces, 1002.0)])


texts = st.text(max_size=3).filter(bool)
calls = st.integers(0, 2).flatmap(
    lambda index: st.sampled_from(["", "{", '{"a":', "1}", "{}"]).map(
        lambda arguments: CallPiece(index, f"call_{index}", "look_up", arguments)
    )
)
pieces = st.lists(
    st.one_of(texts, texts.map(Thought), texts.map(Refusal), calls, st.just(LogProbs([TOKEN]))), max_size=12
)
finishes = st.sampled_from(["stop", "length", "tool_calls", "content_filter", "something else"])


@given(pieces, finishes)
def test_the_response_is_the_fold_of_its_events_which_are_numbered_without_holes(
    some: list[Piece], finish: str
) -> None:
    encoder, events = encoded([*some, Ended(finish)])
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert folded(events) == events[-1]["response"]["output"]
    assert events[-1]["response"] == encoder.response()
    ids = [item["id"] for item in encoder.output()]
    assert len(set(ids)) == len(ids)


@given(pieces, finishes, st.data())
def test_how_pieces_were_batched_makes_no_difference(some: list[Piece], finish: str, data: st.DataObject) -> None:
    _, events = encoded([*some, Ended(finish)])
    rest, encoder = [*some, Ended(finish)], ResponseEncoder(ABOUT)
    said = encoder.begin()
    while rest:
        size = data.draw(st.integers(1, len(rest)))
        said += encoder.add(rest[:size], 1002.0)
        rest = rest[size:]
    assert told(said) == events


@given(pieces, st.integers(-1, 40))
def test_what_a_reader_has_seen_is_counted_and_not_written(some: list[Piece], after: int) -> None:
    whole, events = encoded([*some, STOP])
    part, tail = encoded([*some, STOP], after=after)
    assert tail == events[after + 1 :]
    assert part.response() == whole.response()


@given(pieces, st.sampled_from([ComponentFailed("it broke"), Cancelled("enough")]))
def test_a_response_that_breaks_off_has_what_was_said_and_no_item_in_progress(
    some: list[Piece], error: AnabranchError
) -> None:
    encoder, events = encoded(some)
    events += told(encoder.fail(error))
    assert types(events)[-1] == "failed"
    items = events[-1]["response"]["output"]
    assert {item["status"] for item in items} <= {"completed", "incomplete"}
    assert items == folded(events)


def test_each_kind_of_part_has_its_events_in_their_order() -> None:
    call = CallPiece(0, "call_1", "look_up", "{}")
    _, events = encoded([Thought("Hm"), "It is", " cold", Refusal("No"), call, Ended("tool_calls")])
    assert types(events) == [
        "created", "in_progress",
        "output_item.added", "content_part.added", "reasoning_text.delta", "reasoning_text.done", "content_part.done", "output_item.done",
        "output_item.added", "content_part.added", "output_text.delta", "output_text.delta", "output_text.done", "content_part.done",
        "output_item.done",
        "output_item.added", "content_part.added", "refusal.delta", "refusal.done", "content_part.done", "output_item.done",
        "output_item.added", "function_call_arguments.delta", "function_call_arguments.done", "output_item.done",
        "completed",
    ]  # fmt: skip
    assert events[-1]["response"]["output"] == [
        {
            "id": "rs_7_0", "type": "reasoning", "status": "completed", "summary": [],
            "content": [{"type": "reasoning_text", "text": "Hm"}],
        },
        {
            "id": "msg_7_1", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "It is cold", "annotations": [], "logprobs": []}],
        },
        {
            "id": "msg_7_2", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "refusal", "refusal": "No"}],
        },
        {
            "id": "fc_7_3", "type": "function_call", "status": "completed",
            "call_id": "call_1", "name": "look_up", "arguments": "{}",
        },
    ]  # fmt: skip


def test_calls_whose_pieces_come_mixed_are_items_one_after_another() -> None:
    mixed = [
        CallPiece(0, "a", "one", '{"x":'), CallPiece(1, "b", "two", '{"y":'), CallPiece(0, arguments=" 1}"), CallPiece(1, arguments=" 2}"),
    ]  # fmt: skip
    _, events = encoded([*mixed, STOP])
    items = folded(events)
    assert [(item["call_id"], item["name"], item["arguments"]) for item in items] == [
        ("a", "one", '{"x": 1}'),
        ("b", "two", '{"y": 2}'),
    ]


def test_an_answer_without_a_piece_is_complete_and_empty() -> None:
    _, events = encoded([STOP])
    assert types(events) == ["created", "in_progress", "completed"]
    assert events[-1]["response"]["output"] == []


@pytest.mark.parametrize(("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")])
def test_an_answer_that_was_cut_is_incomplete_and_so_is_its_last_item(finish: str, reason: str) -> None:
    encoder, events = encoded([Thought("Hm"), "It is", Ended(finish)])
    assert types(events)[-1] == "incomplete"
    response = events[-1]["response"]
    assert (response["status"], response["completed_at"]) == ("incomplete", None)
    assert response["incomplete_details"] == {"reason": reason}
    assert [item["status"] for item in response["output"]] == ["completed", "incomplete"]
    assert encoder.answered


def test_times_are_those_of_the_run() -> None:
    _, events = encoded(["a", STOP])
    response = events[-1]["response"]
    assert (response["created_at"], response["completed_at"]) == (1000, 1002)
    assert events[0]["response"]["completed_at"] is None


def test_a_background_response_is_queued_until_it_starts() -> None:
    encoder = ResponseEncoder(QUEUED)
    events = told([*encoder.begin(), *encoder.start(), *encoder.add(["a", STOP], 1.0)])
    assert types(events)[:3] == ["created", "queued", "in_progress"]
    assert [event["response"]["status"] for event in events[:3]] == ["queued", "queued", "in_progress"]
    other = ResponseEncoder(ABOUT)
    other.begin()
    assert other.start() == []


def test_probabilities_are_told_with_the_bytes_of_every_token() -> None:
    _, events = encoded([LogProbs([TOKEN]), "é", "x", STOP])
    told = [
        {
            "token": "é",
            "logprob": -0.5,
            "bytes": [195, 169],
            "top_logprobs": [{"token": "e", "logprob": -1.0, "bytes": [101]}],
        }
    ]
    deltas = [event for event in events if event["type"] == "response.output_text.delta"]
    assert [delta["logprobs"] for delta in deltas] == [told, []]
    [item] = events[-1]["response"]["output"]
    assert item["content"][0]["logprobs"] == told


def test_usage_is_told_by_the_names_of_responses_and_never_made_up() -> None:
    usage = {
        "prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7,
        "prompt_tokens_details": {"cached_tokens": 2}, "completion_tokens_details": {"reasoning_tokens": 1},
    }  # fmt: skip
    _, events = encoded(["a", Ended("stop", usage)])
    assert events[-1]["response"]["usage"] == {
        "input_tokens": 3,
        "input_tokens_details": {"cached_tokens": 2, "cache_write_tokens": 0},
        "output_tokens": 4,
        "output_tokens_details": {"reasoning_tokens": 1},
        "total_tokens": 7,
    }
    assert encoded(["a", STOP])[1][-1]["response"]["usage"] is None


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (ComponentFailed("no"), "server_error"),
        (RateLimited("no"), "rate_limit_exceeded"),
        (InvalidInput("no"), "invalid_prompt"),
        (InvalidInput("no", code="context_length_exceeded"), "context_length_exceeded"),
    ],
)
def test_an_error_has_a_code_for_programs_and_a_message_for_people(error: AnabranchError, code: str) -> None:
    assert response_error(error) == {"code": code, "message": "no"}


@pytest.mark.parametrize("after", [8, 9, 100])
def test_a_reader_that_has_seen_more_than_was_kept_hears_the_end_as_what_comes_next(after: int) -> None:
    encoder, events = encoded(["a"], after=after)
    events += told(encoder.fail(RunLost("gone")))
    assert [(event["type"], event["sequence_number"]) for event in events] == [("response.failed", after + 1)]


def test_of_a_response_that_is_only_folded_nothing_is_written() -> None:
    encoder, events = encoded(["a"], after=ALL)
    assert events + told(encoder.fail(RunLost("gone"))) == []
    assert encoder.response()["status"] == "failed"
