"""A value and a type -> the value converted, or Unfit."""

from __future__ import annotations

import binascii
import json
import math
from collections.abc import Callable, Mapping
from typing import Any

from graphs.language.nodes import MEDIA, STREAMED, Type, options
from graphs.language.operators import FALSE_WORDS, Unfit, to_text
from graphs.language.scalars import number_of
from graphs.stream import Value, kind_of

TRUE_WORDS = frozenset({"true", "1", "yes", "on"})

SHOWN_LENGTH = 40
"""Longer texts and numbers, and containers, are named by their type alone."""

AS_IT_IS = "; write as text to keep it as it is, or in a workflow's output as json;sse-json to send it as JSON"

Cast = Callable[[Value], Value]


def cast(type: Type) -> Cast:
    """Return what converts a value to `type`. Null stays null, so that a default can apply.

    `json` with a format of streams parses nothing: it says how the value is written.
    """
    if type.name == "json" and type.format in STREAMED:
        return _unchanged
    convert = _select(options(type)) if type.name == "select" else _CASTS.get(type.name)
    if convert is None:
        return _unchanged
    return lambda value: None if value is None else convert(value)


def _to_json(value: Value) -> Value:
    """Parse text as JSON; what isn't text is a JSON value already."""
    return _parsed(value, "JSON text", AS_IT_IS) if isinstance(value, str | bytes) else value


def _unchanged(value: Value) -> Value:
    return value


def _to_integer(value: Value) -> int:
    number = _number(value)
    if isinstance(number, float) and number.is_integer():
        return int(number)
    if not isinstance(number, int):
        raise _unfit_scalar("an integer", value)
    return number


def _to_number(value: Value) -> int | float:
    number = _number(value)
    if number is None:
        raise _unfit_scalar("a number", value)
    return number


def _number(value: Value) -> int | float | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return value if isinstance(value, int) or math.isfinite(value) else None
    return number_of(to_text(value).strip()) if isinstance(value, str | bytes) else None


def _to_boolean(value: Value) -> bool:
    if isinstance(value, bool):
        return value
    if isinstance(value, str | bytes):
        word = to_text(value).strip().casefold()
        if word in TRUE_WORDS or word in FALSE_WORDS - {""}:
            return word in TRUE_WORDS
    elif isinstance(value, int | float) and value in (0, 1):
        return value == 1
    raise _unfit_scalar("a boolean (true, 1, yes, on, false, 0, no or off)", value)


def _to_list(value: Value) -> Value:
    if isinstance(value, tuple):
        return list(value)
    return _container(value, list, "a list, or JSON text of one")


def _to_object(value: Value) -> Value:
    return _container(value, Mapping, "a mapping, or JSON text of one")


def _container(value: Value, kind: type[Any], expected: str) -> Value:
    parsed = _parsed(value, expected) if isinstance(value, str | bytes) else value
    if isinstance(parsed, kind):
        return parsed
    raise Unfit(f"expected {expected}, got {kind_of(value) if parsed is value else f'JSON text of {kind_of(parsed)}'}")


def _to_base64(value: Value) -> str:
    if isinstance(value, str):
        value = value.encode("utf-8", "replace")
    if not isinstance(value, bytes):
        raise Unfit(f"expected text or bytes, got {kind_of(value)}")
    return binascii.b2a_base64(value, newline=False).decode("ascii")


def _select(choices: tuple[str, ...]) -> Cast:
    def chosen(value: Value) -> Value:
        plain = isinstance(value, str | int | float)
        if not plain or to_text(value) not in choices:
            raise _unfit_scalar(f"one of {', '.join(choices)}", value)
        return value

    return chosen


_CASTS: dict[str, Cast | None] = {
    "text": to_text,
    "string": to_text,
    "integer": _to_integer,
    "number": _to_number,
    "boolean": _to_boolean,
    "json": _to_json,
    "list": _to_list,
    "object": _to_object,
    "base64": _to_base64,
    **dict.fromkeys(MEDIA),
}


def _parsed(text: str | bytes, expected: str, hint: str = "") -> Value:
    try:
        return json.loads(to_text(text), parse_constant=_no_constant)
    except (ValueError, RecursionError) as error:
        where = f" ({error.msg} at {error.pos})" if isinstance(error, json.JSONDecodeError) else ""
        raise Unfit(f"expected {expected}, got text that is not JSON{where}{hint}") from None


def _no_constant(name: str) -> Value:
    raise ValueError(f"{name} is not JSON")


def _unfit_scalar(expected: str, value: Value) -> Unfit:
    return Unfit(f"expected {expected}, got {kind_of(value)}", _shown(value))


def _shown(value: Value) -> str | None:
    """Return a value short and plain enough for a message."""
    match value:
        case str() if len(value) <= SHOWN_LENGTH:
            return repr(value)
        case bool() | float():
            return str(value).lower()
        case int() if abs(value) < 10**SHOWN_LENGTH:
            return str(value)
        case _:
            return None
