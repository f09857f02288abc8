"""The bytes of every kind of chunk."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from deployments.runs.events import Delta
from deployments.transports import sse
from graphs.plan import OutputKind
from graphs.stream import Note

TEXT = OutputKind("text", "sse-text")
JSON = OutputKind("text", "sse-json")


def wire(kind: OutputKind, *chunks: Any, name: str | None = None) -> bytes:
    delta = Delta(list(chunks), name)
    encoder = sse.encoder(kind, delta)
    assert encoder is not None
    return encoder.encode(delta)


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ("Once", b"data: Once\n\n"),
        (" upon", b"data:  upon\n\n"),
        ("  two", b"data:   two\n\n"),
        (" ", b"data:  \n\n"),
        ("a\nb", b"data: a\ndata: b\n\n"),
        ("a\rb", b"data: a\ndata: b\n\n"),
        ("a\r\nb", b"data: a\ndata: b\n\n"),
        ("a\n\nb", b"data: a\ndata: \ndata: b\n\n"),
        ("\n", b"data: \ndata: \n\n"),
        ("end\n", b"data: end\ndata: \n\n"),
        ("a\u2028b\u0085c\x0bd\x0ce", "data: a\u2028b\u0085c\x0bd\x0ce\n\n".encode()),
        ("안녕, 你好 👩‍👩‍👧", "data: 안녕, 你好 👩‍👩‍👧\n\n".encode()),
        ("data: x", b"data: data: x\n\n"),
        ("\ufeff", "data: \ufeff\n\n".encode()),
        ("half \ud83d", "data: half \ufffd\n\n".encode()),
        (True, b"data: true\n\n"),
        (5, b"data: 5\n\n"),
        ({"a": ["é\n"]}, 'data: {"a": ["é\\n"]}\n\n'.encode()),
        (b"bytes", b"data: bytes\n\n"),
        ("", b""),
        (None, b""),
        (b"", b""),
        (Note({"usage": 1}), b""),
    ],
)
def test_a_chunk_as_text_is_these_bytes(chunk: Any, expected: bytes) -> None:
    assert wire(TEXT, chunk) == expected


@pytest.mark.parametrize(
    ("chunk", "expected"),
    [
        ("a\nb\r", b'data: "a\\nb\\r"\n\n'),
        ("안녕", 'data: "안녕"\n\n'.encode()),
        ("\u2028", 'data: "\u2028"\n\n'.encode()),
        ("half \ud83d", b'data: "half \\ud83d"\n\n'),
        ({"delta": None}, b'data: {"delta": null}\n\n'),
        ([float("nan"), float("inf"), 1.5], b"data: [null, null, 1.5]\n\n"),
        (False, b"data: false\n\n"),
        (0, b"data: 0\n\n"),
        (b"\xff\x00", b'data: "/wA="\n\n'),
        ({"audio": b"\xff"}, b'data: {"audio": "/w=="}\n\n'),
        ("", b""),
        (None, b""),
        (Note({}), b""),
    ],
)
def test_a_chunk_as_json_is_these_bytes(chunk: Any, expected: bytes) -> None:
    assert wire(JSON, chunk) == expected


def test_chunks_that_are_ready_together_are_events_of_their_own_in_one_piece() -> None:
    assert wire(TEXT, "a", "", "b\nc") == b"data: a\n\ndata: b\ndata: c\n\n"
    assert wire(JSON, "a", None, 1) == b'data: "a"\n\ndata: 1\n\n'


def test_streams_side_by_side_carry_their_name() -> None:
    both = OutputKind(names=("answer", 'the "sum"'))
    assert wire(both, "hi", "\n", name="answer") == (
        b'data: {"name": "answer", "chunk": "hi"}\n\ndata: {"name": "answer", "chunk": "\\n"}\n\n'
    )
    assert wire(both, 1, name='the "sum"') == b'data: {"name": "the \\"sum\\"", "chunk": 1}\n\n'


def test_a_line_that_ends_between_two_chunks_ends_once() -> None:
    encoder = sse.TextEvents()
    assert encoder.encode(Delta(["a\r"])) == b"data: a\ndata: \n\n"
    assert encoder.encode(Delta(["\nb"])) == b"data: b\n\n"
    assert encoder.encode(Delta(["\r", "\n"])) == b"data: \ndata: \n\n"


def test_a_character_split_between_chunks_of_bytes_arrives_whole() -> None:
    encoder, word = sse.TextEvents(), "안".encode()
    assert encoder.encode(Delta([word[:1]])) == b""
    assert encoder.encode(Delta([word[1:]])) == "data: 안\n\n".encode()
    assert encoder.end() == b"event: end\ndata:\n\n"


def test_a_character_that_never_ends_is_shown_as_lost() -> None:
    encoder = sse.TextEvents()
    encoder.encode(Delta(["안".encode()[:2]]))
    assert encoder.end() == "data: \ufffd\n\nevent: end\ndata:\n\n".encode()


def test_the_error_event_is_one_line_of_json() -> None:
    assert sse.error_event(b'{"error": {}}') == b'event: error\ndata: {"error": {}}\n\n'


def test_bytes_that_nobody_gave_a_format_stay_bytes() -> None:
    assert wire(OutputKind(), b"\xff\n", b"", "text") == b"\xff\ntext"
    assert wire(OutputKind(), "text", {"a": 1}) == b'data: text\n\ndata: {"a": 1}\n\n'


def test_a_delta_without_a_chunk_says_nothing_of_the_format() -> None:
    assert sse.encoder(OutputKind(), Delta([Note({}), "", None])) is None


@given(st.lists(st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\r")), max_size=8))
def test_a_conforming_reader_gets_every_text_back(chunks: list[str]) -> None:
    encoder = sse.TextEvents()
    body = b"".join(encoder.encode(Delta([chunk])) for chunk in chunks) + encoder.end()
    events = read(body)
    assert events == [("message", chunk) for chunk in chunks if chunk] + [("end", "")]


@given(st.lists(st.recursive(st.text() | st.integers() | st.booleans(), st.lists), max_size=8))
def test_a_conforming_reader_gets_every_json_chunk_back(chunks: list[Any]) -> None:
    encoder = sse.JsonEvents()
    body = b"".join(encoder.encode(Delta([chunk])) for chunk in chunks) + encoder.end()
    assert [json.loads(data) for event, data in read(body) if event == "message"] == [c for c in chunks if c != ""]


def read(body: bytes) -> list[tuple[str, str]]:
    """Events as the standard reads them (WHATWG HTML, 9.2.6)."""
    events: list[tuple[str, str]] = []
    event, data = "", ""
    for line in re.split("\r\n|\r|\n", body.decode()):
        field, _, value = line.partition(":")
        value = value.removeprefix(" ")
        if not line:
            if data:
                events.append((event or "message", data[:-1]))
            event, data = "", ""
        elif field == "data":
            data += value + "\n"
        elif field == "event":
            event = value
    return events
