"""Whole answers of an application in, the same gzip-compressed out for clients that accept it; streams pass untouched."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

SMALLEST = 1024
"""Below, the gain isn't worth the work."""
LARGE = 64 * 1024
"""From here on the work is done beside the event loop, where the streams run."""
COMPRESSIBLE = ("text/", "application/json", "application/javascript")


class Compression:
    """Compresses answers that come with their length; one that streams decides for itself (see Client.start)."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        answer = _Answer(send, accepts_gzip(scope["headers"]))
        await self._app(scope, receive, answer.send)


class _Answer:
    def __init__(self, send: Send, gzipped: bool) -> None:
        self._send = send
        self._gzipped = gzipped
        self._held: Message | None = None

    async def send(self, message: Message) -> None:
        if message["type"] == "http.response.start" and _worth_it(Headers(raw=message["headers"])):
            self._held = message
            return
        held, self._held = self._held, None
        if held is not None:
            message = await self._finished(held, message)
            await self._send(held)
        await self._send(message)

    async def _finished(self, start: Message, message: Message) -> Message:
        """Return the body to send, the headers that go before it changed accordingly."""
        headers = MutableHeaders(raw=start["headers"])
        headers.add_vary_header("Accept-Encoding")
        start["headers"] = headers.raw
        if not self._gzipped or message.get("more_body"):
            return message
        body: bytes = message["body"]
        squeezed = _squeeze(body) if len(body) < LARGE else await asyncio.to_thread(_squeeze, body)
        headers["Content-Encoding"] = "gzip"
        headers["Content-Length"] = str(len(squeezed))
        return {**message, "body": squeezed}


def accepts_gzip(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Whether the request's headers accept gzip."""
    accepted: dict[str, bool] = {}
    for name, value in headers:
        if name == b"accept-encoding":
            for part in value.decode("latin-1").lower().split(","):
                coding, _, weight = part.partition(";")
                accepted[coding.strip()] = weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return accepted.get("gzip", accepted.get("*", False))


def _worth_it(headers: Headers) -> bool:
    return (
        int(headers.get("content-length", "0")) >= SMALLEST
        and "content-encoding" not in headers
        and headers.get("content-type", "").startswith(COMPRESSIBLE)
    )


def _squeeze(body: bytes) -> bytes:
    return gzip.compress(body, 6, mtime=0)
