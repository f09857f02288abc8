"""Bytes of an HTTP/2 connection, in any pieces -> whole frames, each GOAWAY taken out."""

from __future__ import annotations

from collections.abc import Iterator

MAX_FRAME = 16384

_HEAD = 9
_GOAWAY = 7


class Frames:
    """h2 takes a GOAWAY for the end of everything; servers send it to say that what is under way goes on to its end."""

    def __init__(self) -> None:
        self._unread = b""

    def split(self, data: bytes) -> Iterator[tuple[bytes, int | None]]:
        """Yield runs of frames for h2; in a GOAWAY's place, the last stream that the server will see to."""
        data, self._unread = self._unread + data, b""
        start = at = 0
        while len(data) - at >= _HEAD:
            size = int.from_bytes(data[at : at + 3])
            if size > MAX_FRAME:
                raise ValueError("a frame larger than was allowed")
            end = at + _HEAD + size
            if end > len(data):
                break
            if data[at + 3] == _GOAWAY:
                if at > start:
                    yield data[start:at], None
                yield b"", int.from_bytes(data[at + _HEAD : at + _HEAD + 4]) & 0x7FFFFFFF
                start = end
            at = end
        if at > start:
            yield data[start:at], None
        self._unread = data[at:]
