"""Packets of a compressed body -> the bytes in it, a bounded piece at a time."""

from __future__ import annotations

import zlib
from collections.abc import Awaitable, Callable
from typing import Protocol

import aiohttp

from graphs.errors import UpstreamFailed

ASKED_FOR = "gzip"
"""The Accept-Encoding of every request that has none of its own."""
MAX_PIECE = 256 * 1024
"""The most that is unpacked at once: a small packet may hold a thousand times its size."""

_PACKINGS = frozenset({"gzip", "x-gzip", "deflate", "br", "zstd", "compress", "x-compress"})
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_MEMBER = b"\x1f"


class Unpacker(Protocol):
    """Feed it packets; `next` gives what is in them, piece by piece, and nothing when it wants the next packet."""

    def feed(self, packet: bytes) -> None: ...

    def next(self) -> bytes: ...

    def end(self) -> None:
        """Raise if the body broke off."""
        ...


class Zlib:
    """Unpacks gzip, and what HTTP calls deflate."""

    def __init__(self) -> None:
        self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._packed = b""
        self._begun = False

    def feed(self, packet: bytes) -> None:
        self._packed += packet
        self._begun = True

    def next(self) -> bytes:
        while self._packed:
            if self._unpacker.eof:
                # A body may be several gzip members, one after the other; what else follows is padding.
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

    def end(self) -> None:
        if self._begun and not self._unpacker.eof:
            raise aiohttp.ClientPayloadError


class UnknownEncoding:
    """Stands where nothing can be unpacked: the status is known all the same, and only who reads the body fails."""

    def __init__(self, encoding: str) -> None:
        self._encoding = encoding

    def feed(self, packet: bytes) -> None:  # noqa: ARG002
        raise UpstreamFailed(f"answered in the encoding {self._encoding[:40]!r}, which was not asked for")

    def next(self) -> bytes:
        return b""

    def end(self) -> None:
        """A body without a byte is in no encoding."""


def unpacker(encoding: str) -> Unpacker | None:
    """Return what unpacks a Content-Encoding, or None where nothing is packed, whatever else is written there."""
    if not encoding:
        return None
    match [name for each in encoding.split(",") if (name := each.strip().lower()) in _PACKINGS]:
        case []:
            return None
        case ["gzip" | "x-gzip" | "deflate"]:
            return Zlib()
        case _:
            return UnknownEncoding(encoding)


async def unpacked(unpacker: Unpacker, read: Callable[[], Awaitable[bytes]]) -> bytes:
    """Return the next bytes in what `read` gives; none at its end."""
    while not (data := unpacker.next()):
        packed = await read()
        if not packed:
            unpacker.end()
            return b""
        unpacker.feed(packed)
    return data
