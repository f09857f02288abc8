"""Component types in, tables of their fields as Markdown out, for the reference in the documentation."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from pydantic import BaseModel, BeforeValidator
from pydantic.fields import FieldInfo

from graphs.component import ActionInput, ComponentConfig, ComponentType, Registry, TakesStream
from graphs.export.schema import Schema, Written
from graphs.units import seconds, size
from graphs.validation.descriptions import number
from graphs.validation.unknown_keys import inner_models

WORDS = {
    "string": "text", "integer": "integer", "number": "number", "boolean": "true or false", "array": "list",
    "object": "mapping",
}  # fmt: skip
BOUNDS = {"minimum": "at least {}", "exclusiveMinimum": "above {}", "maximum": "at most {}"}


def markdown(registry: Registry) -> str:
    """Return a section for every type: what is written on the component, and what on its actions."""
    return "\n\n".join("\n\n".join(_sections(registry[name])) for name in sorted(registry))


def _sections(cls: ComponentType) -> Iterator[str]:
    yield f"### `{cls.type}`"
    if cls.Config is not ComponentConfig:
        yield _table("On the component", cls.Config)
    if cls.Input is not ActionInput:
        yield _table("On an action, or for all of them on the component", cls.Input)
    for name, model in dict(inner_models((cls.Config, cls.Input))).items():
        yield _table(f"In `{name}`", model)


def _table(title: str, model: type[BaseModel]) -> str:
    properties: Mapping[str, Schema] = model.model_json_schema(schema_generator=Written)["properties"]
    rows = [_row(name, field, properties.get(name, {})) for name, field in model.model_fields.items()]
    return "\n".join([f"{title}:", "", "| field | type | default | |", "|---|---|---|---|", *rows])


def _row(name: str, field: FieldInfo, schema: Schema) -> str:
    words = _kind(field, schema)
    if any(isinstance(mark, TakesStream) for mark in field.metadata):
        words = f"{words}, or a stream"
    default = "required" if field.is_required() else _value(field.default)
    return f"| `{name}` | {words} | {default} | {field.description or ''} |"


def _kind(field: FieldInfo, schema: Schema) -> str:
    converted = {mark.func for mark in field.metadata if isinstance(mark, BeforeValidator)}
    if seconds in converted:
        return "duration"
    return "size" if size in converted else _words(schema)


def _words(schema: Schema) -> str:
    if "enum" in schema:
        return ", ".join(f"`{each}`" for each in schema["enum"])
    if "const" in schema:
        return f"`{schema['const']}`"
    if "anyOf" in schema:
        each = [_words(inner) for inner in schema["anyOf"] if inner.get("type") != "null"]
        return " or ".join(dict.fromkeys(each))
    words = WORDS.get(str(schema.get("type")), "mapping" if "$ref" in schema else "anything")
    if words == "list" and (items := schema.get("items")):
        words = f"list of {_words(items)}"
    bounds = [text.format(number(schema[key])) for key, text in BOUNDS.items() if key in schema]
    return f"{words}, {', '.join(bounds)}" if bounds else words


def _value(value: Any) -> str:
    match value:
        case bool():
            return f"`{str(value).lower()}`"
        case float():
            return f"`{number(value)}`"
        case "":
            return '`""`'
        case str() | int():
            return f"`{value}`"
        case _:
            return ""
