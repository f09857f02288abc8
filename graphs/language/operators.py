"""Values as expressions see them: whole, spliced into text, judged true, compared, and named by their kind."""

from __future__ import annotations

import json
from collections.abc import Mapping

from graphs.stream import Stream, Value, kind_of

FALSE_WORDS = frozenset({"false", "0", "no", "off"})


class Unfit(Exception):
    """A value that an expression or a conversion can't use; becomes a BindingFailed that names the binding."""

    def __init__(self, message: str, shown: str | None = None) -> None:
        super().__init__(message)
        self.message = message
        self.shown = shown
        """The value, when it is short and plain."""


class NeedsWhole(Exception):
    """An expression needs a stream whole; `render` joins it and tries again."""

    def __init__(self, stream: Stream) -> None:
        super().__init__("a stream is needed whole")
        self.stream = stream


def whole(value: Value) -> Value:
    """Return `value`, and a stream's joined value; raise NeedsWhole for a stream not joined yet."""
    if not isinstance(value, Stream):
        return value
    if value.joined is None:
        raise NeedsWhole(value)
    return value.joined[0]


def splice(value: Value) -> str:
    """Return `value` as it stands in the middle of a text."""
    return "" if value is None else to_text(value)


def to_text(value: Value) -> str:
    """Return `value` as text: booleans as true/false, containers as JSON with non-ASCII kept."""
    match value:
        case str():
            return value
        case bool():
            return "true" if value else "false"
        case bytes():
            return value.decode("utf-8", "replace")
        case Stream():
            return splice(whole(value))
        case _:
            return _json_text(value)


def truth(value: Value) -> bool:
    """Whether a condition holds: null, false, 0, "", "false", "0", "no", "off" and empty containers don't."""
    value = whole(value)
    if isinstance(value, str):
        word = value.strip().casefold()
        return bool(word) and word not in FALSE_WORDS
    return bool(value)


def equal(left: Value, right: Value) -> bool:
    """Whether two values are the same; a boolean equals no number, and nothing equals a value of another kind."""
    left, right = whole(left), whole(right)
    if isinstance(left, Mapping) and isinstance(right, Mapping):
        return left.keys() == right.keys() and all(equal(item, right[key]) for key, item in left.items())
    if isinstance(left, list | tuple) and isinstance(right, list | tuple):
        return len(left) == len(right) and all(map(equal, left, right))
    if isinstance(left, bool) or isinstance(right, bool):
        return left is right
    return bool(left == right)


def contains(container: Value, item: Value) -> bool:
    """`item in container`: a part of a text, a member of a list, a key of a mapping; nothing is in null."""
    container, item = whole(container), whole(item)
    match container:
        case None:
            return False
        case str():
            return isinstance(item, str) and item in container
        case list() | tuple():
            return any(equal(item, member) for member in container)
        case Mapping():
            return isinstance(item, str) and item in container
        case _:
            raise Unfit(f"expected text, a list or a mapping after 'in', got {kind_of(container)}")


def _json_text(value: Value) -> str:
    try:
        return json.dumps(value, ensure_ascii=False, allow_nan=False, default=_json_leaf)
    except (ValueError, TypeError, RecursionError):
        raise Unfit(f"expected what JSON can say, got {kind_of(value)} that it can't") from None


def _json_leaf(value: Value) -> Value:
    """Return the JSON-like value of what `json` doesn't know."""
    match value:
        case Stream():
            return whole(value)
        case bytes():
            return to_text(value)
        case Mapping():
            return dict(value)
        case _:
            raise TypeError(kind_of(value))
