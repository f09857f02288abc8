"""The bytes of an answer, in any packets, become chunks: which decoder depends on `stream_format` and Content-Type."""

from __future__ import annotations

import codecs
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from deployments.upstream.sse import BOM, MAX_EVENT, EventParser, ServerEvent
from deployments.upstream.upstream_errors import StreamFailed, is_failure, json_or_text, parse_json, stream_failure
from graphs.errors import UpstreamFailed
from graphs.stream import MAX_WHOLE, Batch

StreamFormat = Literal["json", "text"]

EVENT_STREAM = "text/event-stream"
JSON_LINES = frozenset(
    {
        "application/x-ndjson", "application/ndjson", "application/jsonl", "application/x-jsonl",
        "application/jsonlines", "application/x-jsonlines", "application/stream+json",
    }
)  # fmt: skip

_UNFIT = frozenset({"idna", "punycode", "undefined", "unicode-escape", "raw-unicode-escape", "utf-7"})
"""Python codecs that are no charsets: they always raise, or decode half characters."""


@dataclass(frozen=True, slots=True)
class AnswerFormat:
    """How an action wants an answer to be read."""

    stream_format: StreamFormat | None = None
    chunk_size: int = 65536
    complete: bool | None = None
    """Whether a stream must end with an end mark; None: where it speaks a protocol that has one."""


def is_json(content_type: str) -> bool:
    """Return whether a Content-Type means one JSON document: application/json, or any `+json` that isn't one value a line."""
    if content_type in JSON_LINES:
        return False
    return content_type in ("application/json", "text/json") or content_type.endswith("+json")


def comes_whole(stream_format: StreamFormat | None, content_type: str) -> bool:
    """Return whether an answer is one value, not a stream: without a `stream_format`, JSON and plain text are."""
    is_text = content_type.startswith("text/") and content_type != EVENT_STREAM
    return stream_format is None and (is_json(content_type) or is_text)


def decoder(format: AnswerFormat, content_type: str, charset: str) -> Decoder:
    """Choose the decoder for an answer that streams."""
    match format.stream_format:
        case None:
            return RawChunks(format.chunk_size)
        case "text":
            return Events(add_text) if content_type == EVENT_STREAM else PlainText(charset)
        case "json":
            if is_json(content_type):
                return JsonDocument(charset)
            if content_type == EVENT_STREAM:
                return Events(add_json)
            return JsonLines() if content_type in JSON_LINES else UnlabelledJson()


class RawChunks:
    """The bytes as they come, in chunks of at most `chunk_size`."""

    done = False

    def __init__(self, chunk_size: int) -> None:
        self._size = chunk_size

    def feed(self, packet: bytes) -> Batch:
        if len(packet) <= self._size:
            return [packet] if packet else []
        return [packet[at : at + self._size] for at in range(0, len(packet), self._size)]

    def end(self) -> Batch:
        return []


class PlainText:
    """Decoded text. A character that is split across packets arrives whole, with the second one."""

    done = False

    def __init__(self, charset: str) -> None:
        self._charset = known_charset(charset)
        self._decoder = codecs.getincrementaldecoder(self._charset)("replace")
        self._at_start = True

    def feed(self, packet: bytes, final: bool = False) -> Batch:
        try:
            text = self._decoder.decode(packet, final)
        except UnicodeError:
            # The codecs of UTF-16 and ISO-2022 raise in spite of "replace": without a byte order mark, at endless escapes.
            raise UpstreamFailed(
                f"expected text in {self._charset}, as its Content-Type says, got other bytes"
            ) from None
        if self._at_start and text:
            self._at_start = False
            text = text.removeprefix("\ufeff")
        return [text] if text else []

    def end(self) -> Batch:
        return self.feed(b"", final=True)


class Events:
    """The data of each server-sent event; `[DONE]` ends them, an error event raises."""

    def __init__(self, add: Callable[[Batch, str], None]) -> None:
        self.done = False
        self._events = EventParser()
        self._add = add

    def feed(self, packet: bytes) -> Batch:
        return self._chunks(self._events.feed(packet))

    def end(self) -> Batch:
        return self._chunks(self._events.end())

    def _chunks(self, events: list[ServerEvent]) -> Batch:
        chunks: Batch = []
        for data, name, _ in events:
            if self.done or data == "[DONE]":
                self.done = True
                break
            if name == "error":
                raise StreamFailed(chunks, stream_failure(json_or_text(data)))
            self._add(chunks, data)
        return chunks


