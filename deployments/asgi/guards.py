"""Requests in, and out what no route should have to think of: bodies too large, HEAD, and faults nobody foresaw."""

from __future__ import annotations

import logging

from starlette.datastructures import Headers
from starlette.requests import ClientDisconnect
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.asgi.client import Cut
from deployments.asgi.errors import error_response
from graphs.errors import AnabranchError, BadRequest, TooLarge

logger = logging.getLogger("anabranch.http")


class CatchFaults:
    """Answers 500 where a route raised what nobody foresaw; the traceback is in the log alone."""

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
        except (Cut, ClientDisconnect) as left:
            if isinstance(left, Cut):
                raise
        except Exception:
            if scope["type"] != "http" or started:
                raise
            # The outermost place of a request: whatever it was, the client is told in the API's own way.
            logger.exception("%s %s: internal error", scope["method"], scope["path"])
            await error_response(AnabranchError("internal error; see the server's log"))(scope, receive, send)


class AnswerHead:
    """Lets every GET route answer HEAD: the server leaves the body out."""

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http" and scope["method"] == "HEAD":
            scope = {**scope, "method": "GET"}
        await self._app(scope, receive, send)


class LimitBody:
    """Refuses bodies larger than allowed: by the length they announce, else while they are read."""

    def __init__(self, app: ASGIApp, largest: int) -> None:
        self._app = app
        self._largest = largest

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        announced = Headers(scope=scope).get("content-length")
        if announced is not None and not announced.isdecimal():
            refusal = BadRequest("expected a number of bytes as Content-Length")
            await error_response(refusal)(scope, receive, send)
        elif announced is not None and int(announced) > self._largest:
            await error_response(self._refusal())(scope, receive, send)
        else:
            await self._app(scope, self._counted(receive), send)

    def _counted(self, receive: Receive) -> Receive:
        read = 0

        async def counted() -> Message:
            nonlocal read
            message = await receive()
            read += len(message.get("body", b""))
            if read > self._largest:
                raise self._refusal()
            return message

        return counted

    def _refusal(self) -> TooLarge:
        return TooLarge(
            f"the body is larger than {self._largest} bytes; send less, or raise controller.max_request_size",
            max_request_size=self._largest,
        )
