"""Server-Sent Events: chunks in, the bytes of the contract's wire format out. Pure."""

from __future__ import annotations

import base64
import codecs
import json
import re
from collections.abc import Callable
from typing import Literal

from graphs.errors import AnabranchError, ErrorData
from graphs.stream import Batch, Note, Value, is_empty

HEADERS = ((b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache"), (b"x-accel-buffering", b"no"))
HEARTBEAT = b":\n\n"
"""A comment: an empty `data:` would reach clients as an event."""
END = b"event: end\ndata:\n\n"

LINE_ENDS = re.compile(r"\r\n|\n|\r")
"""What the standard ends a line with, and nothing else: U+2028 stays where it is."""

Encode = Callable[[Batch], bytes]


def encoder(format: Literal["sse-text", "sse-json"] | None, name: str | None = None) -> Encode:
    """Return the encoder of one stream's batches; with a name, chunks are tagged with it and always JSON."""
    if name is not None:
        tag = f'data: {{"name": {to_json(name)}, "chunk": '
        return lambda batch: "".join([f"{tag}{to_json(c)}}}\n\n" for c in batch if _says(c)]).encode("utf-8", "replace")
    if format == "sse-json":
        return lambda batch: "".join([f"data: {to_json(c)}\n\n" for c in batch if _says(c)]).encode("utf-8", "replace")
    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def encode(batch: Batch) -> bytes:
        events: list[str] = []
        for chunk in batch:
            if isinstance(chunk, str):
                text = chunk
            elif isinstance(chunk, bytes):
                text = decoder.decode(chunk)
            elif isinstance(chunk, Note):
                continue
            else:
                text = "" if chunk is None else to_json(chunk)
            if text:
                events.append(f"data: {text}\n\n" if "\n" not in text and "\r" not in text else _lines(text))
        return "".join(events).encode("utf-8", "replace")

    return encode


def error_event(error: ErrorData) -> bytes:
    """Return the event that tells a failure after the first chunk."""
    return f"event: error\ndata: {to_json({'error': error})}\n\n".encode("utf-8", "replace")


def to_json(value: Value) -> str:
    """Return JSON on one line: non-ASCII kept, bytes as base64; no number that JSON doesn't know."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_plain)
    except ValueError:
        raise AnabranchError("the output holds a number that JSON can't write (NaN or infinity)") from None
    except TypeError as error:
        raise AnabranchError(f"the output can't be written as JSON: {error}") from None


def _plain(value: object) -> object:
    if isinstance(value, bytes):
        try:
            return value.decode()
        except UnicodeDecodeError:
            return base64.b64encode(value).decode()
    raise TypeError(f"{type(value).__name__} has no JSON form")


def _says(chunk: Value) -> bool:
    return not isinstance(chunk, Note) and not is_empty(chunk)


def _lines(text: str) -> str:
    """A line end inside a chunk is one more data line: a conforming reader gives it back."""
    return "".join([f"data: {line}\n" for line in LINE_ENDS.split(text)]) + "\n"
