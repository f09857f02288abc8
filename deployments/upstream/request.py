"""A URL, headers, parameters and a body as an action gives them become a Request: checked, encoded, safe to send."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import quote, urlencode, urlsplit, urlunsplit

from graphs.errors import InvalidInput
from graphs.stream import Value

Scalar = str | int | float | bool | None
"""What a header or a form field may hold; null leaves it out."""

FORM = "application/x-www-form-urlencoded"

_TOKEN = re.compile(r"[!#$%&'*+\-.^_`|~0-9A-Za-z]+")
_UNSAFE = re.compile(r"[\r\n\0\ud800-\udfff]")
_OWN_HEADERS = frozenset({"content-length", "transfer-encoding", "connection"})
"""Written by the HTTP client itself; another's would let a caller smuggle a second request."""


@dataclass(frozen=True, slots=True)
class Request:
    """One call to an upstream. `where` names it for messages: no credentials, no query."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes | None
    where: str


def build_request(
    method: str, url: str, headers: Mapping[str, str], params: Mapping[str, Value] | None, body: Value
) -> Request:
    """Return the request to send; `headers` have been through `merge_headers`."""
    headers = dict(headers)
    try:
        content = None if body is None else encode_body(body, headers)
        return Request(method, with_params(url, params), headers, content, describe(method, url))
    except UnicodeEncodeError:
        raise InvalidInput("the request holds half a character (a lone surrogate), which can't be sent") from None


def describe(method: str, url: str) -> str:
    """Name a request for a message: `POST api.openai.com/v1/chat/completions`, never its query or credentials."""
    parts = urlsplit(url)
    return f"{method} {parts.netloc.rpartition('@')[2]}{parts.path}"


def join_url(base: str, path: str) -> str:
    """Put a path under a base URL: always on its host, both queries kept."""
    root = urlsplit(base)
    rest = urlsplit(f"http://host/{path.lstrip('/')}")
    query = "&".join(part for part in (root.query, rest.query) if part)
    return urlunsplit((root.scheme, root.netloc, root.path.rstrip("/") + rest.path, query, ""))


def web_url(text: str) -> str:
    """Return an absolute http(s) URL, or raise a ValueError that says what to write."""
    if _UNSAFE.search(text) or any(char.isspace() for char in text):
        raise ValueError("expected a URL without spaces or line breaks; write https://api.example.com")
    try:
        parts = urlsplit(text)
        parts.port  # noqa: B018  (reading it is what checks it)
    except ValueError as error:
        raise ValueError(f"expected a URL: {error}; write https://api.example.com") from None
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise ValueError("expected a full URL that begins with http:// or https://; write https://api.example.com")
    return text


def merge_headers(*layers: Mapping[str, Scalar]) -> dict[str, str]:
    """Lay headers over each other, whatever their case; a later null takes a header away."""
    merged: dict[str, tuple[str, Scalar]] = {}
    for layer in layers:
        for name, value in layer.items():
            merged[name.lower()] = (name, value)
    return {name: _header(name, value) for name, value in merged.values() if value is not None}


def header_mistakes(headers: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield (name, message) for headers that can't be sent; values that aren't text yet are left alone."""
    for name, value in headers.items():
        if message := _header_mistake(name, value if isinstance(value, str) else ""):
            yield name, message


def spell(value: Scalar) -> str:
    """Write a scalar as text, booleans as JSON does."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def with_params(url: str, params: Mapping[str, Value] | None) -> str:
    """Add query parameters: lists repeat their name, null ones are left out."""
    query = urlencode(list(_pairs(params or {}, "params")), quote_via=quote)
    if not query:
        return url
    return f"{url}&{query}" if urlsplit(url).query else f"{url.rstrip('?')}?{query}"


def encode_body(body: Value, headers: dict[str, str]) -> bytes:
    """Encode a body as its Content-Type header says; without one it is JSON (bytes: octet-stream), and it is set."""
    given = next((value for name, value in headers.items() if name.lower() == "content-type"), None)
    if given is None:
        headers["Content-Type"] = "application/octet-stream" if isinstance(body, bytes) else "application/json"
        return body if isinstance(body, bytes) else _json(body)
    kind = given.partition(";")[0].strip().lower()
    if isinstance(body, bytes):
        return body
    if kind == "application/json" or kind.endswith("+json"):
        return _json(body)
    if kind == FORM and isinstance(body, Mapping):
        return urlencode(list(_pairs(cast("Mapping[str, Value]", body), "body"))).encode()
    if isinstance(body, str):
        return body.encode()
    raise InvalidInput(f"expected text or bytes for Content-Type {kind}, got {_named(body)}", field="body")


def _json(body: Value) -> bytes:
    try:
        return json.dumps(body, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except TypeError as error:
        hint = "bytes go in `as base64`"
        raise InvalidInput(f"the body can't be written as JSON: {error}; {hint}", field="body") from None
    except ValueError as error:
        raise InvalidInput(f"the body can't be written as JSON: {error}", field="body") from None


def _pairs(fields: Mapping[str, Value], field: str) -> Iterator[tuple[str, str]]:
    for name, value in fields.items():
        values = cast("Sequence[Value]", value) if isinstance(value, list | tuple) else [value]
        for item in values:
            if item is None:
                continue
            if not isinstance(item, str | int | float | bool):
                expected = "expected text, a number, a boolean or a list of them"
                raise InvalidInput(f"{expected}, got {_named(item)}", field=f"{field}.{name}")
            yield name, spell(item)


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
        return "expected a value on one line, got one with a line break, a NUL or half a character in it"
    return None


def _named(value: Value) -> str:
    match value:
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case bytes():
            return "bytes"
        case _:
            return f"a value of type {type(cast('object', value)).__name__}"
