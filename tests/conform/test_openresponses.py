"""Every event and every object of `/v1/responses` is one that the Open Responses specification (`openresponses-types`) knows."""

from __future__ import annotations

import inspect
import json
from collections.abc import Iterator
from typing import Any

import httpx
import openresponses_types
import pytest
from openresponses_types import types
from pydantic import BaseModel

pytestmark = pytest.mark.quick

ENDS = {"response.completed", "response.failed", "response.incomplete"}


def models() -> Iterator[tuple[str, type[BaseModel]]]:
    """Each kind of event with its model."""
    for name, model in inspect.getmembers(types, inspect.isclass):
        if name.endswith("StreamingEvent") and issubclass(model, BaseModel):
            [kind] = model.model_fields["type"].annotation
            yield str(kind.value), model


EVENTS = dict(models())
TOOL = {
    "type": "function",
    "name": "get_weather",
    "description": "The weather of a city",
    "parameters": {"type": "object", "properties": {"city": {"type": "string"}}, "required": ["city"]},
    "strict": False,
}
SCHEMA = {"type": "object", "properties": {"name": {"type": "string"}, "born": {"type": "integer"}}}
REQUESTS: dict[str, dict[str, Any]] = {
    "text": {"input": "Tell me a story."},
    "a conversation": {
        "input": [
            {"role": "user", "content": "Hi"},
            {"role": "assistant", "content": "Hi!"},
            {"role": "user", "content": "Go on."},
        ],
        "instructions": "Be brief.",
        "metadata": {"of": "the test"},
    },
    "reasoning": {"input": "Think about it.", "reasoning": {"effort": "low"}},
    "tools": {"input": "What is the weather in Seoul and Paris?", "tools": [TOOL], "tool_choice": "required"},
    "structured output": {
        "input": "Who wrote the first program?",
        "text": {"format": {"type": "json_schema", "name": "person", "schema": SCHEMA, "strict": True}},
    },
    "cut short": {"input": "Stop at the length.", "max_output_tokens": 20},
    "failed": {"input": "Be cut."},
    "not stored": {"input": "Tell me a story.", "store": False},
    "in the background": {"input": "Tell me a story.", "background": True},
    "the small model": {
        "model": "tiny",
        "input": "What is anabranch?",
        "temperature": 0,
        "top_p": 1,
        "max_output_tokens": 16,
    },
}


def test_the_types_are_those_of_the_specification_that_the_tests_were_written_for():
    assert openresponses_types.__spec_version__ == "2026-04-24"
    assert len(EVENTS) == 24
    assert EVENTS.keys() > ENDS


@pytest.mark.parametrize("kind", REQUESTS)
def test_every_event_of_a_stream_is_valid(url: str, kind: str):
    events = list(streamed(url, REQUESTS[kind]))
    for event in events:
        EVENTS[event["type"]].model_validate(event)
    numbers = [event["sequence_number"] for event in events]
    assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))
    assert [event["type"] for event in events if event["type"] in ENDS] == [events[-1]["type"]]


@pytest.mark.parametrize("kind", [kind for kind in REQUESTS if kind != "failed"])
def test_every_response_is_valid_whole(url: str, kind: str):
    answer = httpx.post(f"{url}/v1/responses", json={"model": "scripted", **REQUESTS[kind]}, timeout=30)
    assert answer.status_code == 200, answer.text
    types.ResponseResource.model_validate(answer.json())
    if REQUESTS[kind].get("store", True):
        kept = httpx.get(f"{url}/v1/responses/{answer.json()['id']}")
        types.ResponseResource.model_validate(kept.json())


@pytest.mark.parametrize("kind", REQUESTS)
def test_a_stream_ends_with_the_items_that_it_gave(url: str, kind: str):
    events = list(streamed(url, REQUESTS[kind]))
    given = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert events[-1]["response"]["output"] == given
    begun = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert begun == [item["id"] for item in given]


def streamed(url: str, request: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the events of a stream, each of which stands under its own name."""
    body = {"model": "scripted", "stream": True, **request}
    with httpx.stream("POST", f"{url}/v1/responses", json=body, timeout=30) as answer:
        assert answer.status_code == 200, answer.read()
        assert answer.headers["content-type"].startswith("text/event-stream")
        name = ""
        for line in answer.iter_lines():
            field, _, value = line.partition(": ")
            if field == "event":
                name = value
            elif field == "data" and value != "[DONE]":
                event = json.loads(value)
                assert event["type"] == name
                yield event
