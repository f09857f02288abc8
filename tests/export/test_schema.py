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
from pydantic import Field

from deployments.components import registry
from graphs.component import ActionInput, Component, ComponentConfig
from graphs.export.field_tables import markdown
from graphs.export.schema import document_schema, input_schema
from graphs.source import Mistakes, Source, parse
from graphs.validation import to_data
from tests.checker.compiling import compiled, messages, workflow
from tests.docs.pages import Block, blocks

HERE = Path(__file__).parents[1]
GOOD = sorted(
    [*HERE.glob("seeds/*/[0-9]*.yaml"), *HERE.glob("documents/*.yaml"), *HERE.parent.glob("configs/**/*.yaml")]
)
EVERYTHING: dict[str, Any] = yaml.safe_load((HERE / "documents" / "everything.yaml").read_text(encoding="utf-8"))
FREE = ("env_vars", "headers", "body", "params", "env", "input", "output", "text")
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


PAGES = [block for block in blocks("yaml") if not block.mark or block.named("over")]


@pytest.mark.parametrize("block", PAGES, ids=str)
def test_every_document_of_the_pages_is_valid(block: Block) -> None:
    assert [error.message for error in validator().iter_errors(read(block.text))] == []


def read(text: str) -> Any:
    """Return a document as the checker reads it: YAML 1.2."""
    mistakes = Mistakes()
    root = parse(Source("document.yaml", text), mistakes)
    assert root is not None
    assert not mistakes
    return to_data(root)


CALL = "component: {type: http-client, base_url: http://localhost, path: /, "
ECHO = "component: {type: echo, text: hi}\n"


@pytest.mark.parametrize(
    "text",
    [
        CALL + "method: get}",
        CALL + "method: Patch}",
        CALL + "max_retries: '3'}",
        CALL + "timeout: '30'}",
        CALL + "completion: {type: polling, path: /jobs, success_when: done, fail_when: [failed, '${input.state}']}}",
        "component: {type: echo, text: hi, streaming: 'no'}",
        "component: {type: echo, text: hi, streaming: 0}",
        "component: {type: echo, text: hi, streaming: }",
        "component: {type: echo, text: hi, repeat: '2'}",
        "component: {type: echo, text: hi, replicas: '2'}",
        "component: {type: echo, text: hi, resources: {num_gpus: '1', num_cpus: ' .5'}}",
        "component: {type: '${env.TYPE | echo}', text: hi}",
        "component: {type: model, task: chat-completion, model: gpt2, messages: ['${input.first}', {role: user, content: hi}]}",
        "component: {type: model, task: text-generation, model: gpt2, text: hi, params: {do_sample: 'Off', seed: '1'}}",
        "component: {type: echo, text: hi, placement: ingress}",
        "component: {type: model, task: text-generation, model: gpt2, text: hi, placement: own}",
        "component: {type: model, task: text-generation, model: gpt2, text: hi, placement: '${env.PLACE | own}'}",
        ECHO + "controller: {placement: '${env.PLACE | ingress}'}",
        ECHO + "controller: {port: '8080', compression: 'yes'}",
        ECHO + "controller: {type: '${env.KIND | http-server}'}",
        ECHO + "workflow: {type: delay, duration: 1}",
        ECHO + "workflow: {title: Each, type: for-each, input: [1], do: {input: {text: '${item}'}}}",
        ECHO + "workflow: {type: '${env.TYPE | delay}', duration: 1}",
        ECHO + "workflow: {job: {component: }}",
        ECHO + "workflow: {job: {type: '${env.TYPE | delay}', duration: 1}}",
        ECHO + "workflow: {job: {type: delay, time: 2030-01-01, timezone: Europe/Berlin}}",
    ],
)
def test_what_the_checker_takes_is_valid(text: str) -> None:
    compiled(text)
    assert [error.message for error in validator().iter_errors(read(text))] == []


@pytest.mark.parametrize(
    "text",
    [
        CALL + "method: fetch}",
        CALL + "method: ge}",
        CALL + "max_retries: '3.5'}",
        "component: {type: echo, text: hi, replicas: two}",
        "component: {type: echo, text: hi, resources: {num_gpus: 1GB}}",
        "component: {type: model, task: text-generation, model: gpt2, text: hi, params: {do_sample: maybe}}",
        "component: {type: model, task: chat-completion, model: gpt2, messages: [5]}",
        "component: {type: echo, text: hi, placement: ingres}",
        "component: {type: model, task: text-generation, model: gpt2, text: hi, placement: ingress}",
        ECHO + "workflow: {job: {component: {type: workflow, placement: own}}}",
        ECHO + "controller: {placement: Ingress}",
        ECHO + "workflow: {type: delay, durration: 1}",
        ECHO + "workflow: {type: for-each, input: [1]}",
        ECHO + "workflow: {duration: 1}",
        ECHO + "workflow: {type: dealy, duration: 1}",
    ],
)
def test_what_the_checker_refuses_is_not_valid(text: str) -> None:
    messages(text)
    assert not validator().is_valid(read(text))


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
        (("components", 0, "runtime_env", "pip"), 5),
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


class Greeting(ActionInput):
    prefix: str = Field(default="", description="What stands before it.")
    share: float = Field(default=0.5, ge=0, le=1e10)


class Greeter(Component[ComponentConfig, Greeting]):
    type = "greeter"
    Config = ComponentConfig
    Input = Greeting


def test_empty_text_and_large_numbers_stand_in_the_tables_as_people_write_them() -> None:
    rows = markdown({"greeter": Greeter}).splitlines()
    assert '| `prefix` | text | `""` | What stands before it. |' in rows
    assert "| `share` | number, at least 0, at most 10000000000 | `0.5` |  |" in rows


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
    schema = schema_of("${input.a}", "${input.b | 5}", "${input.c.d}", "${input.e == 1}")
    assert schema["required"] == ["a", "c"]
    assert Draft202012Validator(schema).is_valid({"a": 1, "c": {}, "more": 2})
    assert not Draft202012Validator(schema).is_valid({})


def test_keys_that_begin_with_x_may_hold_anything_at_the_top_alone() -> None:
    document = {"x-shared": [1, {"a": None}], "component": {"type": "echo", "text": "hi"}}
    assert validator().is_valid(document)
    assert not validator().is_valid({**document, "component": {**document["component"], "x-shared": 1}})
