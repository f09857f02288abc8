"""CORS: answer preflights, mark answers for the pages of allowed origins, and refuse requests of other pages."""

from __future__ import annotations

import re
from collections.abc import Iterable

from starlette.datastructures import MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.asgi.errors import RUN_ID, error_response, refuse
from deployments.asgi.headers import header
from deployments.asgi.json_values import shortened
from graphs.errors import Forbidden

ALLOWED = ("Accept", "Authorization", "Content-Type", "Idempotency-Key", "Last-Event-ID")
"""Request headers that are always allowed; so is every other that a preflight asks for, because SDKs add their own."""
EXPOSED = (
    f"{RUN_ID}, X-Request-Id, Request-Id, Location, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests, X-RateLimit-Reset-Requests, "
    "X-RateLimit-Limit-Tokens, X-RateLimit-Remaining-Tokens, X-RateLimit-Reset-Tokens"
)
SAFE = ("GET", "HEAD", "OPTIONS")
"""Methods that start nothing: any page may use them, but can't read the answer."""

_USUAL_PORT = re.compile(r":(?:80|443)$")


class Cors:
    """Lets pages of the given origins send requests and read the answers, errors included, and refuses requests of other
    pages: a browser keeps the answers from them, but sends their plain POSTs and opens WebSockets for them. The outermost
    layer."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.rstrip("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        origin = header(scope, b"origin")
        if origin is None and not self._origins:
            await self._app(scope, receive, send)
            return
        marks = self._marks(origin)
        if origin is not None and (answer := _instead(scope, origin, marks)) is not None:
            await refuse(answer, scope, receive, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                _mark(message, marks)
            await send(message)

        await self._app(scope, receive, send_marked)

    def _marks(self, origin: str | None) -> dict[str, str]:
        """Return the headers for this origin. Only a named origin may send cookies: with `*` every page could."""
        if not self._origins:
            return {}
        if "*" in self._origins:
            return {} if origin is None else {"Access-Control-Allow-Origin": "*"}
        if origin not in self._origins:
            return {"Vary": "Origin"}
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin"}


def _instead(scope: Scope, origin: str, marks: dict[str, str]) -> Response | None:
    """Return the answer to a request that the application doesn't see: a preflight, or one that the page may not send."""
    allowed = "Access-Control-Allow-Origin" in marks
    if scope["type"] == "http" and scope["method"] in SAFE:
        asked = header(scope, b"access-control-request-method") if scope["method"] == "OPTIONS" else None
        if asked is None:
            return None
        return _granted(scope, marks) if allowed else _refusal(origin, marks)
    return None if allowed or _is_own(scope, origin) else _refusal(origin, marks)


def _is_own(scope: Scope, origin: str) -> bool:
    """Return whether the origin is the server's own. The scheme is ignored, for a proxy may speak TLS in front of the server.
    A page can set neither header: Host is the browser's, and the other needs a preflight, which is refused."""
    host = _host(origin.partition("://")[2])
    forwarded = (header(scope, b"x-forwarded-host") or "").partition(",")[0]
    return host != "" and host in (_host(header(scope, b"host") or ""), _host(forwarded))


def _host(host: str) -> str:
    """Return host and port, without a default port, as browsers write it."""
    return _USUAL_PORT.sub("", host.strip().lower())


def _refusal(origin: str, marks: dict[str, str]) -> Response:
    refusal = error_response(Forbidden(f"the origin {shortened(origin)!r} isn't allowed; add it to controller.origins"))
    refusal.headers.update(marks)
    return refusal


def _granted(scope: Scope, marks: dict[str, str]) -> Response:
    more = [name.strip() for name in (header(scope, b"access-control-request-headers") or "").split(",")]
    known = {name.lower() for name in ALLOWED}
    names = [*ALLOWED, *(name for name in more if name and name.lower() not in known)]
    granted = {
        "Access-Control-Allow-Methods": "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS",
        "Access-Control-Allow-Headers": ", ".join(names),
        "Access-Control-Max-Age": "600",
    }
    return Response(status_code=204, headers={**marks, **granted})


def _mark(start: Message, marks: dict[str, str]) -> None:
    headers = MutableHeaders(raw=list(start["headers"]))
    for name, value in marks.items():
        if name == "Vary":
            headers.add_vary_header(value)
        else:
            headers[name] = value
    if "Access-Control-Allow-Origin" in marks:
        headers["Access-Control-Expose-Headers"] = EXPOSED
    start["headers"] = headers.raw
