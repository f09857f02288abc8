"""Which decoder reads an answer, and what each makes of bytes in any packets."""

from __future__ import annotations

import encodings
import itertools
import json
import pkgutil

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.upstream import decoding
from deployments.upstream.decoding import AnswerFormat, Body, Decoder, comes_whole, decoder, known_charset
from deployments.upstream.upstream_errors import StreamFailed
from graphs.errors import UpstreamFailed
from tests.fakes.http_server import anthropic_events, json_lines, openai_events

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


def chunks(chosen: Decoder, *packets: bytes) -> list[object]:
    found = [chunk for packet in packets for chunk in chosen.feed(packet)]
    return found if chosen.done else found + chosen.end()


def as_json(*packets: bytes, kind: str = SSE) -> list[object]:
    return chunks(decoder(AnswerFormat("json"), kind, "utf-8"), *packets)


def as_text(*packets: bytes, kind: str = "text/plain", charset: str = "utf-8") -> list[object]:
    return chunks(decoder(AnswerFormat("text"), kind, charset), *packets)


@pytest.mark.parametrize(
    ("kind", "whole"),
    [
        ("application/json", True), ("application/problem+json", True), ("text/plain", True), ("text/html", True),
        (SSE, False), (NDJSON, False), ("application/octet-stream", False), ("", False), ("image/png", False),
        ("application/stream+json", False),
    ],
)  # fmt: skip
def test_without_a_format_json_and_text_come_whole_and_the_rest_as_bytes(kind: str, whole: bool):
    assert comes_whole(None, kind) is whole
    assert not comes_whole("json", kind)
    assert not comes_whole("text", kind)


def test_raw_chunks_are_no_larger_than_asked():
    raw = decoder(AnswerFormat(chunk_size=4), "application/octet-stream", "utf-8")
    assert chunks(raw, b"abcdefghij", b"", b"kl") == [b"abcd", b"efgh", b"ij", b"kl"]


def test_openai_chunks_are_parsed_up_to_done():
    found = as_json(*openai_events(["안", "녕"]), b"data: never\n\n")
    deltas = [chunk["choices"][0]["delta"].get("content") for chunk in found]
    assert deltas == ["", "안", "녕", None]


def test_anthropic_events_are_parsed_to_the_last():
    found = as_json(*anthropic_events(["a", "b"]))
    assert [chunk["type"] for chunk in found][-1] == "message_stop"
    assert [chunk["delta"]["text"] for chunk in found if chunk["type"] == "content_block_delta"] == ["a", "b"]


@pytest.mark.parametrize("kind", [SSE, NDJSON])
def test_what_follows_done_is_not_read(kind: str):
    end = b"data: [DONE]\n\n" if kind == SSE else b"[DONE]\n"
    chosen = decoder(AnswerFormat("json"), kind, "utf-8")
    assert chosen.feed(end + b"data: {broken\n\n" + end) == []
    assert chosen.done


@pytest.mark.parametrize("heartbeat", [b"data:\n\n", b"data: \n\n", b": ping\n\n", b"event: ping\n\n"])
def test_an_event_that_says_nothing_is_no_chunk(heartbeat: bytes):
    assert as_json(heartbeat + b"data: 1\n\n") == [1]


def test_null_and_empty_values_are_chunks_like_any_other():
    assert as_json(b'data: null\n\ndata: ""\n\ndata: {}\n\n') == [None, "", {}]


@given(cuts=st.lists(st.integers(1, 400), max_size=12))
def test_lines_of_json_are_whole_wherever_they_are_cut(cuts: list[int]):
    values = [{"글": "안녕 🙂"}, [1, 2.5], "x", None, True]
    raw = b"\xef\xbb\xbf" + b"".join(json_lines(values))
    places = sorted({0, *(min(cut, len(raw)) for cut in cuts), len(raw)})
    packets = [raw[start:stop] for start, stop in itertools.pairwise(places)]
    assert as_json(*packets, kind=NDJSON) == values


def test_json_lines_may_end_in_crlf_be_blank_and_lack_the_last_line_end():
    assert as_json(b'{"a":1}\r\n\r\n\n{"b":2}', kind=NDJSON) == [{"a": 1}, {"b": 2}]


@pytest.mark.parametrize("kind", [SSE, NDJSON, "application/json", "text/plain"])
def test_what_is_not_json_is_an_error_that_shows_it(kind: str):
    lead = b"data: " if kind == SSE else b""
    with pytest.raises(StreamFailed, match="expected JSON, got '<html>oops'"):
        as_json(lead + b"<html>oops\n\n", kind=kind)


def test_a_long_line_that_is_not_json_is_shown_in_part():
    with pytest.raises(StreamFailed, match=r"'x{200}'… \(5000 characters\)"):
        as_json(b"x" * 5000 + b"\n", kind=NDJSON)


@pytest.mark.parametrize("text", [b"NaN", b"[Infinity]", b"[" * 100_000, b"1" * 5000])
def test_what_json_does_not_allow_or_no_parser_can_hold_is_not_json(text: bytes):
    with pytest.raises(StreamFailed, match="expected JSON"):
        as_json(text + b"\n", kind=NDJSON)


def test_chunks_before_a_broken_one_are_kept():
    with pytest.raises(StreamFailed) as failed:
        as_json(b"data: 1\n\ndata: 2\n\ndata: {\n\n")
    assert failed.value.before == [1, 2]


