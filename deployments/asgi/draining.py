"""An application around another, which counts the requests under way, and can refuse new ones until the rest has ended."""

from __future__ import annotations

import asyncio
from typing import Protocol

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.asgi.errors import error_response, refuse
from graphs.errors import Unavailable

DRAINING = "anabranch.draining"
"""The key in the scope of a WebSocket of the Draining that it came through."""


class Stoppable(Protocol):
    """An open WebSocket."""

    def stop(self) -> None:
        """Take no new requests, and close once those under way have ended."""


class Draining:
    """An application around another, which counts the requests under way and can stop.

    A WebSocket is no request: it may be open for hours without one. The requests that come over it are, for they go through
    here too.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.under_way = 0
        self.sockets: set[Stoppable] = set()
        self._stopping = False
        self._changed = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; 503 once the server stops."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif self._stopping:
            refusal = error_response(Unavailable("the server is stopping"))
            await refuse(refusal, scope, receive, send)
        elif scope["type"] == "websocket":
            scope[DRAINING] = self
            await self._app(scope, receive, send)
        else:
            self.under_way += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self.under_way -= 1
                self._changed.set()

    def joined(self, socket: Stoppable) -> None:
        """Count an open WebSocket."""
        self.sockets.add(socket)
        if self._stopping:
            socket.stop()

    def left(self, socket: Stoppable) -> None:
        """Count a WebSocket that was closed."""
        self.sockets.discard(socket)
        self._changed.set()

    async def idle(self) -> int:
        """Wait until no request is under way; return how many there were."""
        waited_for = self.under_way
        while self.under_way:
            await self._change()
        return waited_for

    async def close_sockets(self) -> None:
        """Have every WebSocket end its requests and close; wait until all have."""
        for socket in list(self.sockets):
            socket.stop()
        while self.sockets:
            await self._change()

    async def drain(self) -> int:
        """Refuse new requests, and wait for those under way; return how many there were."""
        self._stopping = True
        waited_for = self.under_way
        await self.close_sockets()
        await self.idle()
        return waited_for

    async def _change(self) -> None:
        self._changed.clear()
        await self._changed.wait()
