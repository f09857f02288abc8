"""An application around another, which counts the requests under way, and can refuse new ones until the rest has ended."""

from __future__ import annotations

import asyncio

from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.asgi.errors import error_response
from graphs.errors import Unavailable


class Draining:
    """An application around another, which counts the requests under way and can stop."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app
        self.under_way = 0
        self._stopping = False
        self._idle = asyncio.Event()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request; 503 once the server stops."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
        elif self._stopping:
            await error_response(Unavailable("the server is stopping"))(scope, receive, send)
        else:
            self.under_way += 1
            try:
                await self._app(scope, receive, send)
            finally:
                self.under_way -= 1
                if not self.under_way:
                    self._idle.set()

    async def idle(self) -> int:
        """Wait until no request is under way; return how many there were."""
        waited_for = self.under_way
        while self.under_way:
            self._idle.clear()
            await self._idle.wait()
        return waited_for

    async def drain(self) -> int:
        """Refuse new requests, and wait for those under way; return how many there were."""
        self._stopping = True
        return await self.idle()
