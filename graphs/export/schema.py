"""JSON Schema: of documents, for editors; of a workflow's input, for the API and the UI."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import BaseModel
from pydantic.json_schema import GenerateJsonSchema
from pydantic_core import PydanticOmit, core_schema

from graphs import document
from graphs.component import ComponentType, Registry, truth, upper_case
from graphs.document import job_types
from graphs.plan import InputField, WorkflowPlan

Schema = dict[str, Any]

BINDING: Schema = {"type": "string", "pattern": r"\$\{", "description": "a binding, evaluated for every call"}
ENVIRONMENT: Schema = {"type": "string", "pattern": r"\$\{", "description": "a value from the environment"}


def _in_any_case(words: Iterable[str]) -> Schema:
    """Return the schema of these words, whichever of their letters are capitals."""
    spelt = ("".join(f"[{each.upper()}{each.lower()}]" for each in word) for word in words)
    return {"type": "string", "pattern": f"^({'|'.join(spelt)})$"}


INTEGER = r"^\s*[+-]?\d+(_\d+)*(\.0+)?\s*$"
NUMBER = r"^\s*[+-]?(\d[\d_]*\.?\d*|\.\d+)([eE][+-]?\d+)?\s*$"
"""Numbers that stand in quotes."""
SWITCHES = ("true", "false", "yes", "no", "on", "off", "y", "n", "t", "f")

TYPES: Mapping[str, Schema] = {
    "text": {"type": "string"},
    "markdown": {"type": "string"},
    "select": {"type": "string"},
    "integer": {"type": "integer"},
    "number": {"type": "number"},
    "boolean": {"type": "boolean"},
    "list": {"type": "array"},
    "object": {"type": "object"},
    "base64": {"type": "string", "contentEncoding": "base64"},
}


class Written(GenerateJsonSchema):
    """What may be written in a document: fields that only a run can fill (Streams) are left out."""

    def handle_invalid_for_json_schema(self, schema: Any, error_info: str) -> Any:
        del schema, error_info
        raise PydanticOmit

    def is_instance_schema(self, schema: core_schema.IsInstanceSchema) -> Any:
        del schema
        raise PydanticOmit


class Accepted(Written):
    """What the checker takes, which is more: numbers and switches in quotes, words in any case."""

    def int_schema(self, schema: core_schema.IntSchema) -> Any:
        return {"anyOf": [super().int_schema(schema), {"type": "string", "pattern": INTEGER}]}

    def float_schema(self, schema: core_schema.FloatSchema) -> Any:
        return {"anyOf": [super().float_schema(schema), {"type": "string", "pattern": NUMBER}]}

    def bool_schema(self, schema: core_schema.BoolSchema) -> Any:
        return {"anyOf": [super().bool_schema(schema), {"enum": [0, 1, "0", "1"]}, _in_any_case(SWITCHES)]}

    def function_before_schema(self, schema: core_schema.BeforeValidatorFunctionSchema) -> Any:
        change: Any = schema["function"]["function"]
        if change is truth:
            return {"type": ["boolean", "string", "number", "null"]}
        given = super().function_before_schema(schema)
        return {"anyOf": [given, _in_any_case(given["enum"])]} if change is upper_case else given


def document_schema(registry: Registry) -> Schema:
    """Return the JSON Schema of a document, for the component types there are."""
    definitions: dict[str, Schema] = {}
    controller = _object(document.Controller, definitions, ENVIRONMENT)
    types = {name: _component(registry[name], definitions) for name in sorted(registry)}
    jobs = {name: _job(name, model, definitions) for name, model in job_types.JOBS.items()}
    definitions["component"] = {"type": "object", "required": ["type"], **_by_type(types)}
    definitions["job"] = _by_type(jobs)
    definitions["workflow"] = _workflow(jobs, definitions)
    component, workflow = {"$ref": "#/$defs/component"}, {"$ref": "#/$defs/workflow"}
    return {
        "$schema": "https://json-schema.org/draft/2020-12/schema",
        "title": "anabranch document",
        "type": "object",
        "additionalProperties": False,
        "patternProperties": {f"^{document.EXTENSION}": {}},
        "properties": {
            "controller": controller,
            "component": component,
            "components": {"type": "array", "items": component},
            "workflow": workflow,
            "workflows": {"type": "array", "items": workflow},
        },
        "$defs": definitions,
    }


def input_schema(workflow: WorkflowPlan) -> Schema:
    """Return the JSON Schema of a workflow's input."""
    return {
        "type": "object",
        "properties": {field.name: _field(field) for field in workflow.inputs},
        "required": [field.name for field in workflow.inputs if field.required],
    }