@pytest.mark.parametrize(
    "failure",
    [
        b'event: error\ndata: {"type": "error", "error": {"type": "overloaded_error", "message": "Overloaded"}}\n\n',
        b'data: {"type": "error", "error": {"message": "Overloaded"}}\n\n',
        b'data: {"error": {"message": "Overloaded", "code": 502}}\n\n',
        b'data: {"error": "Overloaded"}\n\n',
        b'data: {"object": "chat.completion.chunk", "choices": [], "error": {"message": "Overloaded"}}\n\n',
        b"event: error\ndata: Overloaded\n\n",
    ],
)
def test_an_error_inside_a_stream_fails_it(failure: bytes):
    with pytest.raises(StreamFailed, match="the stream ended with an error: Overloaded") as failed:
        as_json(b"data: 1\n\n" + failure)
    assert failed.value.before == [1]
    assert "Overloaded" in json.dumps(failed.value.error.details["upstream"])


@pytest.mark.parametrize("value", [{"error": None}, {"error": {"a": 1}, "row": 3}, {"error": ""}, ["error"]])
def test_an_error_field_beside_others_or_empty_is_data(value: object):
    assert as_json(json.dumps(value).encode() + b"\n", kind=NDJSON) == [value]


def test_an_ordinary_json_body_is_a_stream_of_one():
    assert as_json(b'{\n "a":', b" [1,\n2]}", kind="application/json") == [{"a": [1, 2]}]


def test_an_empty_body_is_an_empty_stream():
    for kind in (SSE, NDJSON, "application/json", ""):
        assert as_json(kind=kind) == []


@pytest.mark.parametrize("kind", ["", "text/plain", "application/octet-stream"])
def test_without_a_label_the_first_letter_tells_events_from_lines(kind: str):
    assert as_json(b" \n", b"d", b"ata: 1\n\ndata: [DONE]\n\n", kind=kind) == [1]
    assert as_json(b": hi\n\ndata: 1\n\n", kind=kind) == [1]
    assert as_json(b"\xef\xbb\xbf", b'{"a"', b":1}\n2\n", kind=kind) == [{"a": 1}, 2]


def test_text_from_events_is_their_data():
    assert as_text(b"data: Once\n\ndata:  upon\n\ndata:\n\ndata: [DONE]\n\n", kind=SSE) == ["Once", " upon"]


@pytest.mark.parametrize(
    "failure",
    [
        b"event: error\ndata: out of memory\n\n",
        b'data: {"error": {"message": "out of memory"}}\n\n',
        b'data:  {"type": "error", "error": "out of memory"}\n\n',
        b'data: {"object": "chat.completion.chunk", "error": {"message": "out of memory"}}\n\n',
    ],
)
def test_an_error_inside_a_stream_fails_it_as_text_too(failure: bytes):
    with pytest.raises(StreamFailed, match="ended with an error: out of memory") as failed:
        as_text(b"data: hi\n\n" + failure, kind=SSE)
    assert failed.value.before == ["hi"]


@pytest.mark.parametrize(
    "text", ['{"error": null}', '{"error": {}, "row": 3}', '{"error": ', 'an "error"', '["error"]']
)
def test_text_that_only_speaks_of_errors_is_text(text: str):
    assert as_text(f"data: {text}\n\n".encode(), kind=SSE) == [text]


def test_a_character_cut_across_packets_arrives_whole():
    raw = "안녕 🙂".encode()
    found = as_text(*(raw[at : at + 1] for at in range(len(raw))))
    assert found == ["안", "녕", " ", "🙂"]


def test_a_text_that_ends_inside_a_character_says_so():
    assert as_text(b"a", "안".encode()[:2]) == ["a", "\ufffd"]


def test_the_charset_of_the_answer_counts():
    assert as_text("한".encode("euc-kr"), charset="euc-kr") == ["한"]


def test_a_byte_order_mark_is_no_text():
    assert as_text(b"\xef", b"\xbb\xbf", b"hi \xef\xbb\xbf") == ["hi \ufeff"]
    assert as_text("hi".encode("utf-16"), charset="utf-16") == ["hi"]


@pytest.mark.parametrize(
    "name", ["no-such-charset", "base64", "idna", "rot13", "Punycode", "unicode_escape", "U7", "a\0b"]
)
def test_what_is_no_charset_is_read_as_utf8(name: str):
    assert known_charset(name) == "utf-8"


CHARSETS = sorted(module.name for module in pkgutil.iter_modules(encodings.__path__))


@pytest.mark.parametrize("body", [bytes(range(256)), b'"\xff..', b"\\ud800+2AA-\\x", b"\xed\xa0\x80\xf8", b"a\0"])
def test_whatever_charset_is_named_a_whole_answer_is_text(body: bytes):
    for name in CHARSETS:
        whole = Body()
        whole.add(body)
        assert whole.text(name).encode()


def test_text_whose_charset_gives_up_in_the_middle_fails_the_call():
    with pytest.raises(UpstreamFailed, match="expected text in utf-16, as its Content-Type says, got other bytes"):
        as_text(b"h\0i\0", charset="utf-16")
    with pytest.raises(UpstreamFailed, match="expected text in iso2022_kr"):
        as_text(b"\x1b(ad\xed~\xa0}", b'"\x80\xed\\', charset="iso2022_kr")


def test_a_whole_body_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoding, "MAX_WHOLE", 10)
    body = Body()
    body.add(b"x" * 10)
    with pytest.raises(UpstreamFailed, match="write stream_format: text to take it in pieces"):
        body.add(b"x")
    assert as_text(b"x" * 10, b"x", kind="application/json") == ["x" * 10, "x"]


def test_a_line_of_json_is_bounded(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(decoding, "MAX_EVENT", 10)
    with pytest.raises(UpstreamFailed, match="one line of the stream is larger"):
        as_json(b"[1,", b"2,3,4,5,6", kind=NDJSON)
