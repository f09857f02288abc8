"""What users of the `openai` package rely on in chat completions."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import openai
import pytest
from pydantic import BaseModel

pytestmark = pytest.mark.quick

STORY = [{"role": "user", "content": "Tell me a story."}]
CITIES = [{"role": "user", "content": "What is the weather in Seoul and Paris?"}]


class Person(BaseModel):
    name: str
    born: int


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


@pytest.fixture
def tools(weather: dict[str, Any]) -> list[Any]:
    return [{"type": "function", "function": {"name": "get_weather", "parameters": weather, "strict": True}}]


# chat, whole


def test_an_answer_comes_whole_with_its_usage(client: openai.OpenAI):
    answer = client.chat.completions.create(model="scripted", messages=STORY)
    assert answer.object == "chat.completion"
    assert answer.id.startswith("chatcmpl-")
    assert answer.model == "scripted"
    [choice] = answer.choices
    assert (choice.index, choice.finish_reason) == (0, "stop")
    assert (choice.message.role, choice.message.content) == ("assistant", "Once upon a time")
    assert choice.message.tool_calls is None
    assert answer.usage is not None
    assert (answer.usage.prompt_tokens, answer.usage.completion_tokens, answer.usage.total_tokens) == (10, 4, 14)


@pytest.mark.parametrize("model", ["words", "whole", "deltas", "gpt-4o"])
def test_any_workflow_is_a_model(client: openai.OpenAI, model: str):
    answer = client.chat.completions.create(model=model, messages=STORY)
    assert answer.choices[0].message.content == "Once upon a time"
    streamed = client.chat.completions.create(model=model, messages=STORY, stream=True)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in streamed if chunk.choices) == "Once upon a time"


@pytest.mark.parametrize("model", ["words", "deltas"])
def test_no_usage_is_made_up(client: openai.OpenAI, model: str):
    """These workflows don't pass it on."""
    assert client.chat.completions.create(model=model, messages=STORY).usage is None


def test_the_conversation_arrives_as_it_was_sent(client: openai.OpenAI):
    messages: list[Any] = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "Hello"},
        {"role": "assistant", "content": "Hi!"},
        {"role": "user", "content": "Repeat what you were sent."},
    ]
    answer = client.chat.completions.create(model="scripted", messages=messages)
    assert json.loads(answer.choices[0].message.content or "")["messages"] == messages


def test_content_may_come_in_parts(client: openai.OpenAI):
    parts = [{"type": "text", "text": "Tell me "}, {"type": "text", "text": "a story."}]
    answer = client.chat.completions.create(model="scripted", messages=[{"role": "user", "content": parts}])
    assert answer.choices[0].message.content == "Once upon a time"


def test_the_reason_of_an_end_comes_through(client: openai.OpenAI):
    answer = client.chat.completions.create(model="scripted", messages=said("Stop at the length."))
    assert answer.choices[0].finish_reason == "length"


def test_reasoning_stands_beside_the_content(client: openai.OpenAI):
    message = client.chat.completions.create(model="scripted", messages=said("Think about it.")).choices[0].message
    assert message.content == "42"
    assert message.model_extra is not None
    assert message.model_extra["reasoning_content"] == "Six times seven."


def test_the_raw_response_has_its_headers(client: openai.OpenAI):
    raw = client.chat.completions.with_raw_response.create(model="scripted", messages=STORY)
    assert raw.status_code == 200
    assert raw.headers["content-type"].startswith("application/json")
    assert raw.request_id
    assert raw.parse().choices[0].message.content == "Once upon a time"


# chat, streamed


def test_a_stream_gives_the_words_one_by_one(client: openai.OpenAI):
    chunks = list(client.chat.completions.create(model="scripted", messages=STORY, stream=True))
    assert {chunk.object for chunk in chunks} == {"chat.completion.chunk"}
    assert len({chunk.id for chunk in chunks}) == 1
    assert len({chunk.created for chunk in chunks}) == 1
    assert chunks[0].choices[0].delta.role == "assistant"
    assert [c.choices[0].delta.content for c in chunks if c.choices[0].delta.content] == [
        "Once",
        " upon",
        " a",
        " time",
    ]
    assert [c.choices[0].finish_reason for c in chunks if c.choices[0].finish_reason] == ["stop"]
    assert chunks[-1].choices[0].finish_reason == "stop"
    assert all(chunk.usage is None for chunk in chunks)


