"""A request that comes over a WebSocket -> the same request to the application's own HTTP route, and what that answers.

So a socket says the same as the route beside it, errors included, for it is the route that says it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from types import MappingProxyType
from typing import Any, NamedTuple

from starlette.types import ASGIApp, Message, Scope

from deployments.asgi.headers import header

OF_HANDSHAKE = (
    b"connection", b"upgrade", b"origin", b"accept", b"accept-encoding", b"content-type", b"content-length",
    b"content-encoding", b"transfer-encoding", b"idempotency-key",
)  # fmt: skip
"""Headers that say something of the request which opened the socket, and nothing of those that come over it."""
_OF_SOCKETS = b"sec-websocket-"
_NOTHING: Mapping[str, Any] = MappingProxyType({})


class Event(NamedTuple):
    """A server-sent event of an answer."""

    data: bytes
    name: bytes = b""
    id: bytes = b""


class Whole(NamedTuple):
    """An answer that wasn't streamed."""

    status: int
    body: bytes


Take = Callable[[Event], Awaitable[None]]


class InnerRequests:
    """Asks the application in the name of the client of one socket."""

    def __init__(self, scope: Scope) -> None:
        """`scope` is the socket's."""
        self._app: ASGIApp = scope["app"]
        self._headers = [
            (name, value)
            for name, value in scope["headers"]
            if name not in OF_HANDSHAKE and not name.startswith(_OF_SOCKETS)
        ]
        self._common: dict[str, Any] = {
            **{key: scope[key] for key in ("asgi", "server", "client", "root_path", "query_string") if key in scope},
            "type": "http",
            "http_version": "1.1",
            "scheme": "https" if scope.get("scheme") == "wss" else "http",
        }

    def authorize(self, key: str) -> None:
        """Send this key with every request from now on."""
        others = [(name, value) for name, value in self._headers if name != b"authorization"]
        self._headers = [*others, (b"authorization", f"Bearer {key}".encode())]

    async def ask(
        self, method: str, path: str, body: bytes, take: Take, more: Mapping[str, Any] = _NOTHING
    ) -> Whole | None:
        """Ask, and give `take` each event of a stream; return an answer that is none. To cancel it is the client's leaving.

        `more` is what the route finds in the scope beside the request.
        """
        scope: Scope = {
            **self._common,
            **more,
            "method": method,
            "path": path,
            "raw_path": path.encode(),
            "headers": [*self._headers, (b"content-type", b"application/json")],
        }
        answer = _Answer(take)
        await self._app(scope, _Body(body), answer)
        return answer.whole


class _Body:
    """The `receive` of a request whose client doesn't leave: its task is cancelled instead."""

    def __init__(self, body: bytes) -> None:
        self._body: bytes | None = body

    async def __call__(self) -> Message:
        if self._body is None:
            await asyncio.get_running_loop().create_future()
        body, self._body = self._body, None
        return {"type": "http.request", "body": body}


class _Answer:
    """The `send` of a request: takes a stream apart, and gathers what is none."""

    def __init__(self, take: Take) -> None:
        self._take = take
        self._status = 0
        self._streams = False
        self._body = b""
        """What came of a whole answer, or of an event that isn't whole yet."""

    @property
    def whole(self) -> Whole | None:
        return None if self._streams else Whole(self._status, self._body)

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._status = message["status"]
            self._streams = (header(message, b"content-type") or "").startswith("text/event-stream")
            return
        self._body += message.get("body", b"")
        if self._streams:
            *events, self._body = self._body.split(b"\n\n")
            for event in events:
                if not event.startswith(b":"):
                    await self._take(_event(event))


def _event(lines: bytes) -> Event:
    """Return an event of ours: each field on one line, for its data is JSON."""
    if lines.startswith(b"data: "):
        return Event(lines[6:])
    fields = dict(line.split(b": ", 1) for line in lines.split(b"\n") if b": " in line)
    return Event(fields.get(b"data", b""), fields.get(b"event", b""), fields.get(b"id", b""))
