"""Packets of a compressed body -> the bytes in it, a bounded piece at a time."""

from __future__ import annotations

import zlib

import aiohttp

from graphs.errors import UpstreamFailed

MAX_PIECE = 256 * 1024
"""The most that is unpacked at once: a small packet may hold a thousand times its size."""

_GZIP = 16 + zlib.MAX_WBITS


class Gzip:
    """Feed it packets; `next` gives what is in them, piece by piece, and nothing when it wants the next packet."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(_GZIP)
        self._packed = b""
        self._begun = False

    def feed(self, packet: bytes) -> None:
        self._packed += packet
        self._begun = True

    def next(self) -> bytes:
        while self._packed:
            if self._unpacker.eof:
                # A body may be several gzip members, one after the other.
                self._unpacker = zlib.decompressobj(_GZIP)
            try:
                piece = self._unpacker.decompress(self._packed, MAX_PIECE)
            except zlib.error:
                raise UpstreamFailed("the answer is not the gzip that its Content-Encoding says") from None
            self._packed = self._unpacker.unused_data or self._unpacker.unconsumed_tail
            if piece:
                return piece
        return b""

    def end(self) -> None:
        """Raise if the body broke off."""
        if self._begun and not self._unpacker.eof:
            raise aiohttp.ClientPayloadError


def unpacking(encoding: str | None) -> Gzip | None:
    """Return what unpacks a Content-Encoding, or None where nothing is packed."""
    match (encoding or "identity").strip().lower():
        case "identity" | "":
            return None
        case "gzip" | "x-gzip":
            return Gzip()
        case other:
            raise UpstreamFailed(f"answered in the encoding {other[:40]!r}, which was not asked for")
