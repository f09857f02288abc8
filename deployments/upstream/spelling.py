"""Write values as the text and the bytes of requests."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping, Sequence
from typing import cast

from deployments.upstream.decoding import known_charset
from graphs.errors import InvalidInput
from graphs.stream import Value, kind_of

Scalar = str | int | float | bool | None
"""The value of a header or of a form field; null leaves it out."""


def spell(value: Scalar) -> str:
    """Write a scalar as text, booleans as JSON does."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def pairs(fields: Mapping[str, Value], field: str) -> Iterator[tuple[str, str]]:
    """Yield the (name, text) pairs of a form or a query: lists repeat their name, nulls are left out."""
    for name, value in fields.items():
        for item in items(value):
            if not isinstance(item, str | int | float | bool):
                expected = "expected text, a number, a boolean or a list of them"
                raise InvalidInput(f"{expected}, got {kind_of(item)}", field=f"{field}.{name}")
            yield name, spell(item)


def items(value: Value) -> Iterator[Value]:
    """Yield the values of one name, without nulls."""
    for item in cast("Sequence[Value]", value) if isinstance(value, list | tuple) else [value]:
        if item is not None:
            yield item


def json_bytes(value: Value) -> bytes:
    """Write a value as JSON on one line, without escapes."""
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":")).encode()
    except UnicodeEncodeError:
        raise
    except TypeError as error:
        hint = "write bytes `as base64`"
        raise InvalidInput(f"the body can't be written as JSON: {error}; {hint}", field="body") from None
    except ValueError as error:
        raise InvalidInput(f"the body can't be written as JSON: {error}", field="body") from None


def encode_text(text: str, charset: str) -> bytes:
    """Encode a body of text, or a piece of one."""
    try:
        return text.encode(charset)
    except UnicodeEncodeError:
        if charset == "utf-8":
            raise
        raise InvalidInput(f"the body holds characters that {charset} can't write; send utf-8", field="body") from None


def content_type_of(headers: Mapping[str, str]) -> str | None:
    """Return the Content-Type among headers named in any case."""
    return next((value for name, value in headers.items() if name.lower() == "content-type"), None)


def kind_in(content_type: str) -> str:
    """Return `text/csv` of `text/csv; charset=utf-8`."""
    return content_type.partition(";")[0].strip().lower()


def charset_in(content_type: str) -> str:
    """Return the charset that a Content-Type names, or UTF-8."""
    for parameter in content_type.split(";")[1:]:
        name, _, value = parameter.partition("=")
        if name.strip().lower() == "charset":
            return known_charset(value.strip(" \t\"'").lower())
    return "utf-8"
