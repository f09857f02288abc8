"""The pieces of an answer as Anthropic's events, and as one message."""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.conversations.pieces import CallPiece, Ended, Piece, Refusal, Thought
from deployments.transports.anthropic.decode import Shown
from deployments.transports.anthropic.encoder import PING, MessageEncoder
from graphs.errors import ComponentFailed, RateLimited
from tests.transports.anthropic.messages_api import events, fold

RUN = "run_1"
END = Ended("stop")


def streamed(*batches: Sequence[Piece], shown: Shown | None = None, stops: Sequence[str] = ()) -> str:
    encoder = MessageEncoder(RUN, "tiny", shown, stops)
    return (b"".join(encoder.encode(0, batch) for batch in batches) + encoder.end()).decode()


def whole(*batches: Sequence[Piece], shown: Shown | None = None, stops: Sequence[str] = ()) -> Any:
    encoder = MessageEncoder(RUN, "tiny", shown, stops)
    for batch in batches:
        encoder.add(0, batch)
    return json.loads(json.dumps(encoder.whole()))


def content(*pieces: Piece, shown: Shown | None = None) -> Any:
    return whole([*pieces, END], shown=shown)["content"]


def test_a_stream_of_text_to_the_byte() -> None:
    usage = {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}
    said = streamed(["한"], ['"s"\n'], [Ended("length", usage)])
    message = (
        '{"id": "msg_1", "type": "message", "role": "assistant", "model": "tiny", "content": [], "stop_reason": null, '
        '"stop_sequence": null, "stop_details": null, "usage": {"input_tokens": 0, "output_tokens": 0}}'
    )
    delta = 'event: content_block_delta\ndata: {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": '
    assert said == (
        f'event: message_start\ndata: {{"type": "message_start", "message": {message}}}\n\n'
        'event: ping\ndata: {"type": "ping"}\n\n'
        "event: content_block_start\n"
        'data: {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}}\n\n'
        f'{delta}"한"}}}}\n\n'
        f'{delta}"\\"s\\"\\n"}}}}\n\n'
        'event: content_block_stop\ndata: {"type": "content_block_stop", "index": 0}\n\n'
        "event: message_delta\n"
        'data: {"type": "message_delta", "delta": {"stop_reason": "max_tokens", "stop_sequence": null, "stop_details": null}, '
        '"usage": {"output_tokens": 2, "input_tokens": 3}}\n\n'
        'event: message_stop\ndata: {"type": "message_stop"}\n\n'
    )


def test_reasoning_is_a_block_of_its_own_with_an_empty_signature() -> None:
    pieces = [Thought("hm"), Thought("m"), "So", END]
    said = events(streamed(pieces, shown="text"))
    kinds = [event["delta"]["type"] for event in said if event["type"] == "content_block_delta"]
    assert kinds == ["thinking_delta", "thinking_delta", "signature_delta", "text_delta"]
    assert fold(said)["content"] == [
        {"type": "thinking", "thinking": "hmm", "signature": ""},
        {"type": "text", "text": "So"},
    ]


def test_reasoning_that_nobody_asked_for_leaves_no_trace() -> None:
    assert fold(events(streamed(["A", Thought("hm"), "B", END])))["content"] == [{"type": "text", "text": "AB"}]


def test_reasoning_that_shall_be_omitted_leaves_an_empty_block() -> None:
    pieces = [Thought("hm"), "So", END]
    assert "hm" not in streamed(pieces, shown="place")
    assert content(*pieces[:-1], shown="place")[0] == {"type": "thinking", "thinking": "", "signature": ""}


def test_the_arguments_of_a_call_are_sent_as_they_come() -> None:
    pieces = [CallPiece(0, "call_a", "rain", ""), CallPiece(0, arguments='{"at": '), CallPiece(0, arguments='"sea"}')]
    said = events(streamed(*([piece] for piece in pieces), [Ended("tool_calls")]))
    assert said[2] == {
        "type": "content_block_start",
        "index": 0,
        "content_block": {"type": "tool_use", "id": "call_a", "name": "rain", "input": {}},
    }
    deltas = [event["delta"] for event in said if event["type"] == "content_block_delta"]
    assert deltas == [{"type": "input_json_delta", "partial_json": text} for text in ('{"at": ', '"sea"}')]
    assert fold(said)["stop_reason"] == "tool_use"


def test_calls_whose_pieces_come_mixed_are_blocks_one_after_another() -> None:
    mixed = [
        CallPiece(0, "a", "f", '{"x":'), CallPiece(1, "b", "g", '{"y":'), CallPiece(0, arguments="1}"),
        CallPiece(1, arguments="2}"), Ended("tool_calls"),
    ]  # fmt: skip
    said = fold(events(streamed(*([piece] for piece in mixed))))
    assert [(block["name"], block["input"]) for block in said["content"]] == [("f", {"x": 1}), ("g", {"y": 2})]
    assert said == whole(mixed)


@pytest.mark.parametrize(
    ("arguments", "input"),
    [
        ("", {}),
        ("  ", {}),
        ("[1, 2]", {"arguments": [1, 2]}),
        ('"sea"', {"arguments": "sea"}),
        ("sea", {"arguments": "sea"}),
    ],
)
def test_arguments_that_are_no_object_are_made_one(arguments: str, input: Any) -> None:
    batches = [[CallPiece(0, "a", "f")], *([CallPiece(0, arguments=each)] for each in arguments), [Ended("tool_calls")]]
    assert whole(*batches)["content"][0]["input"] == input
    assert fold(events(streamed(*batches))) == whole(*batches)


