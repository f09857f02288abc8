"""Encode the Deltas of a run as server-sent events.

One space after the colon; lines end in LF; a line of a chunk ends at CR, LF and CRLF, and nowhere else.
"""

from __future__ import annotations

import codecs
import re

from deployments.asgi.json_values import base64_text, json_text, utf8
from deployments.runs.events import Delta
from graphs.plan import OutputKind
from graphs.stream import Chunk, Note, is_empty

HEADERS = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
RAW_HEADERS = ((b"content-type", b"application/octet-stream"), *HEADERS[1:])
END = b"event: end\ndata:\n\n"
"""Only after success. There is no space after this colon: readers that go by lines look for `data: `, and would take it for a
chunk."""
HEARTBEAT = b":\n\n"

_NEWLINE = re.compile("\r\n|\r|\n")


def encoder(kind: OutputKind, first: Delta) -> Encoder | None:
    """Return the encoder of a workflow's stream, by what it asks for, or where it doesn't say, by its first chunk.

    None while there is no chunk to tell by.
    """
    if kind.format == "sse-json" or first.name is not None:
        return JsonEvents()
    if kind.format is not None:
        return TextEvents()
    for chunk in first.chunks:
        if not is_empty(chunk) and not isinstance(chunk, Note):
            return RawBytes() if isinstance(chunk, bytes) else TextEvents()
    return None


def error_event(error: bytes, number: int | None = None) -> bytes:
    """Return the last event of a stream that failed, of the error as JSON."""
    return marked(b"event: error\ndata: %b\n\n" % error, number)


def marked(event: bytes, number: int | None) -> bytes:
    """Return one event led by its number; as it is without one."""
    return event if number is None else b"id: %d\n%b" % (number, event)


def numbered(encoder: Encoder, delta: Delta, first: int) -> bytes:
    """Return the events of a Delta whose chunks are numbered from `first` on."""
    if len(delta.chunks) == 1:
        event = encoder.encode(delta)
        return b"id: %d\n%b" % (first, event) if event else b""
    return _each_numbered(encoder, delta, first)


def _each_numbered(encoder: Encoder, delta: Delta, first: int) -> bytes:
    # Apart from the common case: a generator that holds a function's values makes every call of it dearer.
    events = ((first + index, encoder.encode(Delta([chunk], delta.name))) for index, chunk in enumerate(delta.chunks))
    return b"".join(marked(event, number) for number, event in events if event)


class TextEvents:
    """Every chunk as text: bytes decoded as they come, other values as JSON."""

    def __init__(self) -> None:
        self._decoder: codecs.IncrementalDecoder | None = None
        """Made for the first bytes; most streams are text."""
        self._after_cr = False

    def encode(self, delta: Delta) -> bytes:
        chunks = delta.chunks
        if len(chunks) == 1 and type(text := chunks[0]) is str and text and "\n" not in text and "\r" not in text:
            self._after_cr = False
            return b"data: %b\n\n" % utf8(text)
        texts: list[str] = []
        for chunk in chunks:
            text = chunk if isinstance(chunk, str) else self._text(chunk)
            if "\n" in text or "\r" in text:
                text = self._lines(text)
            elif text:
                self._after_cr = False
            if text:
                texts.append(text)
        return utf8(_events(texts)) if texts else b""

    def end(self, number: int | None = None) -> bytes:
        """Return the end of the stream; a character that bytes left incomplete becomes U+FFFD."""
        rest = "" if self._decoder is None else self._decoder.decode(b"", final=True)
        end = marked(END, number)
        return utf8(_events([rest])) + end if rest else end

    def _lines(self, text: str) -> str:
        """Return text with line ends as the lines of one event."""
        # CR and LF in two chunks are one end of a line, as they would be in one.
        if self._after_cr and text[0] == "\n":
            text = text[1:]
        self._after_cr = text[-1:] == "\r"
        return _NEWLINE.sub("\ndata: ", text)

    def _text(self, chunk: Chunk) -> str:
        if chunk is None or isinstance(chunk, Note):
            return ""
        if not isinstance(chunk, bytes):
            return json_text(chunk)
        if self._decoder is None:
            self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        return self._decoder.decode(chunk)


class JsonEvents:
    """Every chunk as JSON on one line; with the stream's name where several run side by side.

    Bytes are base64, always: whether a piece of them happens to be UTF-8 says nothing to a reader.
    """

    def encode(self, delta: Delta) -> bytes:
        texts = [
            json_text(base64_text(chunk) if isinstance(chunk, bytes) else chunk)
            for chunk in delta.chunks
            if not is_empty(chunk) and not isinstance(chunk, Note)
        ]
        if delta.name is not None:
            head = f'{{"name": {json_text(delta.name)}, "chunk": '
            texts = [f"{head}{text}}}" for text in texts]
        return _events(texts).encode("utf-8", "backslashreplace") if texts else b""

    def end(self, number: int | None = None) -> bytes:
        return marked(END, number)


class RawBytes:
    """Bytes as they come: a stream without a format."""

    def encode(self, delta: Delta) -> bytes:
        return b"".join(_raw(chunk) for chunk in delta.chunks if chunk is not None and not isinstance(chunk, Note))

    def end(self, number: int | None = None) -> bytes:  # noqa: ARG002  (bytes have no room for it)
        """Return nothing: the end of the body is the end."""
        return b""


Encoder = TextEvents | JsonEvents | RawBytes
"""Writes a stream's Deltas: `encode` returns nothing where all chunks are empty, `end` the end of a stream that succeeded."""


def _events(texts: list[str]) -> str:
    """Return one event of each text, whose lines are led by `data: ` already but for the first."""
    return "data: " + "\n\ndata: ".join(texts) + "\n\n"


def _raw(chunk: Chunk) -> bytes:
    if isinstance(chunk, bytes):
        return chunk
    return utf8(chunk if isinstance(chunk, str) else json_text(chunk))
