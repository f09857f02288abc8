"""Unpack a compressed body, a bounded piece at a time.

aiohttp could do it, but takes a gzip body that breaks off for a whole one, and loses the status of an answer whose encoding it
doesn't know.
"""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable

import aiohttp

from graphs.errors import UpstreamFailed

ASKED_FOR = "gzip"
"""The Accept-Encoding of every request that sets none itself."""
MAX_PIECE = 256 * 1024
"""The most that is unpacked at once: a small packet may hold a thousand times its size."""

_ZLIB = frozenset({"gzip", "x-gzip", "deflate"})
_OTHER = frozenset({"br", "zstd", "compress", "x-compress"})
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_MEMBER = b"\x1f"


class Unpacker:
    """Unpacks one body. Its encoding may be unknown: only reading the body fails then, and the status is still known."""

    def __init__(self, read: Callable[[], Awaitable[bytes]], unknown: str = "") -> None:
        self._read = read
        self._unknown = unknown
        self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._packed = b""
        self._begun = False

    async def read(self) -> bytes:
        """Return the next unpacked bytes; empty at the end of the body."""
        while not (piece := self._next_piece()):
            packet = await self._read()
            if not packet:
                if self._begun and not self._unpacker.eof:
                    raise aiohttp.ClientPayloadError
                return b""
            if self._unknown:
                raise UpstreamFailed(f"answered in the encoding {self._unknown[:40]!r}, which was not asked for")
            self._packed += packet
            self._begun = True
        return piece

    def _next_piece(self) -> bytes:
        """Return the next piece of what has come; empty if it needs another packet."""
        while self._packed:
            if self._unpacker.eof:
                # A body may be several gzip members, one after the other; anything else that follows is padding.
                if not self._packed.startswith(_MEMBER):
                    self._packed = b""
                    break
                self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                piece = self._unpacker.decompress(self._packed, MAX_PIECE)
            except zlib.error:
                raise UpstreamFailed("the answer is not the gzip that its Content-Encoding says") from None
            self._packed = self._unpacker.unused_data or self._unpacker.unconsumed_tail
            if piece:
                return piece
        return b""


def unpacker(encoding: str, read: Callable[[], Awaitable[bytes]]) -> Unpacker | None:
    """Return what unpacks a body in this Content-Encoding; None if it isn't packed."""
    match [name for each in encoding.split(",") if (name := each.strip().lower()) in _ZLIB | _OTHER]:
        case []:
            return None
        case [name] if name in _ZLIB:
            return Unpacker(read)
        case _:
            return Unpacker(read, unknown=encoding)