def test_usage_is_the_last_chunk_of_a_stream_that_asks_for_it(client: openai.OpenAI):
    *chunks, last = client.chat.completions.create(
        model="scripted", messages=STORY, stream=True, stream_options={"include_usage": True}
    )
    assert last.choices == []
    assert last.usage is not None
    assert (last.usage.prompt_tokens, last.usage.completion_tokens, last.usage.total_tokens) == (10, 4, 14)
    assert all(chunk.usage is None and chunk.choices for chunk in chunks)


def test_a_long_stream_comes_whole_and_in_order(client: openai.OpenAI):
    stream = client.chat.completions.create(model="scripted", messages=said("Count to 2000."), stream=True)
    words = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert words.split() == [str(number) for number in range(1, 2001)]


def test_who_closes_a_stream_stops_the_run(client: openai.OpenAI, left: Callable[[str], None]):
    with client.chat.completions.create(model="scripted", messages=said("Go on for ever."), stream=True) as stream:
        for chunk in stream:
            if chunk.choices[0].delta.content:
                break
    left("Go on for ever.")


def test_the_streaming_helper_folds_the_chunks_to_the_answer(client: openai.OpenAI):
    with client.chat.completions.stream(
        model="scripted", messages=STORY, stream_options={"include_usage": True}
    ) as stream:
        events = list(stream)
        answer = stream.get_final_completion()
    assert [event.delta for event in events if event.type == "content.delta" and event.delta] == [
        "Once",
        " upon",
        " a",
        " time",
    ]
    assert [event.content for event in events if event.type == "content.done"] == ["Once upon a time"]
    assert answer.choices[0].message.content == "Once upon a time"
    assert answer.usage is not None
    assert answer.usage.total_tokens == 14


# tools


@pytest.mark.parametrize("model", ["scripted", "deltas"])
def test_a_call_of_tools_and_its_results_lead_to_an_answer(client: openai.OpenAI, tools: list[Any], model: str):
    messages: list[Any] = list(CITIES)
    asked = client.chat.completions.create(model=model, messages=messages, tools=tools).choices[0]
    assert asked.finish_reason == "tool_calls"
    assert asked.message.tool_calls is not None
    calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in asked.message.tool_calls]
    assert calls == [("call_1", "get_weather", {"city": "Seoul"}), ("call_2", "get_weather", {"city": "Paris"})]
    messages.append(asked.message)
    for call, weather in zip(asked.message.tool_calls, ("sunny", "grey"), strict=True):
        messages.append({"role": "tool", "tool_call_id": call.id, "content": weather})
    answer = client.chat.completions.create(model=model, messages=messages, tools=tools)
    assert answer.choices[0].message.content == "It is sunny and grey today."
    assert answer.choices[0].finish_reason == "stop"


def test_calls_stream_their_arguments_in_pieces(client: openai.OpenAI, tools: list[Any]):
    with client.chat.completions.stream(model="scripted", messages=CITIES, tools=tools) as stream:
        events = list(stream)
        message = stream.get_final_completion().choices[0].message
    done = [event for event in events if event.type == "tool_calls.function.arguments.done"]
    assert [(event.index, event.name, event.arguments) for event in done] == [
        (0, "get_weather", '{"city": "Seoul"}'),
        (1, "get_weather", '{"city": "Paris"}'),
    ]
    assert sum(event.type == "tool_calls.function.arguments.delta" for event in events) >= 4
    assert message.tool_calls is not None
    assert [call.id for call in message.tool_calls] == ["call_1", "call_2"]
    assert message.tool_calls[0].function.parsed_arguments == {"city": "Seoul"}


# structured output


def test_an_answer_is_parsed_into_a_model_of_pydantic(client: openai.OpenAI):
    asked = said("Who wrote the first program?")
    answer = client.chat.completions.parse(model="scripted", messages=asked, response_format=Person)
    assert answer.choices[0].message.parsed == Person(name="Ada", born=1815)


def test_an_answer_of_the_small_model_fits_its_schema(client: openai.OpenAI):
    class Verdict(BaseModel):
        good: bool

    answer = client.chat.completions.parse(model="tiny", messages=said("Is it good?"), response_format=Verdict)
    assert isinstance(answer.choices[0].message.parsed, Verdict)


# async


async def test_the_async_client_streams_several_answers_at_once(url: str):
    import asyncio

    async def ask(client: openai.AsyncOpenAI) -> str:
        stream = await client.chat.completions.create(model="scripted", messages=STORY, stream=True)
        return "".join([chunk.choices[0].delta.content or "" async for chunk in stream])

    async with openai.AsyncOpenAI(base_url=f"{url}/v1", api_key="sk", max_retries=0) as client:
        assert await asyncio.gather(*(ask(client) for _ in range(20))) == ["Once upon a time"] * 20
