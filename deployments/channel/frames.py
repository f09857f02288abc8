"""The wire between two replicas: chunks and signals in, length-prefixed frames out, and back.

ARCHITECTURE.md has the table of frames. Text and bytes travel as they are, everything else as JSON; nothing is ever unpickled
from the wire.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

HELLO, WELCOME, OPEN = range(3)
END, ERR, CREDIT, RESET = range(8, 12)
"""Between them lie the kinds of chunks (`deployments.streams.codec`)."""

Frame = tuple[int, int, bytes]
"""Kind, stream, body."""

_HEADER = struct.Struct("!IBI")
_NUMBER = struct.Struct("!Q")


class BadFrame(Exception):
    """Bytes that are no frame of ours: the peer is broken, or another program."""


class FrameParser:
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


def encode_number(number: int) -> bytes:
    """Return the body of END and CREDIT."""
    return _NUMBER.pack(number)


def decode_number(body: bytes) -> int:
    """Return the number in the body of END and CREDIT."""
    if len(body) != _NUMBER.size:
        raise BadFrame(f"a number of {len(body)} bytes; expected {_NUMBER.size}")
    return _NUMBER.unpack(body)[0]
