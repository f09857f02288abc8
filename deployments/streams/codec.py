"""Chunks and errors as bytes, and back; and how a stream between two parties ends early.

Text and bytes stay as they are, everything else is JSON; nothing is unpickled.
"""

from __future__ import annotations

import base64
import json
import sys
from collections.abc import Callable, Mapping
from contextlib import suppress
from typing import Any, cast

from graphs.errors import AnabranchError, ComponentFailed, TooLarge, WireError, from_wire
from graphs.stream import Chunk, Note

TEXT, BYTES, JSON, JSON_WITH_BYTES, NOTE = range(3, 8)
"""The kinds of chunks, numbered among the frames of `deployments.channel.frames`."""

MAX_CHUNK = 64 * 1024 * 1024
"""The largest body: as much as a joined stream may hold."""
LONGEST_MESSAGE = 100_000
"""Characters of an error's message where its details had to be left out."""

_BASE64 = "\0base64"
"""The key of a mapping that stands for bytes inside a JSON value. A mapping that has this one key by itself is told apart
by the list around its value."""
_STANDS_FOR_BYTES = '{"\\u0000base64":'
"""How such a mapping begins in JSON: nothing else can look like it, for quotes in text are escaped."""


class Lost(Exception):
    """The connection ended before the stream did."""


class Left(Exception):
    """The reader has left: no more of this stream is wanted."""


def encode(chunk: Chunk) -> tuple[int, bytes]:
    """Return the kind and the body of a chunk."""
    if type(chunk) is str:
        kind, body = TEXT, chunk.encode("utf-8", "surrogatepass")
    elif isinstance(chunk, bytes | bytearray | memoryview):
        kind, body = BYTES, bytes(chunk)
    elif type(chunk) is Note:
        kind, body = NOTE, _json_with_bytes(chunk.data)
    else:
        try:
            kind, body = JSON, _TO_JSON(chunk).encode("utf-8", "surrogatepass")
        except (TypeError, ValueError, RecursionError):
            kind, body = JSON_WITH_BYTES, _json_with_bytes(chunk)
    if len(body) > MAX_CHUNK:
        raise TooLarge(f"a chunk of {len(body)} bytes is larger than {MAX_CHUNK >> 20} MiB; send it in smaller chunks")
    return kind, body


def decode(kind: int, body: bytes) -> Chunk:
    """Return the chunk of a frame between TEXT and NOTE. What can't be read fails its own stream alone."""
    try:
        if kind == TEXT:
            return body.decode("utf-8", "surrogatepass")
        if kind == BYTES:
            return body
        if kind == JSON:
            return json.loads(body.decode("utf-8", "surrogatepass"))
        value = json.loads(body.decode("utf-8", "surrogatepass"), object_hook=_bytes_again)
    except _UNREADABLE as error:
        raise ComponentFailed(f"a chunk of the stream can't be read: {_in_words(error)}") from None
    return Note(value) if kind == NOTE else value


def encode_error(error: AnabranchError) -> bytes:
    """Return the body of ERR; details that JSON can't say, or a frame can't hold, are left out."""
    with suppress(ComponentFailed):
        if len(body := _json_with_bytes(error.to_wire())) <= MAX_CHUNK:
            return body
    return _json_with_bytes(error.saying(error.message[:LONGEST_MESSAGE], {}).to_wire())


def decode_error(body: bytes) -> AnabranchError:
    """Return the error in the body of ERR, or that there is none to be read."""
    try:
        data: Any = json.loads(body.decode("utf-8", "surrogatepass"), object_hook=_bytes_again)
        if not isinstance(data, dict):
            raise TypeError("it is no mapping")
        return from_wire(cast("WireError", data))
    except _UNREADABLE as error:
        return ComponentFailed(f"the error that the stream ended with can't be read: {_in_words(error)}")


def _json_with_bytes(value: Any) -> bytes:
    made = 0

    def default(item: Any) -> Any:
        """Return what stands in JSON for a value that JSON doesn't know."""
        nonlocal made
        match item:
            case bytes() | bytearray() | memoryview():
                made += 1
                return {_BASE64: base64.b64encode(item).decode()}
            case Mapping():
                return dict(cast("Mapping[Any, Any]", item))
            case _:
                name = type(item).__name__
                raise TypeError(f"{'an' if name[0] in 'aeiouAEIOU' else 'a'} {name} in it")

    try:
        text = _dumps(value, default)
        if text.count(_STANDS_FOR_BYTES) > made:
            text = _dumps(_escaped(value), default)
    except (TypeError, ValueError, RecursionError) as error:
        raise ComponentFailed(
            f"expected chunks of text, bytes or JSON values, got one with {_in_words(error)}"
        ) from None
    return text.encode("utf-8", "surrogatepass")


def _dumps(value: Any, default: Callable[[Any], Any]) -> str:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=default)


def _escaped(value: Any) -> Any:
    """Return the value with a list around what stands under our own key in its mappings."""
    if isinstance(value, Mapping):
        items = {key: _escaped(item) for key, item in cast("Mapping[Any, Any]", value).items()}
        return {_BASE64: [items[_BASE64]]} if len(items) == 1 and _BASE64 in items else items
    if isinstance(value, list | tuple):
        return [_escaped(item) for item in cast("list[Any]", value)]
    return value


def _bytes_again(value: dict[str, Any]) -> Any:
    if len(value) != 1 or _BASE64 not in value:
        return value
    match value[_BASE64]:
        case str() as text:
            return base64.b64decode(text, validate=True)
        case [item]:
            return {_BASE64: item}
        case _:
            raise ValueError("bytes that are neither base64 nor a list of one item")


def _in_words(error: Exception) -> str:
    if isinstance(error, KeyError):
        return f"it has no {error}"
    if isinstance(error, RecursionError):
        return "values nested too deep, or one that holds itself"
    if isinstance(error, ValueError) and "integer string conversion" in str(error):
        return f"a whole number of more than {sys.get_int_max_str_digits()} digits; write it as text"
    return str(error)


_UNREADABLE = (ValueError, TypeError, KeyError, RecursionError)
_TO_JSON = json.JSONEncoder(ensure_ascii=False, separators=(",", ":")).encode
