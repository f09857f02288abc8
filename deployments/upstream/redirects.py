"""Build the request that a redirect asks for."""

from __future__ import annotations

from dataclasses import replace

from yarl import URL

from deployments.upstream.request import PORTS, Request, describe, origin
from graphs.errors import UpstreamFailed

STATUSES = frozenset({301, 302, 303, 307, 308})

_HARMLESS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""The headers that may follow a redirect to another origin; any other could be a credential."""
_OF_THE_BODY = frozenset({"content-type", "content-encoding", "content-language", "content-location"})


def redirected(request: Request, status: int, location: str) -> Request:
    """Return the request that a redirect asks for. Another origin gets no credentials."""
    url = _destination(request.url, location)
    same_origin = origin(url) == origin(request.url)
    headers = {name: value for name, value in request.headers.items() if same_origin or name.lower() in _HARMLESS}
    method, body = request.method, request.body
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        headers = {name: value for name, value in headers.items() if name.lower() not in _OF_THE_BODY}
        method, body = "GET", None
    moved = replace(request, method=method, url=url, headers=headers, body=body, where=describe(method, url))
    if not moved.repeatable:
        raise UpstreamFailed(
            f"redirected ({status}) to {describe(method, url)}, but a body that was streamed can't be sent twice; "
            "write that address in the document"
        )
    return moved


def _destination(url: str, location: str) -> str:
    """Resolve a Location. Credentials in it are ignored, because the upstream would choose them."""
    try:
        old = URL(url)
        new = old.join(URL(location))
        if new.scheme in PORTS and new.host:
            same = new.origin() == old.origin()
            return str(new.with_user(old.user).with_password(old.password) if same else new.with_user(None))
    except ValueError:
        raise UpstreamFailed("redirected to something that is not a URL") from None
    raise UpstreamFailed(f"redirected to a {new.scheme}: URL; expected http or https")
