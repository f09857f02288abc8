"""The JSON Schema of documents, as editors use it, and of a workflow's input, as the API and the UI do."""

from __future__ import annotations

import copy
from collections.abc import Iterator
from functools import cache
from pathlib import Path
from typing import Any

import pytest
import yaml
from jsonschema import Draft202012Validator

from deployments.components import registry
from graphs.schema import document_schema, input_schema
from tests.checker.compiling import workflow

HERE = Path(__file__).parent
GOOD = sorted(
    [*HERE.glob("seeds/*/[0-9]*.yaml"), *HERE.glob("documents/*.yaml"), *HERE.parent.glob("configs/**/*.yaml")]
)
EVERYTHING: dict[str, Any] = yaml.safe_load((HERE / "documents" / "everything.yaml").read_text(encoding="utf-8"))
FREE = ("runtime_env", "headers", "body", "params", "env", "input", "output", "text")
"""Keys whose values may hold keys of any name."""


@cache
def validator() -> Draft202012Validator:
    return Draft202012Validator(document_schema(registry()))


def test_the_schema_is_a_schema() -> None:
    Draft202012Validator.check_schema(document_schema(registry()))


@pytest.mark.parametrize("path", GOOD, ids=lambda path: f"{path.parent.name}-{path.stem}")
def test_every_good_document_is_valid(path: Path) -> None:
    document = yaml.safe_load(path.read_text(encoding="utf-8"))
    assert [error.message for error in validator().iter_errors(document)] == []


def keys(value: Any, *above: str | int) -> Iterator[tuple[str | int, ...]]:
    """Yield the path of every key that the schema knows by name."""
    if isinstance(value, dict):
        for key, inner in value.items():
            yield (*above, key)
            if key not in FREE or (key == "params" and "max_output_length" in inner):
                yield from keys(inner, *above, key)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            yield from keys(inner, *above, index)


def misspelt(path: tuple[str | int, ...]) -> dict[str, Any]:
    """Return the document with one key misspelt."""
    document = copy.deepcopy(EVERYTHING)
    parent: Any = document
    for part in path[:-1]:
        parent = parent[part]
    parent[f"{path[-1]}x"] = parent.pop(path[-1])
    return document


@pytest.mark.parametrize("path", list(keys(EVERYTHING)), ids=lambda path: ".".join(map(str, path)))
def test_a_misspelt_key_is_not_valid(path: tuple[str | int, ...]) -> None:
    assert not validator().is_valid(misspelt(path))


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("components", 0, "type"), "modle"),
        (("components", 0, "task"), "text-genration"),
        (("components", 0, "replicas"), 0),
        (("components", 1, "actions", 0, "stream_format"), "jsn"),
        (("components", 1, "timeout"), [1]),
        (("controller", "port"), 99999),
        (("controller", "port"), "eighty"),
        (("workflows", 0, "jobs", 0, "type"), "swich"),
        (("workflows", 0, "jobs", 0, "cases"), []),
        (("workflows",), {"main": {}}),
    ],
)
def test_a_wrong_value_is_not_valid(path: tuple[str | int, ...], value: object) -> None:
    document = copy.deepcopy(EVERYTHING)
    parent: Any = document
    for part in path[:-1]:
        parent = parent[part]
    parent[path[-1]] = value
    assert not validator().is_valid(document)


def test_a_value_from_the_environment_is_valid_where_a_number_is_expected() -> None:
    document = {"controller": {"port": "${env.PORT | 8080}"}, "component": {"type": "echo", "text": "hi"}}
    assert validator().is_valid(document)


def test_both_layouts_are_valid() -> None:
    flat = {"component": {"type": "http-client", "endpoint": "https://example.com", "output": "${response}"}}
    assert validator().is_valid(flat)
    assert validator().is_valid({"workflow": {"job": {"component": {"type": "echo", "text": "hi"}, "retry": 3}}})


# --- of a workflow's input ---------------------------------------------------------------------------------------------


def schema_of(*bindings: str) -> dict[str, Any]:
    text = " ".join(bindings)
    return input_schema(workflow(f"component:\n  type: echo\n  text: |-\n    {text}\n"))


@pytest.mark.parametrize(
    ("binding", "schema"),
    [
        ("${input.a}", {}),
        ("${input.a as text}", {"type": "string"}),
        ("${input.a as integer}", {"type": "integer"}),
        ("${input.a as number}", {"type": "number"}),
        ("${input.a as boolean}", {"type": "boolean"}),
        ("${input.a as list}", {"type": "array"}),
        ("${input.a as object}", {"type": "object"}),
        ("${input.a as base64}", {"type": "string", "contentEncoding": "base64"}),
        ("${input.a as select/x,y}", {"type": "string", "enum": ["x", "y"]}),
        ("${input.a @(description What)}", {"description": "What"}),
        ("${input.a | 5}", {"type": "integer", "default": 5}),
        ("${input.a | false}", {"type": "boolean", "default": False}),
    ],
)
def test_a_field_of_the_input_as_a_schema(binding: str, schema: dict[str, Any]) -> None:
    assert schema_of(binding)["properties"]["a"] == schema


def test_what_has_a_default_is_not_required() -> None:
    schema = schema_of("${input.a}", "${input.b | 5}", "${input.c.d}")
    assert schema["required"] == ["a"]
    assert Draft202012Validator(schema).is_valid({"a": 1, "more": 2})
    assert not Draft202012Validator(schema).is_valid({})
