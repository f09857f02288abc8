"""Write values as the text and the bytes of requests: bodies as their Content-Type says. Say what is wrong with a body."""

from __future__ import annotations

import binascii
import json
import mimetypes
import re
import secrets
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, cast
from urllib.parse import unquote_to_bytes, urlencode

from deployments.upstream.decoding import JSON_LINES, is_json, known_charset
from graphs.errors import InvalidInput
from graphs.stream import Value, kind_of

Scalar = str | int | float | bool | None
"""The value of a header or of a form field; null leaves it out."""

FORM = "application/x-www-form-urlencoded"
MULTIPART = "multipart/form-data"

_SOURCES = ("content", "base64", "url")
_FILE_KEYS = frozenset({*_SOURCES, "filename", "content_type"})
_WRITE = (
    "write text, a number, a boolean, or a file: {filename: a.png, content: …}, with base64 or url instead of content"
)
_TYPE = re.compile(r"[!#$&^_.+\-0-9A-Za-z]+/[!#$&^_.+\-0-9A-Za-z]+[\x20-\x7e]*")
_DATA_URL = re.compile(r"data:(?P<type>[^,]*?)(?P<base64>;\s*base64)?,(?P<data>.*)", re.IGNORECASE | re.DOTALL)
_IMAGES = (
    (b"\x89PNG\r\n\x1a\n", "image/png"),
    (b"\xff\xd8\xff", "image/jpeg"),
    (b"GIF8", "image/gif"),
    (b"BM", "image/bmp"),
)


@dataclass(frozen=True, slots=True)
class _Part:
    content: bytes
    filename: str | None = None
    content_type: str | None = None


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


def encode_parts(fields: Mapping[str, Value]) -> tuple[bytes, str]:
    """Return a multipart/form-data body, as the HTML standard writes it, and its Content-Type.

    Lists repeat their name, nulls are left out. aiohttp's writer is no substitute: it writes names that aren't ASCII as
    `name*=`, which browsers never do and few APIs read.
    """
    boundary = f"anabranch-{secrets.token_hex(16)}"
    lines: list[bytes] = []
    for name, value in fields.items():
        for item in items(value):
            part = _part(str(name), item)
            lines += [f"--{boundary}".encode(), *_headers(str(name), part), b"", part.content]
    lines += [f"--{boundary}--".encode(), b""]
    return b"\r\n".join(lines), f"multipart/form-data; boundary={boundary}"


def _part(name: str, value: Value) -> _Part:
    match value:
        case str() | int() | float() | bool():
            return _Part(spell(value).encode())
        case bytes():
            # Servers take a part without a filename for text.
            return _Part(value, name, _sniffed(value))
        case Mapping():
            return _file(name, cast("Mapping[str, Any]", value))
        case _:
            raise InvalidInput(f"expected a form field, got {kind_of(value)}; {_WRITE}", field=f"body.{name}")


def _file(name: str, file: Mapping[str, Any]) -> _Part:
    sources = [key for key in _SOURCES if file.get(key) is not None]
    if len(sources) != 1 or not _FILE_KEYS.issuperset(file):
        message = f"expected a form field, got a mapping of {', '.join(map(str, file)) or 'nothing'}; {_WRITE}"
        raise InvalidInput(message, field=f"body.{name}")
    (source,) = sources
    content, implied = _content(f"body.{name}.{source}", source, file[source])
    filename, given = file.get("filename"), file.get("content_type")
    for key, value in (("filename", filename), ("content_type", given)):
        if not isinstance(value, str | None):
            raise InvalidInput(f"expected text, got {kind_of(value)}", field=f"body.{name}.{key}")
    if given is not None and not _TYPE.fullmatch(given):
        raise InvalidInput("expected a type such as image/png", field=f"body.{name}.content_type")
    guessed = mimetypes.guess_type(filename)[0] if filename else None
    return _Part(content, filename or name, given or guessed or implied or _sniffed(content))


def _content(field: str, source: str, value: Value) -> tuple[bytes, str | None]:
    """Return the content of a file, and the type that follows from how it was given."""
    match source, value:
        case "content", bytes():
            return value, None
        case "content", str():
            return value.encode(), "text/plain; charset=utf-8"
        case "content", Mapping() | list():
            return json_bytes(value), "application/json"
        case "base64", str() | bytes():
            return _from_base64(field, value), None
        case "url", str():
            return _from_data_url(field, value)
        case _:
            expected = "text, bytes or JSON" if source == "content" else "text"
            raise InvalidInput(f"expected {expected}, got {kind_of(value)}", field=field)


def _from_base64(field: str, text: str | bytes) -> bytes:
    raw = text.encode("ascii", "replace") if isinstance(text, str) else text
    try:
        # Base64 often has line breaks; any other foreign character is a mistake.
        return binascii.a2b_base64(b"".join(raw.split()), strict_mode=True)
    except binascii.Error:
        raise InvalidInput("expected base64; raw bytes and text go under content", field=field) from None


def _from_data_url(field: str, url: str) -> tuple[bytes, str | None]:
    found = _DATA_URL.fullmatch(url)
    if found is None:
        expected = "expected a data: URL; a file behind another URL is fetched by a job of its own, with method: GET"
        raise InvalidInput(expected, field=field)
    data = unquote_to_bytes(found["data"])
    content = _from_base64(field, data) if found["base64"] else data
    type = found["type"].strip()
    return content, type if _TYPE.fullmatch(type) else None


def _sniffed(content: bytes) -> str:
    """Return the type of an image by its first bytes; APIs that take images refuse octet-stream."""
    if content[:4] == b"RIFF" and content[8:12] == b"WEBP":
        return "image/webp"
    return next((type for magic, type in _IMAGES if content.startswith(magic)), "application/octet-stream")


def _headers(name: str, part: _Part) -> list[bytes]:
    disposition = f'Content-Disposition: form-data; name="{_quoted(name)}"'
    if part.filename is not None:
        disposition += f'; filename="{_quoted(part.filename)}"'
    lines = [disposition.encode()]
    if part.content_type is not None:
        lines.append(f"Content-Type: {part.content_type}".encode())
    return lines


def _quoted(text: str) -> str:
    """Escape as browsers do, so that no character ends the name or the line."""
    return text.replace("\r", "%0D").replace("\n", "%0A").replace('"', "%22").replace("\0", "%00")


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


def items(value: Value) -> Sequence[Value]:
    """Return the values of one name, without nulls."""
    if isinstance(value, list | tuple):
        return [item for item in cast("Sequence[Value]", value) if item is not None]
    return () if value is None else (value,)


def json_bytes(value: Value) -> bytes:
    """Write a value as JSON on one line, without escapes."""
    try:
        text = json.dumps(value, ensure_ascii=False, allow_nan=False, separators=(",", ":"))
    except (TypeError, ValueError) as error:
        hint = "; write bytes `as base64`" if isinstance(error, TypeError) else ""
        raise InvalidInput(f"the body can't be written as JSON: {error}{hint}", field="body") from None
    return text.encode()


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
    for name, value in headers.items():
        if name.lower() == "content-type":
            return value
    return None


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