class JsonLines:
    """One JSON value a line."""

    def __init__(self) -> None:
        self.done = False
        self._pieces: list[bytes] = []
        self._held = 0
        self._at_start = True

    def feed(self, packet: bytes) -> Batch:
        *lines, rest = packet.split(b"\n")
        if lines:
            lines[0] = b"".join((*self._pieces, lines[0]))
            self._pieces.clear()
            self._held = 0
            if self._at_start:
                self._at_start = False
                lines[0] = lines[0].removeprefix(BOM)
        self._pieces.append(rest)
        self._held += len(rest)
        if self._held > MAX_EVENT:
            raise UpstreamFailed(f"one line of the stream is larger than {MAX_EVENT >> 20} MiB")
        chunks: Batch = []
        for line in lines:
            text = line.strip()
            if self.done or text in (b"[DONE]", b"data: [DONE]"):
                self.done = True
                break
            add_json(chunks, text.decode("utf-8", "replace"))
        return chunks

    def end(self) -> Batch:
        return self.feed(b"\n")


class JsonDocument:
    """An ordinary JSON body where the action expects a stream: a stream of that one value."""

    done = False

    def __init__(self, charset: str) -> None:
        self._body = Body()
        self._charset = charset

    def feed(self, packet: bytes) -> Batch:
        self._body.add(packet)
        return []

    def end(self) -> Batch:
        chunks: Batch = []
        add_json(chunks, self._body.text(self._charset))
        return chunks


class UnlabelledJson:
    """A stream whose Content-Type names no format: the first character decides between events and lines of JSON.

    Every line of an event stream begins with `data`, `event`, `id`, `retry` or a colon, and no JSON value does.
    """

    def __init__(self) -> None:
        self._inner: Events | JsonLines | None = None

    @property
    def done(self) -> bool:
        return self._inner is not None and self._inner.done

    def feed(self, packet: bytes) -> Batch:
        if self._inner is None:
            packet = packet.lstrip(BOM + b" \t\r\n")
            if not packet:
                return []
            self._inner = Events(add_json) if packet[:1] in b":deir" else JsonLines()
        return self._inner.feed(packet)

    def end(self) -> Batch:
        return [] if self._inner is None else self._inner.end()


Decoder = RawChunks | PlainText | Events | JsonLines | JsonDocument | UnlabelledJson
"""Turns packets into chunks. `done` is true once the stream has sent `[DONE]`."""


class Body:
    """Collects a whole body, up to MAX_WHOLE."""

    def __init__(self) -> None:
        self._packets: list[bytes] = []
        self._size = 0

    def add(self, packet: bytes) -> None:
        self._size += len(packet)
        if self._size > MAX_WHOLE:
            raise UpstreamFailed(
                f"the answer is larger than {MAX_WHOLE >> 20} MiB; write stream_format: text to take it in pieces"
            )
        self._packets.append(packet)

    def text(self, charset: str) -> str:
        return b"".join(self._packets).decode(known_charset(charset), "replace").removeprefix("\ufeff")


def known_charset(name: str) -> str:
    """Return the charset that a Content-Type names, or UTF-8 if Python has no working codec for it."""
    try:
        b" ".decode(name, "replace")
        codecs.getincrementaldecoder(name)
        return "utf-8" if codecs.lookup(name).name in _UNFIT else name
    except (LookupError, ValueError):
        return "utf-8"


def add_text(chunks: Batch, data: str) -> None:
    """Add the text of an event; raise StreamFailed if it is an error of the upstream, as JSON."""
    # Text that only looks like such an error is text.
    if '"error"' in data and data.lstrip().startswith("{") and is_failure(value := json_or_text(data)):
        raise StreamFailed(chunks, stream_failure(value))
    if data:
        chunks.append(data)


def add_json(chunks: Batch, data: str) -> None:
    """Parse one value of a stream and add it; raise StreamFailed if it is no JSON, or an error of the upstream."""
    if not data or data.isspace():
        return
    try:
        value = parse_json(data)
    except UpstreamFailed as error:
        raise StreamFailed(chunks, error) from None
    if is_failure(value):
        raise StreamFailed(chunks, stream_failure(value))
    chunks.append(value)
