"""Compress whole answers with gzip for clients that accept it. A stream decides for itself (see `Client.start`)."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.middleware.gzip import DEFAULT_EXCLUDED_CONTENT_TYPES, GZipMiddleware
from starlette.types import ASGIApp, Receive, Scope, Send

SMALLEST = 1024
"""Bytes below which the gain isn't worth the work."""
LARGE = 64 * 1024
"""Bytes from which on a thread does the work: streams run on the event loop."""
STREAMED = ("text/event-stream", "application/octet-stream")
"""The types of streams, whose pieces go past the layers of the application."""


class Compression:
    """Starlette's GZipMiddleware, given the client's own choice: by itself it ignores weights and `*`."""

    def __init__(self, app: ASGIApp) -> None:
        untouched = (*DEFAULT_EXCLUDED_CONTENT_TYPES, *STREAMED)
        self._app = GZipMiddleware(app, SMALLEST, 6, LARGE, exclude_content_types=untouched)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] == "http":
            accepted = b"gzip" if accepts_gzip(scope["headers"]) else b"identity"
            others = [header for header in scope["headers"] if header[0] != b"accept-encoding"]
            scope = {**scope, "headers": [*others, (b"accept-encoding", accepted)]}
        await self._app(scope, receive, send)


def accepts_gzip(headers: Iterable[tuple[bytes, bytes]]) -> bool:
    """Return whether the request's headers accept gzip."""
    accepted: dict[str, bool] = {}
    for name, value in headers:
        if name == b"accept-encoding":
            for part in value.decode("latin-1").lower().split(","):
                coding, _, weight = part.partition(";")
                accepted[coding.strip()] = weight.replace(" ", "") not in ("q=0", "q=0.0", "q=0.00", "q=0.000")
    return accepted.get("gzip", accepted.get("*", False))
