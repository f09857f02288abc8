"""One request and its answer on an HTTP/2 connection: a body sent as there is room, packets read as they are wanted."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING

from h2.exceptions import H2Error
from multidict import CIMultiDict
from yarl import URL

from deployments.upstream.failures import Failed, not_http
from deployments.upstream.http1 import raise_failed_input
from deployments.upstream.request import Request
from deployments.upstream.unpacking import unpacked, unpacker
from deployments.upstream.uploads import Upload
from graphs.errors import AnabranchError

if TYPE_CHECKING:
    from deployments.upstream.http2.connection import Http2Connection

GIVE_BACK = 128 * 1024
"""How much is read before the server is told that it may send as much again: not at every chunk."""


class Http2Stream:
    """The connection tells it what comes; one caller waits for it."""

    def __init__(self, id: int, connection: Http2Connection) -> None:
        self.id = id
        self.room = asyncio.Event()
        """Set when more of the body may be sendable."""
        self.upload: Upload | None = None
        self._connection = connection
        self._news = asyncio.Event()
        self._headers: CIMultiDict[str] | None = None
        self._packets: list[bytes] = []
        self._unread = 0
        self._read = 0
        self._ended = False
        self._error: OSError | None = None
        self._sending: asyncio.Task[None] | None = None

    async def headed(self) -> CIMultiDict[str]:
        """Return the headers, when they have come."""
        while self._headers is None:
            self._raise_error()
            if self._ended:
                raise ConnectionResetError
            await self._more()
        return self._headers

    async def read(self) -> bytes:
        """Return all bytes that are there; when there are none, wait for the next; none at the end."""
        while not self._packets:
            self._raise_error()
            if self._ended:
                return b""
            await self._more()
        data = self._packets[0] if len(self._packets) == 1 else b"".join(self._packets)
        self._packets.clear()
        self._read += self._unread
        self._unread = 0
        if self._read >= GIVE_BACK and not self._ended:
            self._connection.give_back(self.id, self._read)
            self._read = 0
        return data

    def send(self, body: bytes | Upload) -> None:
        """Send a body, in a task of its own: the answer may begin before its end."""
        self.upload = body if isinstance(body, Upload) else None
        self._sending = asyncio.create_task(self._send(body))

    def close(self) -> None:
        """Let go; what has not ended is cut."""
        unsent = self._sending is not None and not self._sending.done()
        if self._sending is not None:
            self._sending.cancel()
        self._connection.drop(self.id, reset=unsent or not self._ended)

    # What the connection calls

    def head(self, headers: list[tuple[str, str]]) -> None:
        self._headers = CIMultiDict(headers)
        self._news.set()

    def take(self, data: bytes, size: int) -> None:
        self._unread += size
        if data:
            self._packets.append(data)
            self._news.set()

    def end(self) -> None:
        self._ended = True
        self._news.set()

    def fail(self, error: OSError) -> None:
        if not self._ended and self._error is None:
            self._error = error
        self._news.set()
        self.room.set()

    async def _more(self) -> None:
        """Wait for news; while the body is still being sent, silence is the sender's to judge."""
        self._news.clear()
        while True:
            try:
                async with asyncio.timeout(self._connection.timeout):
                    await self._news.wait()
                return
            except TimeoutError:
                if self._sending is None or self._sending.done():
                    # Nobody knows whether it is the call that hangs, or the whole connection.
                    self._connection.leave()
                    raise

    def _raise_error(self) -> None:
        if self._error is not None:
            raise_failed_input(self.upload)
            # A traceback grows on an error that several streams raise.
            raise self._error.with_traceback(None)

    async def _send(self, body: bytes | Upload) -> None:
        try:
            if isinstance(body, bytes):
                await self._send_packet(body, last=True)
                return
            async with aclosing(body.packets()) as packets:
                async for packet in packets:
                    await self._send_packet(packet, last=False)
            self._connection.send_data(self.id, b"", last=True)
        except AnabranchError:
            self.fail(ConnectionAbortedError())  # whoever reads finds the failure in the upload
        except TimeoutError as error:
            self.fail(error)
        except (H2Error, OSError):
            pass  # the stream has ended: whoever reads knows how

    async def _send_packet(self, packet: bytes, *, last: bool) -> None:
        at = 0
        while at < len(packet) or (last and not packet):
            async with asyncio.timeout(self._connection.timeout):
                room = await self._room()
            piece = packet[at : at + room]
            at += len(piece)
            self._connection.send_data(self.id, piece, last=last and at == len(packet))
            if not packet:
                return

    async def _room(self) -> int:
        while True:
            await self._connection.writable()
            if self._error is not None:
                raise self._error
            self.room.clear()
            room = self._connection.room(self.id)
            if room > 0:
                return room
            await self.room.wait()


class Http2Response:
    """A Response on an HTTP/2 stream."""

    def __init__(self, stream: Http2Stream, headers: CIMultiDict[str], request: Request) -> None:
        self._stream = stream
        self._headers = headers
        self._unpacker = unpacker(headers.get("Content-Encoding", ""))
        self.status = _status(headers.get(":status", ""))
        self.method = request.method
        self.url = str(URL(request.url).with_user(None))

    @property
    def headers(self) -> Mapping[str, str]:
        return self._headers

    async def read(self) -> bytes:
        """Return the next bytes of the body, unpacked; none at its end."""
        if self._unpacker is None:
            return await self._stream.read()
        return await unpacked(self._unpacker, self._stream.read)

    def close(self) -> None:
        """Let go: a body not read to its end is cut, and the connection kept for other calls."""
        self._stream.close()


def _status(text: str) -> int:
    if not (text.isascii() and text.isdecimal() and len(text) == 3):
        raise Failed(not_http())
    return int(text)
