"""Middleware for every route: refuse bodies that are too large, answer HEAD and unexpected errors, compress whole answers."""

from __future__ import annotations

import logging

from starlette.middleware.gzip import GZipMiddleware
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.asgi.client import accepts_gzip
from deployments.asgi.errors import answer_of
from deployments.asgi.headers import header
from deployments.asgi.json_values import shortened
from graphs.errors import AnabranchError, BadRequest, TooLarge, UnsupportedMediaType

SMALLEST = 1024
"""Bytes below which the gain of compression isn't worth the work."""
LARGE = 64 * 1024
"""Bytes from which on a thread compresses: streams run on the event loop."""
HEAD = "anabranch.head"
"""The key in the scope of a request that was a HEAD: a stream that may go on for long needn't be made for it."""
STREAMED = ("text/event-stream", "application/octet-stream")
"""The types of streams, whose pieces go past the layers of the application."""

logger = logging.getLogger("anabranch.http")


class CatchFaults:
    """Answers 500 for an exception that a route did not expect; only the log has the traceback."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        started = False

        async def watched(message: Message) -> None:
            nonlocal started
            started = True
            await send(message)

        try:
            await self._app(scope, receive, watched)
        except ClientDisconnect:
            pass
        except Exception:
            if scope["type"] != "http" or started:  # which is how an answer is cut
                raise
            # The outermost layer of a request: the client gets every error as JSON.
            logger.exception("%s %s: internal error", scope["method"], scope["path"])
            fault = AnabranchError("internal error; see the server's log")
            await answer_of(scope, fault)(scope, receive, send)


class AnswerHead:
    """Lets every GET route answer HEAD: the server omits the body."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET", HEAD: True}
        await self._app(scope, receive, send)


class Compression:
    """Compresses whole answers; a stream decides for itself (see `Client.start`).

    Only an answer that is neither a stream nor small goes through Starlette's GZipMiddleware, which is given the client's
    own choice: by itself it ignores weights and `*`.
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        chosen: Send | None = None

        async def send_or_compress(message: Message) -> None:
            nonlocal chosen
            if chosen is None:
                chosen = send if _needs_no_compression(message) else await _compressing(scope, receive, send)
            await chosen(message)

        await self._app(scope, receive, send_or_compress)


def _needs_no_compression(start: Message) -> bool:
    """Return whether an answer that begins so is a stream, or is small."""
    kind = header(start, b"content-type") or ""
    length = header(start, b"content-length")
    return kind.startswith(STREAMED) or (length is not None and int(length) < SMALLEST)


async def _compressing(scope: Scope, receive: Receive, send: Send) -> Send:
    """Return the `send` that compresses one answer, if the client accepts it."""
    compressed = send

    async def take(_scope: Scope, _receive: Receive, send: Send) -> None:
        nonlocal compressed
        compressed = send

    accepted = b"gzip" if accepts_gzip(scope["headers"]) else b"identity"
    asked = {**scope, "headers": [(b"accept-encoding", accepted)]}
    await GZipMiddleware(take, SMALLEST, 6, LARGE)(asked, receive, send)
    return compressed


class CheckBody:
    """Refuses bodies that are compressed, or too large: by their Content-Length, else while they are read."""

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        refusal = self._refusal(scope)
        if refusal is None:
            await self._app(scope, self._counted(receive), send)
        else:
            await answer_of(scope, refusal)(scope, receive, send)

    def _refusal(self, scope: Scope) -> AnabranchError | None:
        coding = (header(scope, b"content-encoding") or "").strip().lower()
        if coding not in ("", "identity"):
            return UnsupportedMediaType(
                f"the body is encoded as {shortened(coding)!r}, and only plain bodies are read; send it uncompressed, without "
                "the header Content-Encoding"
            )
        length = header(scope, b"content-length")
        if length is None:
            return None
        if not length.isdecimal():
            return BadRequest("expected a number of bytes as Content-Length")
        return self._too_large() if int(length) > self._largest else None

    def _counted(self, receive: Receive) -> Receive:
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._largest:
                raise self._too_large()
            return message

        return counted

    def _too_large(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._largest} bytes; send less, or raise controller.max_request_size",
            max_request_size=self._largest,
        )
