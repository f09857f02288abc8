"""Answer HTTP: JSON and errors as responses, and the middleware that compresses what is plain."""

from __future__ import annotations

import gzip
import logging
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.transports.sse import to_json
from graphs.errors import AnabranchError, ErrorData
from graphs.stream import Value

logger = logging.getLogger("anabranch.http")

WORTH_COMPRESSING = 1024


def json_response(value: Value, status: int = 200, headers: Mapping[str, str] | None = None) -> Response:
    """Return a JSON response, non-ASCII kept."""
    body = to_json(value).encode("utf-8", "replace")
    return Response(body, status, dict(headers or {}), media_type="application/json")


def error_response(error: AnabranchError, run_id: str | None = None) -> Response:
    """Return the JSON error with its status; Retry-After where the error knows when to come back."""
    headers: dict[str, str] = {}
    retry_after = error.details.get("retry_after")
    if isinstance(retry_after, int | float):
        headers["Retry-After"] = str(max(1, round(retry_after)))
    if run_id is not None:
        headers["X-Run-Id"] = run_id
    return json_response({"error": error_data(error, run_id)}, error.status, headers)


def error_data(error: AnabranchError, run_id: str | None) -> ErrorData:
    return {**error.to_data(), "run_id": run_id} if run_id is not None else error.to_data()


def handle_errors(app: FastAPI) -> None:
    """Make every error of the app JSON: ours, the framework's, and what nobody foresaw."""

    async def ours(request: Request, error: Exception) -> Response:
        del request
        assert isinstance(error, AnabranchError)
        return error_response(error)

    async def framework(request: Request, error: Exception) -> Response:
        assert isinstance(error, HTTPException)
        status = HTTPStatus(error.status_code)
        kind = {404: "not_found", 405: "method_not_allowed"}.get(error.status_code, "bad_request")
        message = f"there is no {request.url.path}; see /docs" if status == HTTPStatus.NOT_FOUND else status.phrase.lower()
        return json_response({"error": {"type": kind, "message": message}}, error.status_code, error.headers)

    async def unforeseen(request: Request, error: Exception) -> Response:
        logger.exception("%s %s failed", request.method, request.url.path, exc_info=error)
        return json_response({"error": {"type": "internal_error", "message": "internal error; see the log"}}, 500)

    app.add_exception_handler(AnabranchError, ours)
    app.add_exception_handler(HTTPException, framework)
    app.add_exception_handler(Exception, unforeseen)


class CompressPlain:
    """Compress responses that come as one piece; a stream's chunks are never held back here."""

    def __init__(self, app: ASGIApp) -> None:
        self.app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http" or not accepts_gzip(scope):
            await self.app(scope, receive, send)
            return
        start: Message | None = None
        streaming = False

        async def compressing(message: Message) -> None:
            nonlocal start, streaming
            if streaming:
                await send(message)
            elif message["type"] == "http.response.start":
                streaming = is_stream(message)
                if streaming:
                    await send(message)
                else:
                    start = message
            elif start is not None:
                body: bytes = message.get("body", b"")
                if not message.get("more_body", False) and len(body) >= WORTH_COMPRESSING:
                    body = gzip.compress(body, compresslevel=5)
                    message = {**message, "body": body}
                    start["headers"] = compressed_headers(start["headers"], len(body))
                streaming = True
                await send(start)
                await send(message)
            else:
                await send(message)

        await self.app(scope, receive, compressing)


def is_stream(start: Message) -> bool:
    return not any(name.lower() == b"content-length" for name, _ in start["headers"]) or start["status"] == 304


def accepts_gzip(scope: Scope) -> bool:
    """Whether the client takes gzip."""
    offers = b",".join(value for name, value in scope["headers"] if name == b"accept-encoding").decode("latin-1")
    return any(
        coding.partition(";")[0].strip().lower() in ("gzip", "*") and "q=0" not in coding.replace("q=0.", "")
        for coding in offers.split(",")
    )


def compressed_headers(headers: Any, length: int | None) -> list[tuple[bytes, bytes]]:
    """Return the headers of the same response, compressed; without a length for a stream."""
    kept = [(name, value) for name, value in headers if name.lower() not in (b"content-length", b"vary")]
    sized = [(b"content-length", str(length).encode())] if length is not None else []
    return [*kept, *sized, (b"content-encoding", b"gzip"), (b"vary", b"Accept-Encoding")]
