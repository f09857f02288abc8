"""Write an answer to a client piece by piece: with a heartbeat in silence, and cancelled when the client disconnects."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Coroutine, Iterable
from typing import Any

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

BURST = 64
"""Pieces that are written before other tasks get their turn: without a pause, chunks that are all there already, and a client
that takes them at once, would occupy the event loop."""

STRAIGHT = "anabranch.send"
"""The key of the server's own `send` in the scope. The layers of the application see the start of an answer; the pieces of a
stream go past them, because every layer would cost something for each chunk."""

RawHeaders = Iterable[tuple[bytes, bytes]]


class Cut(Exception):
    """Cuts an answer: the server closes the connection, so that the client can't take the answer for complete."""


class Client:
    """The client of a request whose body has been read."""

    def __init__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._receive = receive
        self._send = send
        self._body: Send = scope.get(STRAIGHT, send)
        self._clock = asyncio.get_running_loop().time
        # The heartbeat is written beside the answer: what is compressed first must be sent first.
        self._writing = asyncio.Lock()
        self._heartbeat: bytes | None = None
        self._zip = None
        self._spoke = self._clock()
        self._written = 0
        self._under_way = False
        self.started = False
        """Whether the status and the headers have been sent."""

    async def start(
        self, status: int, headers: RawHeaders, *, heartbeat: bytes | None = None, compressed: bool = False
    ) -> None:
        """Send the status and the headers; from now on, send `heartbeat` in silence."""
        out = list(headers)
        if compressed and accepts_gzip(self._scope["headers"]):
            # Each piece can be read when it arrives; the window is small, for there may be thousands of streams.
            self._zip = zlib.compressobj(6, zlib.DEFLATED, 16 + 12, 5)
            out.append((b"content-encoding", b"gzip"))
        if compressed:
            out.append((b"vary", b"Accept-Encoding"))
        self.started = True
        self._heartbeat = heartbeat
        await self._send({"type": "http.response.start", "status": status, "headers": out})

    async def write(self, body: bytes) -> None:
        """Send a piece of the body at once; return when the connection takes more."""
        zip = self._zip
        if zip is not None:
            await self._writing.acquire()
            body = zip.compress(body) + zip.flush(zlib.Z_SYNC_FLUSH)
        self._under_way = True
        try:
            await self._body({"type": "http.response.body", "body": body, "more_body": True})
        finally:
            self._under_way = False
            if zip is not None:
                self._writing.release()
        self._spoke = self._clock()
        self._written += 1
        if self._written % BURST == 0:
            await asyncio.sleep(0)

    async def end(self, body: bytes = b"") -> None:
        """Send the last piece of the body."""
        async with self._writing:
            self._heartbeat = None
            if self._zip is not None:
                body = self._zip.compress(body) + self._zip.flush()
            await self._send({"type": "http.response.body", "body": body})

    async def answer(self, response: Response) -> None:
        """Send a whole answer."""
        self.started = True
        await response(self._scope, self._receive, self._send)

    async def attend(self, work: Coroutine[Any, Any, None], heartbeat_every: float) -> None:
        """Run `work`, which writes the answer; cancel it, and wait for its end, when the client disconnects."""
        writing = asyncio.create_task(work)
        leaving = asyncio.create_task(self._left())
        # Its end, which is the client's leaving or what follows below, is what cancels the work, once.
        leaving.add_done_callback(lambda _: writing.cancel())
        silence = heartbeat_every
        try:
            while not (await asyncio.wait([writing], timeout=silence))[0]:
                silence = await self._break_silence(heartbeat_every)
        finally:
            leaving.cancel()
            if not writing.done():
                await asyncio.wait([writing])
        if not writing.cancelled():
            writing.result()

    async def _left(self) -> None:
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self._heartbeat = None

    async def _break_silence(self, every: float) -> float:
        """Write the heartbeat if it is due; return the seconds until it may be again.

        One timer serves a whole stream: it looks when the last chunk was sent, instead of being set by each. A write that is
        under way means that the client doesn't read: a heartbeat wouldn't reach it.
        """
        due = self._spoke + every - self._clock()
        if due > 0 or self._heartbeat is None or self._under_way:
            return due if due > 0 else every
        await self.write(self._heartbeat)
        return every


def accepts_gzip(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether the request's headers accept gzip."""
    accepted: dict[str, bool] = {}
    for name, value in headers:
        if name == b"accept-encoding":
            for part in value.decode("latin-1").lower().split(","):
                coding, _, weight = part.partition(";")
                accepted[coding.strip()] = weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return accepted.get("gzip", accepted.get("*", False))
