"""What users of the `openai` package rely on in errors: each has its class, its code and the parameter that is wrong."""

from __future__ import annotations

from typing import Any

import openai
import pytest

pytestmark = pytest.mark.quick

STORY = [{"role": "user", "content": "Tell me a story."}]


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_an_unknown_model_is_named_and_so_are_those_that_there_are(client: openai.OpenAI):
    with pytest.raises(openai.NotFoundError) as found:
        client.chat.completions.create(model="gpt-17", messages=STORY)
    assert (found.value.code, found.value.type) == ("model_not_found", "invalid_request_error")
    assert "gpt-17" in found.value.message
    assert "scripted" in found.value.message


@pytest.mark.parametrize(
    ("wrong", "param"),
    [
        ({"messages": "Hello"}, "messages"),
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "Hello"}]}, "messages[0].role"),
        ({"temperature": "hot"}, "temperature"),
        ({"max_tokens": -1}, "max_tokens"),
        ({"n": 0}, "n"),
        ({"tools": [{"type": "function"}]}, "tools[0].function"),
        ({"messages": [{"role": "tool", "tool_call_id": "call_9", "content": "42"}]}, "messages"),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_parameter_is_named(client: openai.OpenAI, wrong: dict[str, Any], param: str, stream: bool):
    with pytest.raises(openai.BadRequestError) as found:
        client.chat.completions.create(**{"model": "scripted", "messages": STORY, "stream": stream, **wrong})
    assert found.value.type == "invalid_request_error"
    assert (found.value.param or "").startswith(param)
    assert found.value.message


def test_a_prompt_that_is_too_long_exceeds_the_context(client: openai.OpenAI):
    with pytest.raises(openai.BadRequestError) as found:
        client.chat.completions.create(model="tiny", messages=said("word " * 5000))
    assert found.value.code == "context_length_exceeded"


def test_an_image_for_a_model_without_eyes_is_refused(client: openai.OpenAI):
    image = {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBORw0KGgo="}}
    with pytest.raises(openai.BadRequestError) as found:
        client.chat.completions.create(model="tiny", messages=[{"role": "user", "content": [image]}])
    assert (found.value.param or "").startswith("messages")


@pytest.mark.parametrize("text", ["Refuse me.", "Be busy.", "Break."])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_chunk_is_a_status(client: openai.OpenAI, text: str, stream: bool):
    with pytest.raises(openai.APIStatusError) as found:
        list(client.chat.completions.create(model="scripted", messages=said(text), stream=stream))
    assert found.value.status_code >= 400
    assert isinstance(found.value.body, dict)
    assert found.value.body["message"]


@pytest.mark.parametrize("text", ["Be cut.", "Fail after two words."])
def test_an_error_in_mid_stream_is_raised_after_what_came(client: openai.OpenAI, text: str):
    words: list[str] = []
    with pytest.raises(openai.APIError) as found:  # noqa: PT012  (what came before it counts)
        for chunk in client.chat.completions.create(model="scripted", messages=said(text), stream=True):
            words += [choice.delta.content for choice in chunk.choices if choice.delta.content]
    assert words == ["Once", " upon"]
    assert not isinstance(found.value, openai.APIConnectionError)
    assert found.value.message
