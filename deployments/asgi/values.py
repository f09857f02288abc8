"""Values of a run in, JSON or UTF-8 out; and the JSON of a request in, its value out."""

from __future__ import annotations

import base64
import json
import math
import re
import sys
from typing import Any, NoReturn

from graphs.errors import BadRequest, ComponentFailed
from graphs.language import kind_of
from graphs.stream import Value

DEEPEST = 100
"""Containers within containers that a request may hold: more is no input but an attack on whoever walks it."""

_SURROGATES = re.compile("[\ud800-\udfff]")


def json_text(value: Value) -> str:
    """Return the value as JSON on one line, non-ASCII kept.

    NaN and the infinities, which JSON lacks, become null; bytes become text if they are UTF-8, else base64.
    """
    try:
        return _STRICT.encode(value)
    except TypeError as error:
        raise ComponentFailed(f"the output is no JSON ({error}); map it to one in `output`") from None
    except (ValueError, RecursionError):
        pass
    try:
        return _STRICT.encode(finite(value))
    except (ValueError, RecursionError) as error:
        if "integer string conversion" in str(error):
            said = f"the output has an integer of more than {sys.get_int_max_str_digits()} digits; map it to text in `output`"
            raise ComponentFailed(said) from None
        raise ComponentFailed("the output is nested too deep to be JSON, or holds itself; map it in `output`") from None


def json_bytes(value: Value) -> bytes:
    """Return the value as JSON in UTF-8; half a surrogate pair stays what it was, as an escape."""
    return json_text(value).encode("utf-8", "backslashreplace")


def utf8(text: str) -> bytes:
    """Return text in UTF-8; half a surrogate pair, which UTF-8 can't hold, becomes U+FFFD."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text).encode()


def base64_text(data: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(data).decode("ascii")


def finite(value: Any) -> Any:
    """Return the value with null for every number that JSON lacks."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case _:
            return value


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the mapping that a request's body is; raise BadRequest saying where it is no JSON."""
    value = parse_json(body)
    if not isinstance(value, dict):
        raise BadRequest(f"expected a JSON object, got {kind_of(value)}; write {{…}}")
    return value


def parse_json(body: bytes) -> Any:
    """Return the value that a request's body is; raise BadRequest saying where it is no JSON."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"the body is not UTF-8 (byte {error.start} is 0x{body[error.start]:02x}); send JSON in UTF-8"
        ) from None
    if not text.strip():
        raise BadRequest("expected JSON, got an empty body; write at least {}")
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite)
    except json.JSONDecodeError as error:
        raise BadRequest(
            f"the body is not JSON: {_lowered(error.msg)} at line {error.lineno}, column {error.colno}",
            line=error.lineno,
            column=error.colno,
        ) from None
    except RecursionError:
        raise BadRequest(_TOO_DEEP) from None
    except ValueError:  # Python reads integers up to a length
        digits = sys.get_int_max_str_digits()
        raise BadRequest(
            f"an integer in the body has more than {digits} digits; send fewer, or the number as text"
        ) from None
    if text.count("[") + text.count("{") > DEEPEST and _is_deep(value):
        raise BadRequest(_TOO_DEEP)
    return value


_TOO_DEEP = f"the body is nested deeper than {DEEPEST} levels; send flatter data"


def _plain(value: Any) -> Any:
    """Return what stands for a value that JSON lacks."""
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return base64_text(data)
    raise TypeError(f"it holds {type(value).__name__} values")


_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)


def _no_constant(name: str) -> NoReturn:
    raise BadRequest(f"the body is not JSON: {name} is no JSON; write null")


def _finite(text: str) -> float:
    number = float(text)
    if math.isfinite(number):
        return number
    shown = text if len(text) <= 20 else f"{text[:20]}…"
    raise BadRequest(
        f"the number {shown} in the body is too large for a double; send a smaller one, or the number as text"
    )


def _is_deep(value: Any) -> bool:
    level = [value]
    for _ in range(DEEPEST + 1):
        level = [
            inner
            for outer in level
            if isinstance(outer, dict | list)
            for inner in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return False
    return True


def _lowered(text: str) -> str:
    return text[:1].lower() + text[1:]
