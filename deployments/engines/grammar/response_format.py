"""A request's `response_format` -> the JSON Schema its answer must meet."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from deployments.engines.grammar.dialect import Unenforceable, enforceable
from deployments.engines.grammar.guides import JUDGE, refusal
from graphs.errors import InvalidInput
from graphs.suggest import closest

TYPES = ("text", "json_object", "json_schema")
_KEYS = ("name", "description", "schema", "strict")
_WRITE = "write {type: json_schema, json_schema: {name: …, schema: {…}}}"


def schema_of(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what the answer must be: None for any text, {} for any JSON object, else a schema."""
    if response_format is None:
        return None
    match response_format.get("type"):
        case "text":
            return None
        case "json_object":
            return {}
        case "json_schema":
            return _schema(response_format.get("json_schema"))
        case other:
            near = closest(other, TYPES) if isinstance(other, str) else None
            hint = f"; did you mean '{near}'?" if near else ""
            raise _refusal("type", f"expected a type, one of {', '.join(TYPES)}, got {other!r}{hint}")


async def judge(schema: Mapping[str, Any] | None) -> None:
    """Refuse a schema that no grammar can be made of, whichever the engine."""
    try:
        if schema:
            await JUDGE.judge(schema)
    except Unenforceable as cause:
        raise refusal(cause) from None


def _schema(wrapper: Any) -> Mapping[str, Any]:
    if not isinstance(wrapper, Mapping):
        raise _refusal("json_schema", f"expected the schema and its name, got {wrapper!r}; {_WRITE}")
    if "schema" not in wrapper and ("type" in wrapper or "properties" in wrapper):
        raise _refusal("json_schema", f"the schema stands one level too high; {_WRITE}")
    for key in wrapper:
        if key not in _KEYS:
            near = closest(str(key), _KEYS)
            hint = f"did you mean '{near}'?" if near else f"the keys are {', '.join(_KEYS)}"
            raise _refusal("json_schema", f"unknown key '{key}'; {hint}")
    schema = wrapper.get("schema")
    if not isinstance(schema, Mapping):
        raise _refusal("json_schema.schema", f"expected a JSON Schema, a mapping, got {schema!r}; {_WRITE}")
    try:
        return enforceable(schema)
    except Unenforceable as cause:
        raise refusal(cause) from None


def _refusal(key: str, message: str) -> InvalidInput:
    field = f"response_format.{key}"
    return InvalidInput(f"{field}: {message}", field=field)