def _field(field: InputField) -> Schema:
    schema = dict(TYPES.get(field.type, {}))
    if field.options:
        schema["enum"] = list(field.options)
    if field.default is not None:
        schema["default"] = field.default
    if field.description:
        schema["description"] = field.description
    return schema


def _component(cls: ComponentType, definitions: dict[str, Schema]) -> Schema:
    common = _object(document.Component, definitions, ENVIRONMENT)["properties"]
    if not cls.deployed:
        del common["placement"]
    elif not cls.light:
        own = {"enum": ["own", None], "description": "own: a deployment of its own, as this type needs"}
        common["placement"] = _or_binding(own, ENVIRONMENT)
    config = _object(cls.Config, definitions, ENVIRONMENT)["properties"]
    fields = _object(cls.Input, definitions, BINDING)["properties"]
    action = {
        "type": "object",
        "additionalProperties": False,
        "properties": {**_object(document.Action, definitions, BINDING)["properties"], **fields},
    }
    return {
        "type": "object",
        "description": (cls.__doc__ or "").strip().split("\n")[0],
        "additionalProperties": False,
        "properties": {
            **fields,
            **config,
            **common,
            "type": {"const": cls.type},
            "output": {"description": "what the action gives, seen from `result` or `response`"},
            "action": action,
            "actions": {"type": "array", "items": action},
        },
    }


def _job(name: str, model: type[BaseModel], definitions: dict[str, Schema]) -> Schema:
    schema = _object(model, definitions, BINDING)
    schema["properties"]["type"] = {"const": name}
    if name == "component":
        schema["properties"]["component"] = {"anyOf": [{"type": ["string", "null"]}, {"$ref": "#/$defs/component"}]}
    return schema


def _by_type(schemas: Mapping[str, Schema]) -> Schema:
    """Return the schema of what is one of these, as its `type` says; without one, a job calls a component."""
    return {
        "type": "object",
        "properties": {"type": _or_binding({"enum": list(schemas)}, ENVIRONMENT)},
        "allOf": [{"if": _has_type(name), "then": each} for name, each in schemas.items()],
    }


def _workflow(jobs: Mapping[str, Schema], definitions: dict[str, Schema]) -> Schema:
    """Return the schema of a workflow: its own keys, and `job`, `jobs` or the keys of the one job that it is."""
    own = _object(document.Workflow, definitions, BINDING)["properties"]
    job = {"$ref": "#/$defs/job"}
    own |= {"job": job, "jobs": {"type": "array", "items": job}}
    return _by_type({name: {**each, "properties": {**each["properties"], **own}} for name, each in jobs.items()})


def _object(model: type[BaseModel], definitions: dict[str, Schema], binding: Schema) -> Schema:
    """Return a model's schema, in which every scalar may also be a binding."""
    schema = model.model_json_schema(schema_generator=Accepted)
    for name, inner in schema.pop("$defs", {}).items():
        definitions[name] = _bindable(inner, binding)
    schema = _bindable(schema, binding)
    schema.setdefault("properties", {})
    return schema


def _bindable(schema: Schema, binding: Schema) -> Schema:
    if "properties" not in schema:
        return schema
    return {**schema, "properties": {name: _or_binding(each, binding) for name, each in schema["properties"].items()}}


def _or_binding(schema: Schema, binding: Schema) -> Schema:
    schema = _with_parts(schema, binding)
    if schema.get("type") == "string" and not {"enum", "pattern", "const"} & schema.keys():
        return schema
    if not {"type", "anyOf", "$ref", "enum", "const"} & schema.keys():
        return schema
    notes = {key: schema[key] for key in ("title", "description", "default") if key in schema}
    rest = {key: value for key, value in schema.items() if key not in notes}
    return {**notes, "anyOf": [rest, binding]}


def _with_parts(schema: Schema, binding: Schema) -> Schema:
    """Return the schema of a list or of a free mapping whose parts may be bindings, too."""
    inner = {key: schema.get(key) for key in ("items", "additionalProperties")}
    parts = {key: _or_binding(each, binding) for key, each in inner.items() if isinstance(each, dict)}
    each = {"anyOf": [_with_parts(one, binding) for one in schema["anyOf"]]} if "anyOf" in schema else {}
    return {**schema, **parts, **each}


def _has_type(name: str) -> Schema:
    test: Schema = {"properties": {"type": {"const": name}}}
    return test if name == "component" else {**test, "required": ["type"]}