def test_arguments_that_the_limit_of_tokens_cut_are_what_there_is() -> None:
    batches = [[CallPiece(0, "a", "f", '{"x": 1, "y": "se')], [Ended("length")]]
    assert whole(*batches)["content"][0]["input"] == {"x": 1}
    assert fold(events(streamed(*batches))) == whole(*batches)


@pytest.mark.parametrize("arguments", ['{"x": }', '{"x": 1', '{"x": NaN}', "{'x': 1}"])
def test_arguments_that_only_begin_as_an_object_fail_the_answer_streamed_or_not(arguments: str) -> None:
    pieces = [CallPiece(0, "a", "f", arguments), Ended("tool_calls")]
    with pytest.raises(ComponentFailed, match="called the tool 'f' with arguments that aren't JSON"):
        whole(pieces)
    with pytest.raises(ComponentFailed, match="called the tool 'f'"):
        streamed(pieces)


@pytest.mark.parametrize(
    ("ended", "reason"),
    [
        (Ended("stop"), "end_turn"),
        (Ended("length"), "max_tokens"),
        (Ended("tool_calls"), "tool_use"),
        (Ended("content_filter"), "refusal"),
        (Ended("a word of somebody's"), "end_turn"),
        (Ended("stop", stop_sequence="###"), "stop_sequence"),
        (Ended("stop", stop_sequence="the document's own"), "end_turn"),
        (Ended("length", stop_sequence="###"), "max_tokens"),
    ],
)
def test_why_an_answer_ended(ended: Ended, reason: str) -> None:
    said = whole(["x", ended], stops=["###"])
    assert said["stop_reason"] == reason
    assert said["stop_sequence"] == ("###" if reason == "stop_sequence" else None)


def test_a_refusal_is_text_and_the_explanation_of_the_end() -> None:
    said = whole([Refusal("I "), Refusal("won't."), END])
    assert said["content"] == [{"type": "text", "text": "I won't."}]
    assert said["stop_reason"] == "refusal"
    assert said["stop_details"] == {"type": "refusal", "category": None, "explanation": "I won't."}


def test_what_was_read_from_a_cache_is_counted_apart() -> None:
    usage = {
        "prompt_tokens": 10,
        "completion_tokens": 4,
        "prompt_tokens_details": {"cached_tokens": 7},
        "completion_tokens_details": {"reasoning_tokens": 3},
    }
    assert whole(["x", Ended("stop", usage)])["usage"] == {
        "input_tokens": 3,
        "cache_read_input_tokens": 7,
        "output_tokens": 4,
        "output_tokens_details": {"thinking_tokens": 3},
    }


def test_counts_that_nobody_noted_are_zero() -> None:
    assert whole(["x", END])["usage"] == {"input_tokens": 0, "output_tokens": 0}


def test_the_last_event_of_a_stream_that_failed_is_the_error() -> None:
    assert MessageEncoder(RUN, "tiny", None).error(RateLimited("too many")).decode() == (
        "event: error\n"
        'data: {"type": "error", "error": {"type": "rate_limit_error", "message": "too many"}, "request_id": "run_1"}\n\n'
    )


def test_silence_is_broken_by_a_ping() -> None:
    assert MessageEncoder.heartbeat == PING == b'event: ping\ndata: {"type": "ping"}\n\n'


VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@st.composite
def call_pieces(draw: st.DrawFn, index: int) -> list[Piece]:
    text = json.dumps(draw(VALUES), ensure_ascii=draw(st.booleans()))
    cuts = sorted(draw(st.lists(st.integers(0, len(text)), max_size=4)))
    texts = [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]
    return [CallPiece(index, f"call_{index}", "f"), *(CallPiece(index, arguments=each) for each in texts)]


@st.composite
def answers(draw: st.DrawFn) -> list[list[Piece]]:
    """Batches of the pieces of one answer."""
    pieces: list[Piece] = []
    word = st.text(min_size=1, max_size=5)
    for index in range(draw(st.integers(0, 5))):
        kinds = word | st.builds(Thought, word) | st.builds(Refusal, word)
        pieces += draw(st.lists(kinds, max_size=4) | call_pieces(index))
    usage = draw(
        st.none() | st.fixed_dictionaries({"prompt_tokens": st.integers(0), "completion_tokens": st.integers(0)})
    )
    finish = draw(st.sampled_from(["stop", "length", "tool_calls", "content_filter"]))
    pieces.append(Ended(finish, usage, draw(st.none() | st.just("###"))))
    cuts = sorted(draw(st.lists(st.integers(0, len(pieces)), max_size=5)))
    batches = [pieces[start:end] for start, end in zip([0, *cuts], [*cuts, len(pieces)], strict=True)]
    return [batch for batch in batches if batch]


@given(answers(), st.sampled_from(["text", "place", None]))
def test_what_a_client_puts_together_is_the_whole_message(batches: list[list[Piece]], shown: Shown | None) -> None:
    said = events(streamed(*batches, shown=shown, stops=["###"]))
    assert fold(said) == whole(*batches, shown=shown, stops=["###"])


@given(answers())
def test_events_come_in_the_order_that_clients_expect(batches: list[list[Piece]]) -> None:
    kinds = [event["type"] for event in events(streamed(*batches, shown="text"))]
    assert kinds[:2] == ["message_start", "ping"]
    assert kinds[-2:] == ["message_delta", "message_stop"]
    open = False
    for kind in kinds[2:-2]:
        assert kind.startswith("content_block_")
        assert open == (kind != "content_block_start")
        open = kind != "content_block_stop"
    assert not open
