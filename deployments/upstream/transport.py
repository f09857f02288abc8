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
    """An answer whose headers have come; its body may still be on the way."""

    @property
    def status(self) -> int: ...

    @property
    def method(self) -> str:
        """The method of the request: the answer to a HEAD has no body."""
        ...

    @property
    def url(self) -> str:
        """The URL that was called, without credentials."""
        ...

    @property
    def headers(self) -> Mapping[str, str]:
        """The headers; names are found in any case."""
        ...

    async def read(self) -> bytes:
        """Return the next bytes of the body, unpacked; empty at its end."""
        ...

    def close(self) -> None:
        """Release the connection: keep it for other calls if the body was read to its end, else close it."""
        ...


class Transport(Protocol):
    """Sends requests over connections of its own. A redirect is an answer like any other.

    It raises aiohttp's exceptions, TimeoutError and OSError.
    """

    async def send(self, request: Request) -> Response:
        """Return the response once its headers have come. When cancelled, close the connection."""
        ...

    async def close(self) -> None:
        """Close every connection."""
        ...


def content_type(response: Response) -> tuple[str, str]:
    """Return the type and the charset that a Content-Type names; an empty type if there is none."""
    header = response.headers.get("Content-Type")
    return ("", "utf-8") if header is None else _content_type(header)


@lru_cache(maxsize=256)
def _content_type(header: str) -> tuple[str, str]:
    message = Message()
    message["Content-Type"] = header
    kind = header.partition(";")[0].strip().lower()
    charset = message.get_param("charset", "utf-8")
    return kind if _KIND.fullmatch(kind) else "", charset if isinstance(charset, str) else "utf-8"
