"""Write the values of a run as JSON; read the JSON of a request, and check its fields."""

from __future__ import annotations

import base64
import json
import math
import re
import sys
from collections import Counter
from collections.abc import Mapping
from typing import Any, NoReturn, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from graphs.errors import BadRequest, ComponentFailed, InvalidInput
from graphs.language import kind_of
from graphs.stream import Value
from graphs.suggest import closest
from graphs.validation import expectation

DEEPEST = 100
"""How many levels of objects and lists a request may have: deeper ones are attacks on code that walks them."""

M = TypeVar("M", bound=BaseModel)

_SURROGATES = re.compile("[\ud800-\udfff]")


def json_text(value: Value) -> str:
    """Return the value as JSON on one line, non-ASCII characters kept.

    NaN and the infinities become null, for JSON has no such numbers; bytes become text if they are UTF-8, else base64.
    """
    try:
        return _STRICT.encode(value)
    except TypeError as error:
        raise ComponentFailed(f"the output can't be written as JSON: {error}; convert it in `output`") from None
    except (ValueError, RecursionError):
        pass
    try:
        return _STRICT.encode(finite(value))
    except (ValueError, RecursionError) as error:
        if "integer string conversion" in str(error):
            raise ComponentFailed(
                f"the output has an integer of more than {sys.get_int_max_str_digits()} digits; convert it to text in `output`"
            ) from None
        raise ComponentFailed(
            "the output is nested too deeply to be JSON, or contains itself; choose a part of it in `output`"
        ) from None


def json_bytes(value: Value) -> bytes:
    """Return the value as JSON in UTF-8; half a surrogate pair is written as an escape."""
    return json_text(value).encode("utf-8", "backslashreplace")


def utf8(text: str) -> bytes:
    """Return text in UTF-8; half a surrogate pair becomes U+FFFD, for UTF-8 can't write it."""
    try:
        return text.encode()
    except UnicodeEncodeError:
        return _SURROGATES.sub("\ufffd", text).encode()


def base64_text(data: bytes) -> str:
    """Return bytes as base64."""
    return base64.b64encode(data).decode("ascii")


def finite(value: Any) -> Any:
    """Return the value with null in place of NaN and the infinities."""
    match value:
        case float():
            return value if math.isfinite(value) else None
        case dict():
            return {key: finite(item) for key, item in value.items()}
        case list() | tuple():
            return [finite(item) for item in value]
        case _:
            return value


def shortened(text: str) -> str:
    """Return a text of the client's as a message shows it."""
    return text if len(text) <= 80 else f"{text[:79]}…"


def parse_object(body: bytes) -> dict[str, Any]:
    """Return the JSON object in a request's body; raise BadRequest saying what is wrong with it."""
    try:
        text = body.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise BadRequest(
            f"the body is not UTF-8 (byte {error.start} is 0x{body[error.start]:02x}); send JSON in UTF-8"
        ) from None
    if not text.strip():
        raise BadRequest("expected JSON, got an empty body; write at least {}")
    try:
        value = json.loads(text, parse_constant=_no_constant, parse_float=_finite, object_pairs_hook=_once_each)
    except json.JSONDecodeError as error:
        wrong = error.msg[:1].lower() + error.msg[1:]
        raise BadRequest(
            f"the body is not JSON: {wrong} at line {error.lineno}, column {error.colno}",
            line=error.lineno,
            column=error.colno,
        ) from None
    except RecursionError:
        raise BadRequest(_TOO_DEEP) from None
    except ValueError:  # Python limits the length of integers
        digits = sys.get_int_max_str_digits()
        raise BadRequest(
            f"an integer in the body has more than {digits} digits; send fewer, or the number as text"
        ) from None
    if text.count("[") + text.count("{") > DEEPEST and _is_deep(value):
        raise BadRequest(_TOO_DEEP)
    if not isinstance(value, dict):
        raise BadRequest(f"expected a JSON object, got {kind_of(value)}; write {{…}}")
    return value


_TOO_DEEP = f"the body is nested deeper than {DEEPEST} levels; send flatter data"


def _plain(value: Any) -> Any:
    """Return what is written for a value that JSON lacks."""
    if isinstance(value, bytes | bytearray | memoryview):
        data = bytes(value)
        try:
            return data.decode()
        except UnicodeDecodeError:
            return base64_text(data)
    raise TypeError(f"it contains values of type {type(value).__name__}")


_STRICT = json.JSONEncoder(ensure_ascii=False, allow_nan=False, default=_plain)


def _no_constant(name: str) -> NoReturn:
    raise BadRequest(f"the body is not JSON: JSON has no {name}; write null")


def _once_each(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """Return an object of these keys; refuse a repeated one, of which Python would keep the last without a word."""
    fields = dict(pairs)
    if len(fields) < len(pairs):
        count = Counter(key for key, _ in pairs)
        key = shortened(next(key for key in count if count[key] > 1))
        raise BadRequest(f"the key '{key}' is repeated in an object of the body; write it once", key=key)
    return fields


def _finite(text: str) -> float:
    number = float(text)
    if math.isfinite(number):
        return number
    raise BadRequest(
        f"the number {shortened(text)} in the body is too large for a double; send a smaller one, or the number as text"
    )


def _is_deep(value: Any) -> bool:
    level: list[Any] = [value]
    for _ in range(DEEPEST + 1):
        inside = [item for outer in level if type(outer) is dict for item in outer.values()]
        level = inside + [item for outer in level if type(outer) is list for item in outer]
        if not level:
            return False
    return True


def validated(model: type[M], fields: Mapping[str, Any]) -> M:
    """Return the model with these fields; raise InvalidInput that names every field that is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as invalid:
        said = [(_dotted(error), _said(error, model)) for error in invalid.errors(include_url=False)]
        raise InvalidInput("; ".join(message for _, message in said), field=said[0][0]) from None


def _said(error: ErrorDetails, model: type[BaseModel]) -> str:
    field = _dotted(error)
    if error["type"] == "extra_forbidden":
        known = [field.alias or name for name, field in model.model_fields.items()]
        near = closest(field, known)
        hint = f"did you mean '{near}'?" if near else f"the fields are {', '.join(known)}"
        return f"unknown field '{field}'; {hint}"
    if error["type"] == "missing":
        return f"'{field}' is missing"
    if error["type"] == "value_error":
        return f"{field}: {error['msg'].removeprefix('Value error, ')}"
    return f"{field}: expected {expectation(error)}, got {kind_of(error['input'])}"


def _dotted(error: ErrorDetails) -> str:
    return ".".join(str(part) for part in error["loc"])
