"""Arguments that models write as something else than JSON -> what JSON says of them."""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from typing import Any, cast

KINDS: Mapping[str, tuple[type, ...]] = {
    "integer": (int,), "number": (int, float), "boolean": (bool,), "null": (type(None),), "object": (dict,), "array": (list,),
}  # fmt: skip
LITERALS = {"True": True, "False": False, "None": None}
QUOTE = '<|"|>'
"""Around a text, as Gemma writes it."""

_KEY = re.compile(r"\s*(?:\"([^\"]*)\"|([^:{}\[\],\"]+?))\s*:\s*")
_QUOTED = re.compile(r"'(?:\\.|[^'\\])*'|\"(?:\\.|[^\"\\])*\"", re.DOTALL)
_SCALAR = re.compile(r"[^,{}\[\]]+")


def typed(text: str, schema: Mapping[str, Any]) -> Any:
    """Return what a value means, written as bare text, to a tool whose schema says its type.

    A text stays one where the schema asks for texts alone. Text that is of none of the types is passed on as it is.
    """
    kinds = _kinds(schema)
    if kinds == {"string"}:
        return text
    value = _plain(text)
    if value is _NOTHING:
        return text
    if not kinds:
        return value
    # A whole number may be written as 3.0; booleans are no numbers, though Python says so.
    if isinstance(value, float) and value.is_integer() and "integer" in kinds and "number" not in kinds:
        value = int(value)
    allowed = [kind for kind in kinds for kind in KINDS.get(kind, ())]
    return value if type(value) in allowed else text


def pythonic(text: str) -> list[tuple[str, str]] | None:
    """Return the calls of a Python list of calls, each with its arguments as JSON; None when it is something else."""
    bare = _QUOTED.sub("", text)
    if bare.count("[") != bare.count("]") or "'" in bare or '"' in bare:
        return None  # cheaper than parsing: a long list is asked about at each of its brackets
    try:
        tree = ast.parse(text.strip(), mode="eval").body
    except (SyntaxError, ValueError, MemoryError, RecursionError):
        return None
    if not isinstance(tree, ast.List):
        return None
    calls: list[tuple[str, str]] = []
    for call in tree.elts:
        if not isinstance(call, ast.Call) or call.args:
            return None
        try:
            arguments = {str(each.arg): ast.literal_eval(each.value) for each in call.keywords if each.arg}
            calls.append((ast.unparse(call.func), json.dumps(arguments, ensure_ascii=False, allow_nan=False)))
        except (ValueError, TypeError, RecursionError):
            return None
    return calls


def shorthand(text: str) -> dict[str, Any] | None:
    """Return an object as Gemma writes it, keys without quotes and texts between marks; None when it is broken."""
    try:
        value, end = _shorthand(text, 0)
    except (ValueError, IndexError, RecursionError):
        return None
    return cast("dict[str, Any]", value) if isinstance(value, dict) and not text[end:].strip() else None


def _shorthand(text: str, at: int) -> tuple[Any, int]:
    """Read a value; return it and where it ends. Raises ValueError or IndexError for what is none."""
    at += len(text[at:]) - len(text[at:].lstrip())
    if text.startswith(QUOTE, at):
        end = text.index(QUOTE, at + len(QUOTE))
        return text[at + len(QUOTE) : end], end + len(QUOTE)
    if text[at] not in "{[":
        scalar = _SCALAR.match(text, at)
        if not scalar:
            raise ValueError(at)
        value = _plain(scalar[0].strip())
        return (scalar[0].strip() if value is _NOTHING else value), scalar.end()
    closing = "}" if text[at] == "{" else "]"
    members: dict[str, Any] = {}
    items: list[Any] = []
    at = _over_space(text, at + 1)
    while text[at] != closing:
        if closing == "}":
            key = _KEY.match(text, at)
            if not key:
                raise ValueError(at)
            members[key[1] if key[1] is not None else key[2]], at = _shorthand(text, key.end())
        else:
            item, at = _shorthand(text, at)
            items.append(item)
        at = _over_space(text, at)
        if text[at] == ",":
            at = _over_space(text, at + 1)
        elif text[at] != closing:
            raise ValueError(at)
    return (members if closing == "}" else items), at + 1


def _over_space(text: str, at: int) -> int:
    while text[at].isspace():
        at += 1
    return at


class _Nothing:
    """No value: the text is none."""


_NOTHING = _Nothing()


def _plain(text: str) -> Any:
    """Return what JSON or Python says of a value; `_NOTHING` for bare text."""
    text = text.strip()
    if text in LITERALS:
        return LITERALS[text]
    try:
        return json.loads(text, parse_constant=_refuse)
    except (ValueError, RecursionError):
        pass
    if not text.startswith(("{", "[", "(", "'")):
        return _NOTHING
    try:
        value = ast.literal_eval(text)
        json.dumps(value, allow_nan=False)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return _NOTHING
    return list(value) if isinstance(value, tuple) else value


def _refuse(constant: str) -> Any:
    raise ValueError(constant)


def _kinds(schema: Any) -> set[str]:
    """Return the types that a schema names; none where it leaves them open."""
    if not isinstance(schema, Mapping):
        return set()
    said = cast("Mapping[str, Any]", schema)
    types: str | list[str] = said.get("type") or []
    kinds: set[str] = {types} if isinstance(types, str) else set(types)
    for union in ("anyOf", "oneOf"):
        for each in said.get(union) or ():
            kinds |= _kinds(each)
    options = [*(said.get("enum") or ()), *([said["const"]] if "const" in said else ())]
    if not kinds and options and all(isinstance(each, str) for each in options):
        kinds = {"string"}
    if said.get("nullable"):
        kinds.add("null")
    return kinds
