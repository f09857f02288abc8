"""Build a Request from the URL, headers, parameters and body of an action: checked, encoded, safe to send."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urldefrag, urlencode, urlsplit, urlunsplit

from deployments.upstream.bodies import Scalar, content_type_of, encode_body, pairs, spell
from deployments.upstream.uploads import Upload
from graphs.errors import InvalidInput
from graphs.stream import Value

PORTS = {"http": 80, "https": 443}

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UNSAFE = re.compile(r"[\x00-\x08\x0a-\x1f\x7f\ud800-\udfff]")
_UNWRITABLE = re.compile(r"[\x00-\x1f\x7f#]")
"""What a URL parser would drop from a path: line breaks, tabs, and all that follows a `#`."""
_DOT = r"(?:\.|%(?:25)*2e)"
_BREAK = r"(?:[/\\;]|%(?:25)*(?:2f|5c|3b|00))"
_DROPPED = r"(?:%(?:25)*0[9ad])*"
_CLIMBS = re.compile(rf"(?:^|{_BREAK}){_DROPPED}(?:{_DOT}{_DROPPED}){{2}}(?:$|{_BREAK})", re.IGNORECASE)
"""`..` as any server might read it: one decodes before it splits, another splits at `\\`, or drops line breaks and tabs,
or what follows a `;`."""
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "connection", "expect"})
"""Written by the HTTP client itself. Others could smuggle a second request, or wait for a `100 Continue` that never comes."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call to an upstream."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | Upload | None

    @property
    def where(self) -> str:
        """Its name in messages: `POST api.openai.com/v1/chat/completions`, never its query or credentials."""
        parts = urlsplit(self.url)
        return f"{self.method} {parts.netloc.rpartition('@')[2]}{parts.path}"

    @property
    def repeatable(self) -> bool:
        """Whether it can be sent again: an upload that has begun can't."""
        return not (isinstance(self.body, Upload) and self.body.begun)

    async def aclose(self) -> None:
        """Stop the source of an upload that was never sent."""
        if isinstance(self.body, Upload):
            await self.body.aclose()


def build_request(
    method: str, url: str, headers: Mapping[str, str], params: Mapping[str, Value] | None, body: Value | Upload
) -> Request:
    """Return the request to send. `headers` come from `merge_headers`, and the body holds no stream any more."""
    content: bytes | Upload | None = None
    try:
        if body is not None:
            given = content_type_of(headers)
            content, kind = (body, body.content_type) if isinstance(body, Upload) else encode_body(body, given)
            if kind != given:
                headers = merge_headers(headers, {"Content-Type": kind})
        return Request(method, with_params(url, params), headers, content)
    except UnicodeEncodeError:
        raise InvalidInput("the request holds half a character (a lone surrogate), which can't be sent") from None


def origin(url: str) -> tuple[str, str, int | None]:
    """Return scheme, host and port."""
    parts = urlsplit(url)
    return parts.scheme, parts.hostname or "", parts.port or PORTS.get(parts.scheme)


def join_url(base: str, path: str) -> str:
    """Put a path under a base URL: it stays on that host, both queries are kept, and a `#` is part of the path."""
    root = urlsplit(base)
    above = f"{root.path.rstrip('/')}/"
    below, _, query = _UNWRITABLE.sub(lambda found: f"%{ord(found[0]):02X}", path).partition("?")
    queries = "&".join(part for part in (root.query, query) if part)
    url = urlunsplit((root.scheme, root.netloc, above + below.lstrip("/"), queries, ""))
    # Checked as it is joined, not as it was written.
    if _CLIMBS.search(urlsplit(url).path[len(above) :]):
        raise InvalidInput("expected a path that stays under base_url, got one with '..' in it", field="path")
    return url


def path_mistake(path: Any) -> str | None:
    """Return what is wrong with a path under any base URL; None if nothing is, or it isn't text yet."""
    try:
        if isinstance(path, str):
            join_url("http://host", path)
    except InvalidInput as error:
        return error.message
    return None


def web_url(text: str) -> str:
    """Return an absolute http(s) URL, or raise a ValueError that says what to write."""
    if _UNSAFE.search(text) or any(char.isspace() for char in text):
        raise ValueError("expected a URL without spaces or control characters; write https://api.example.com")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError as error:
        raise ValueError(f"expected a URL: {error}; write https://api.example.com") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a full URL that begins with http:// or https://; write https://api.example.com")
    return text


def merge_headers(*layers: Mapping[str, Scalar]) -> dict[str, str]:
    """Merge headers, whatever their case: later ones win, and a later null removes a header."""
    merged: dict[str, tuple[str, Scalar]] = {}
    for layer in layers:
        for name, value in layer.items():
            merged[name.lower()] = (name, value)
    return {name: _header(name, value) for name, value in merged.values() if value is not None}


def header_mistakes(headers: Any, field: str = "headers") -> Iterator[tuple[str, str]]:
    """Yield (field, message) for headers that can't be sent; values that aren't text yet are not checked."""
    for name, value in cast("Mapping[str, Any]", headers).items() if isinstance(headers, Mapping) else ():
        if message := _header_mistake(name, value if isinstance(value, str) else ""):
            yield f"{field}.{name}", message


def with_params(url: str, params: Mapping[str, Value] | None) -> str:
    """Add query parameters: lists repeat their name, nulls are left out. The fragment, which is never sent, is cut."""
    if "#" in url:
        url = urldefrag(url).url
    query = urlencode(list(pairs(params, "params")), quote_via=quote) if params else ""
    if not query:
        return url
    if "?" not in url:
        return f"{url}?{query}"
    return f"{url}&{query}" if urlsplit(url).query else f"{url.rstrip('?')}?{query}"


def _header(name: str, value: Scalar) -> str:
    text = spell(value).strip(" \t")
    if message := _header_mistake(name, text):
        raise InvalidInput(f"header {name!r}: {message}", field=f"headers.{name}")
    return text


def _header_mistake(name: str, value: str) -> str | None:
    if not _TOKEN.fullmatch(name):
        return "expected a header name: letters, digits and dashes"
    if name.lower() in _OWN_HEADERS:
        return "this header is written by the HTTP client itself; leave it out"
    if _UNSAFE.search(value):
        return "expected a value on one line, got one with a control character or half a character in it"
    return None
