"""The origins a document allows in, what their browsers must be told out: preflights answered, answers marked."""

from __future__ import annotations

from collections.abc import Iterable

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from deployments.http.errors import RUN_ID, error_response
from graphs.errors import Forbidden

METHODS = "GET, HEAD, POST, PUT, PATCH, DELETE, OPTIONS"
ALLOWED = ("Accept", "Authorization", "Content-Type", "Last-Event-ID")
"""Request headers that are always allowed; a preflight is granted whatever else it asks for, as SDKs bring their own."""
EXPOSED = (
    f"{RUN_ID}, Retry-After, X-RateLimit-Limit, X-RateLimit-Remaining, X-RateLimit-Reset, "
    "X-RateLimit-Limit-Requests, X-RateLimit-Remaining-Requests, X-RateLimit-Reset-Requests, "
    "X-RateLimit-Limit-Tokens, X-RateLimit-Remaining-Tokens, X-RateLimit-Reset-Tokens"
)
MAX_AGE = "600"


class Cors:
    """Lets pages of the given origins read the answers, errors included: it stands outside of all else."""

    def __init__(self, app: ASGIApp, origins: Iterable[str]) -> None:
        self._app = app
        self._origins = frozenset(origin.rstrip("/") for origin in origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        asked = Headers(scope=scope)
        marks = self._marks(asked.get("origin"))
        if scope["method"] == "OPTIONS" and "origin" in asked and "access-control-request-method" in asked:
            await _preflight(asked, marks)(scope, receive, send)
            return

        async def send_marked(message: Message) -> None:
            if message["type"] == "http.response.start":
                _mark(message, marks)
            await send(message)

        await self._app(scope, receive, send_marked)

    def _marks(self, origin: str | None) -> dict[str, str]:
        """Return the headers for this origin. Cookies are for named origins alone: `*` would hand them to every page."""
        if "*" in self._origins:
            return {"Access-Control-Allow-Origin": "*"} if origin else {}
        if origin not in self._origins:
            return {"Vary": "Origin"}
        return {"Access-Control-Allow-Origin": origin, "Access-Control-Allow-Credentials": "true", "Vary": "Origin"}


def _preflight(asked: Headers, marks: dict[str, str]) -> Response:
    if "Access-Control-Allow-Origin" not in marks:
        origin = asked["origin"]
        refusal = error_response(Forbidden(f"the origin {origin!r} isn't allowed; add it to controller.origins"))
        refusal.headers.update(marks)
        return refusal
    more = [name.strip() for name in asked.get("access-control-request-headers", "").split(",")]
    known = {name.lower() for name in ALLOWED}
    names = [*ALLOWED, *(name for name in more if name and name.lower() not in known)]
    granted = {
        "Access-Control-Allow-Methods": METHODS,
        "Access-Control-Allow-Headers": ", ".join(names),
        "Access-Control-Max-Age": MAX_AGE,
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
