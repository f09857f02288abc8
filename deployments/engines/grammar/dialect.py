"""The JSON Schema that can be enforced: other keywords are refused, and those that ask nothing are left out."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from decimal import Decimal
from math import lcm
from typing import Any

from graphs.suggest import closest

NAMED = ("properties", "patternProperties", "$defs", "definitions")
"""Keywords of schemas by name…"""
LISTED = ("items", "prefixItems", "allOf", "anyOf", "oneOf")
"""…in a list…"""
SINGLE = ("items", "additionalItems", "additionalProperties")
"""…and alone."""
BOUNDS = ("minimum", "maximum", "exclusiveMinimum", "exclusiveMaximum")
ENFORCED = (
    *NAMED, *LISTED, *SINGLE, *BOUNDS, "type", "const", "enum", "required", "minProperties", "maxProperties", "minItems",
    "maxItems", "minLength", "maxLength", "pattern", "format", "multipleOf", "$ref", "$id", "id", "$anchor", "$schema",
)  # fmt: skip
SAID_ONLY = (
    "title", "description", "default", "examples", "example", "deprecated", "readOnly", "writeOnly", "$comment",
    "$vocabulary", "contentEncoding", "contentMediaType", "contentSchema", "discriminator", "externalDocs", "xml",
)  # fmt: skip
"""JSON Schema's annotations and OpenAPI's: they ask nothing of a value."""
BEYOND = (
    "not", "if", "then", "else", "contains", "minContains", "maxContains", "uniqueItems", "propertyNames", "dependencies",
    "dependentRequired", "dependentSchemas", "unevaluatedItems", "unevaluatedProperties", "$dynamicRef",
    "$dynamicAnchor", "$recursiveRef", "$recursiveAnchor",
)  # fmt: skip
"""JSON Schema's, but no grammar's."""
ASKS_NOTHING = {
    "uniqueItems": False, "unevaluatedItems": True, "unevaluatedProperties": True, "$recursiveAnchor": False,
}  # fmt: skip
NULLABLE = "nullable"
"""OpenAPI's word for a type that null is another of."""

EXACT = 2**53
"""The library counts in doubles: from here on it lets numbers pass that lie outside of the bounds, or never returns."""
MOST_MULTIPLES = 1_000_000
"""A grammar of multiples has as many states."""
DEEPEST = 60


class Unenforceable(ValueError):
    """A schema that no grammar can be made of; says why."""


def enforceable(schema: Mapping[str, Any]) -> dict[str, Any]:
    """Return the schema without what asks nothing; Unenforceable tells what can't be held to, and where."""
    multiples: list[int] = []
    plain = _plain(schema, (), multiples)
    if lcm(*multiples) > MOST_MULTIPLES:
        raise Unenforceable(f"its multipleOf go beyond {MOST_MULTIPLES}, together")
    return plain


def within(schema: Mapping[str, Any], change: Callable[[Any, str], Any]) -> dict[str, Any]:
    """Return the schema with each that stands directly in it changed; `change` is told its place too."""
    changed: dict[str, Any] = {}
    for key, value in schema.items():
        if key in NAMED and isinstance(value, Mapping):
            changed[key] = {name: change(each, f"{key}.{name}") for name, each in value.items()}
        elif key in LISTED and isinstance(value, list):
            changed[key] = [change(each, f"{key}[{index}]") for index, each in enumerate(value)]
        else:
            changed[key] = change(value, key) if key in SINGLE else value
    return changed


def _plain(schema: Mapping[str, Any], path: tuple[str, ...], multiples: list[int]) -> dict[str, Any]:
    where = f" at {'.'.join(path)}" if path else ""
    if len(path) > DEEPEST:
        raise Unenforceable(f"it is nested more than {DEEPEST} levels deep")
    kept = {key: value for key, value in schema.items() if _bears(str(key), value, where)}
    for key in BOUNDS:
        if isinstance(bound := kept.get(key), int | float) and abs(bound) > EXACT:
            raise Unenforceable(f"the {key} {bound}{where} is beyond 2^53, and numbers there are no longer exact")
    if isinstance(multiple := kept.get("multipleOf"), int | float) and not isinstance(multiple, bool):
        multiples.append(_digits(multiple))
    if schema.get(NULLABLE) is True and "type" in kept:
        types = kept["type"] if isinstance(kept["type"], list) else [kept["type"]]
        kept["type"] = [*types, *(["null"] if "null" not in types else [])]
    return within(
        kept, lambda each, at: _plain(each, (*path, at), multiples) if isinstance(each, Mapping) else each
    )  # fmt: skip


def _bears(key: str, value: Any, where: str) -> bool:
    """Tell whether a keyword asks something of a value; refuse one that can't be enforced."""
    if key in ENFORCED:
        return True
    if key in SAID_ONLY or key.startswith("x-") or (key == NULLABLE and isinstance(value, bool)):
        return False
    if key in BEYOND:
        if key in ASKS_NOTHING and value is ASKS_NOTHING[key]:
            return False
        raise Unenforceable(f"no grammar knows '{key}'{where}")
    near = closest(key, (*ENFORCED, *BEYOND, *SAID_ONLY))
    raise Unenforceable(f"unknown keyword '{key}'{where}" + (f" (did you mean '{near}'?)" if near else ""))


def _digits(number: float) -> int:
    """Return a number with its point moved behind its last digit: 2.5 is 25."""
    value = Decimal(str(number)).normalize()
    exponent = value.as_tuple().exponent
    return abs(int(value.scaleb(max(0, -exponent)))) if isinstance(exponent, int) else 1
