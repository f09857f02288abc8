"""Encode a body as its Content-Type says; say what is wrong with a body for its type."""

from __future__ import annotations

from collections.abc import Mapping
from typing import cast
from urllib.parse import urlencode

from deployments.upstream.decoding import JSON_LINES, is_json
from deployments.upstream.multipart import encode_parts
from deployments.upstream.spelling import charset_in, encode_text, json_bytes, kind_in, pairs
from graphs.errors import InvalidInput
from graphs.stream import Value, kind_of

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"


def needs_whole(content_type: str) -> bool:
    """Return whether a body of this type can be written only as a whole."""
    kind = kind_in(content_type)
    return is_json(kind) or kind in (FORM, MULTIPART)


def encode_body(body: Value, content_type: str | None) -> tuple[bytes, str]:
    """Return the encoded body and its Content-Type. Without a type, bytes are sent as they are and anything else as JSON."""
    if content_type is None:
        return (body, "application/octet-stream") if isinstance(body, bytes) else (json_bytes(body), "application/json")
    if isinstance(body, bytes):
        return body, content_type
    if message := body_mistake(body, content_type):
        raise InvalidInput(message, field="body")
    kind = kind_in(content_type)
    if is_json(kind):
        return json_bytes(body), content_type
    if isinstance(body, str):
        return encode_text(body, charset_in(content_type)), content_type
    if kind in JSON_LINES:
        return b"".join(json_bytes(item) + b"\n" for item in body), content_type
    if kind == MULTIPART:
        return encode_parts(body)
    return urlencode(list(pairs(body, "body"))).encode(), content_type


def body_mistake(body: Value, content_type: str) -> str | None:
    """Return what is wrong with a body for its type; None if nothing is, or the value is still a binding."""
    kind = kind_in(content_type)
    if is_json(kind) or not isinstance(body, str | int | float | Mapping | list):
        return None
    value = cast("Value", body)
    if kind == MULTIPART:
        whole = isinstance(value, str) and "boundary=" in content_type
        fits, expected = whole or isinstance(value, Mapping), "a mapping of fields"
    elif kind == FORM:
        fits, expected = isinstance(value, Mapping | str), "a mapping of fields"
    elif kind in JSON_LINES:
        fits, expected = isinstance(value, list | str), "a list, for one value a line"
    else:
        fits, expected = isinstance(value, str), "text or bytes"
    return None if fits else f"expected {expected} for Content-Type {kind}, got {kind_of(value)}"
