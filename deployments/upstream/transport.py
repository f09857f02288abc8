"""What an exchange needs of HTTP: a Request goes out, a Response comes back when its headers have come."""

from __future__ import annotations

import re
from collections.abc import Mapping
from email.message import Message
from functools import lru_cache
from typing import Protocol

from deployments.upstream.request import Request

_KIND = re.compile(r"[^\s/;]+/[^\s/;]+")


class Response(Protocol):
    """An answer whose headers have come, and whose body is on its way."""

    @property
    def status(self) -> int: ...

    @property
    def method(self) -> str:
        """The method that was answered: to a HEAD there is no body."""
        ...

    @property
    def url(self) -> str:
        """What was called, without credentials."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """Names in any case find their header."""
        ...

    async def read(self) -> bytes:
        """Return the next bytes of the body, unpacked; none at its end."""
        ...

    def close(self) -> None:
        """Let go: of a body read to its end the connection is kept for other calls, else it is cut."""
        ...


class Transport(Protocol):
    """Sends requests over connections of its own; redirects are answers like any other.

    It raises what aiohttp raises, TimeoutError and OSError among it.
    """

    async def send(self, request: Request) -> Response:
        """Return the response; cancelled, it closes the connection."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def content_type(response: Response) -> tuple[str, str]:
    """Return the type and the charset that a Content-Type names; no type where it is missing or none."""
    header = response.headers.get("Content-Type")
    return ("", "utf-8") if header is None else _content_type(header)


@lru_cache(maxsize=256)
def _content_type(header: str) -> tuple[str, str]:
    message = Message()
    message["Content-Type"] = header
    kind = header.partition(";")[0].strip().lower()
    charset = message.get_param("charset", "utf-8")
    return kind if _KIND.fullmatch(kind) else "", charset if isinstance(charset, str) else "utf-8"
