"""The wire between two replicas: chunks and signals in, length-prefixed frames out, and back.

A frame is a header (length of the body, kind, stream) and a body. Text and bytes travel as they are, everything else
as JSON; nothing is ever unpickled from the wire.

    HELLO    token               the caller's worker says it was sent           WELCOME  the listener says it was right
    OPEN                         a stream's first chunk, or its end, follows
    TEXT … NOTE                  one chunk each
    END      count of chunks     the stream is complete                         ERR      the error it ended with, as data
    CREDIT   bytes               the reader has room for so much more           RESET    the reader has left
"""

from __future__ import annotations

import base64
import json
import struct
from collections.abc import Iterator, Mapping
from typing import Any

from graphs.errors import AnabranchError, ComponentFailed, TooLarge, from_data
from graphs.stream import Chunk, Note

HELLO, WELCOME, OPEN, TEXT, BYTES, JSON, JSON_WITH_BYTES, NOTE, END, ERR, CREDIT, RESET = range(12)

MAX_FRAME = 64 * 1024 * 1024
"""The largest body: as much as a joined stream may hold."""

Frame = tuple[int, int, bytes]
"""Kind, stream, body."""

_HEADER = struct.Struct("!IBI")
_NUMBER = struct.Struct("!Q")
_BASE64 = "\0base64"
"""The key of a mapping that stands for bytes inside a JSON value."""


class BadFrame(Exception):
    """What came is no frame of ours: the peer is broken, or is somebody else."""


class Parser:
    """Bytes as they arrive in, whole frames out."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        """The largest body; a stranger is allowed less than a friend."""
        self._rest = bytearray()
        self._needed = 0
        """How long `_rest` must be before a look at it is worth the copy."""

    def feed(self, data: bytes) -> Iterator[Frame]:
        """Yield the frames that `data` completes."""
        if self._rest:
            self._rest += data
            if len(self._rest) < self._needed:
                return
            data = bytes(self._rest)
            self._rest.clear()
        at, end, header = 0, len(data), _HEADER.size
        unpack = _HEADER.unpack_from
        while end - at >= header:
            length, kind, stream = unpack(data, at)
            if length > self.limit or kind > RESET:
                raise BadFrame(
                    f"a frame of kind {kind} and {length} bytes; expected kinds to {RESET}, {self.limit} bytes"
                )
            start = at + header
            stop = start + length
            if stop > end:
                self._needed = stop - at
                break
            yield kind, stream, data[start:stop]
            at = stop
        else:
            self._needed = header
        if at < end:
            self._rest += data[at:]


def header(kind: int, stream: int, length: int) -> bytes:
    """Return the header of a frame."""
    return _HEADER.pack(length, kind, stream)


def encode(chunk: Chunk) -> tuple[int, bytes]:
    """Return the kind and the body of a chunk."""
    if type(chunk) is str:
        kind, body = TEXT, chunk.encode("utf-8", "surrogatepass")
    elif isinstance(chunk, bytes | bytearray | memoryview):
        kind, body = BYTES, bytes(chunk)
    elif type(chunk) is Note:
        kind, body = NOTE, _json(chunk.data, _with_bytes)
    else:
        kind, body = _encode_value(chunk)
    if len(body) > MAX_FRAME:
        raise TooLarge(f"a chunk of {len(body)} bytes is larger than {MAX_FRAME >> 20} MiB; send it in smaller chunks")
    return kind, body


def decode(kind: int, body: bytes) -> Chunk:
    """Return the chunk of a frame between TEXT and NOTE."""
    if kind == TEXT:
        return body.decode("utf-8", "surrogatepass")
    if kind == BYTES:
        return body
    if kind == JSON:
        return json.loads(body.decode("utf-8", "surrogatepass"))
    value = json.loads(body.decode("utf-8", "surrogatepass"), object_hook=_bytes_again)
    return Note(value) if kind == NOTE else value


def encode_number(number: int) -> bytes:
    """Return the body of END and CREDIT."""
    return _NUMBER.pack(number)


def decode_number(body: bytes) -> int:
    """Return the number in the body of END and CREDIT."""
    if len(body) != _NUMBER.size:
        raise BadFrame(f"a number of {len(body)} bytes; expected {_NUMBER.size}")
    return _NUMBER.unpack(body)[0]


def encode_error(error: AnabranchError) -> bytes:
    """Return the body of ERR; details that JSON can't say are left out."""
    data = error.to_data()
    try:
        return _json(data, _with_bytes)
    except ComponentFailed:
        return _json({"type": data["type"], "message": data["message"]}, _with_bytes)


def decode_error(body: bytes) -> AnabranchError:
    """Return the error in the body of ERR."""
    data: Any = json.loads(body.decode("utf-8", "surrogatepass"), object_hook=_bytes_again)
    if not isinstance(data, dict):
        raise BadFrame("an error that is no mapping")
    return from_data(data)


def _encode_value(value: Chunk) -> tuple[int, bytes]:
    try:
        return JSON, _TO_JSON(value).encode("utf-8", "surrogatepass")
    except (TypeError, ValueError, RecursionError):
        return JSON_WITH_BYTES, _json(value, _with_bytes)


def _json(value: Any, default: Any) -> bytes:
    try:
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=default)
    except (TypeError, ValueError, RecursionError) as error:
        raise ComponentFailed(f"expected chunks of text, bytes or JSON values, got one with {error}") from None
    return text.encode("utf-8", "surrogatepass")


def _with_bytes(value: Any) -> Any:
    """Return what stands in JSON for a value that JSON doesn't know."""
    match value:
        case bytes() | bytearray() | memoryview():
            return {_BASE64: base64.b64encode(value).decode()}
        case Mapping():
            return dict(value)
        case _:
            raise TypeError(f"a {type(value).__name__} in it")


def _bytes_again(value: dict[str, Any]) -> Any:
    return base64.b64decode(value[_BASE64]) if len(value) == 1 and _BASE64 in value else value


_TO_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
