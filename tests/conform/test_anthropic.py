"""What users of the `anthropic` package rely on in messages."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any

import anthropic
import httpx
import pytest
from pydantic import BaseModel

pytestmark = pytest.mark.quick

CITIES = "What is the weather in Seoul and Paris?"
FOREVER = "Go on for ever."


def said(text: str, model: str = "scripted", **more: Any) -> Any:
    most = 200 if model == "tiny" else 4000  # the small model's context is 1024
    return {"model": model, "max_tokens": most, "messages": [{"role": "user", "content": text}], **more}


@pytest.fixture
def tools(weather: dict[str, Any]) -> list[Any]:
    return [{"name": "get_weather", "description": "The weather of a city", "input_schema": weather}]


# whole


def test_a_message_comes_whole_with_its_usage(claude: anthropic.Anthropic):
    message = claude.messages.create(**said("Tell me a story."))
    assert message.id.startswith("msg_")
    assert (message.type, message.role, message.model) == ("message", "assistant", "scripted")
    assert [block.to_dict() for block in message.content] == [{"type": "text", "text": "Once upon a time"}]
    assert (message.stop_reason, message.stop_sequence) == ("end_turn", None)
    assert (message.usage.input_tokens, message.usage.output_tokens) == (10, 4)


@pytest.mark.parametrize("model", ["words", "whole", "claude-sonnet-4-5", "tiny"])
def test_any_workflow_and_any_model_of_the_document_answers(claude: anthropic.Anthropic, model: str):
    message = claude.messages.create(**said("Tell me a story.", model, extra_body={"temperature": 0}))
    assert message.model == model
    assert text(message)
    with claude.messages.stream(**said("Tell me a story.", model, extra_body={"temperature": 0})) as stream:
        assert stream.get_final_text() == text(message)


def test_the_system_prompt_leads_the_conversation(claude: anthropic.Anthropic):
    message = claude.messages.create(**said("Repeat what you were sent.", system="Be brief."))
    sent = json.loads(text(message))["messages"]
    assert [(each["role"], each["content"]) for each in sent] == [
        ("system", "Be brief."),
        ("user", "Repeat what you were sent."),
    ]
    parts = [{"type": "text", "text": "Be "}, {"type": "text", "text": "brief."}]
    again = claude.messages.create(**said("Repeat what you were sent.", system=parts))
    assert "brief." in text(again)


def test_an_answer_that_was_cut_short_says_so(claude: anthropic.Anthropic):
    assert claude.messages.create(**said("Stop at the length.")).stop_reason == "max_tokens"
    message = claude.messages.create(**{**said("What is anabranch?", "tiny"), "max_tokens": 3})
    assert (message.stop_reason, message.usage.output_tokens) == ("max_tokens", 3)


def test_a_stop_sequence_ends_an_answer_and_is_named(claude: anthropic.Anthropic):
    whole = text(claude.messages.create(**said("What is anabranch?", "tiny", extra_body={"temperature": 0})))
    word = whole.split()[3]
    message = claude.messages.create(
        **said("What is anabranch?", "tiny", extra_body={"temperature": 0}, stop_sequences=["§§", word])
    )
    assert text(message) == whole[: whole.index(word)]
    assert (message.stop_reason, message.stop_sequence) == ("stop_sequence", word)


def test_thinking_is_a_block_before_the_text(claude: anthropic.Anthropic):
    asked = said("Think about it.", thinking={"type": "enabled", "budget_tokens": 1024})
    message = claude.messages.create(**asked)
    assert [block.type for block in message.content] == ["thinking", "text"]
    assert message.content[0].thinking == "Six times seven."
    assert text(message) == "42"
    with claude.messages.stream(**asked) as stream:
        events = list(stream)
        final = stream.get_final_message()
    assert [event.thinking for event in events if event.type == "thinking"] == ["Six times", " seven."]
    assert final.content[0].to_dict() == message.content[0].to_dict()


def test_thinking_may_be_sent_back(claude: anthropic.Anthropic):
    message = claude.messages.create(**said("Think about it."))
    messages: Any = [
        {"role": "user", "content": "Think about it."},
        {"role": "assistant", "content": message.content},
        {"role": "user", "content": "Tell me a story."},
    ]
    assert text(claude.messages.create(model="scripted", max_tokens=100, messages=messages)) == "Once upon a time"


def test_an_answer_is_parsed_into_a_model_of_pydantic(claude: anthropic.Anthropic):
    class Person(BaseModel):
        name: str
        born: int

    message = claude.messages.parse(**said("Who wrote the first program?"), output_format=Person)
    assert message.parsed_output == Person(name="Ada", born=1815)


# streamed


def test_the_streaming_helper_ends_with_the_message(claude: anthropic.Anthropic):
    with claude.messages.stream(**said("Tell me a story.")) as stream:
        words = list(stream.text_stream)
        final = stream.get_final_message()
    assert words == ["Once", " upon", " a", " time"]
    assert text(final) == "Once upon a time"
    assert final.stop_reason == "end_turn"
    assert (final.usage.input_tokens, final.usage.output_tokens) == (10, 4)


def test_the_events_are_those_of_the_vendor_and_in_its_order(claude: anthropic.Anthropic):
    events = list(claude.messages.create(**said("Tell me a story."), stream=True))
    assert [event.type for event in events] == [
        "message_start",
        "content_block_start",
        *["content_block_delta"] * 4,
        "content_block_stop",
        "message_delta",
        "message_stop",
    ]
    assert events[0].message.content == []
    assert events[0].message.stop_reason is None


def test_a_long_message_streams_whole_and_in_order(claude: anthropic.Anthropic):
    with claude.messages.stream(**said("Count to 2000.")) as stream:
        assert stream.get_final_text().split() == [str(number) for number in range(1, 2001)]


def test_who_closes_a_stream_stops_the_run(claude: anthropic.Anthropic, left: Callable[[str], None]):
    with claude.messages.stream(**said(FOREVER)) as stream:
        next(iter(stream.text_stream))
    left(FOREVER)


async def test_the_async_client_streams_several_messages_at_once(url: str):
    async with anthropic.AsyncAnthropic(base_url=url, api_key="sk", max_retries=0) as claude:

        async def ask() -> str:
            async with claude.messages.stream(**said("Tell me a story.")) as stream:
                return await stream.get_final_text()

        assert await asyncio.gather(*(ask() for _ in range(20))) == ["Once upon a time"] * 20


# tools


def test_a_use_of_tools_and_its_results_lead_to_an_answer(claude: anthropic.Anthropic, tools: list[Any]):
    asked = claude.messages.create(**said(CITIES, tools=tools))
    assert asked.stop_reason == "tool_use"
    uses: list[Any] = [block for block in asked.content if block.type == "tool_use"]
    assert [(use.name, use.input) for use in uses] == [
        ("get_weather", {"city": "Seoul"}),
        ("get_weather", {"city": "Paris"}),
    ]
    results = [
        {"type": "tool_result", "tool_use_id": uses[0].id, "content": "sunny"},
        {"type": "tool_result", "tool_use_id": uses[1].id, "content": [{"type": "text", "text": "grey"}]},
    ]
    messages: Any = [
        {"role": "user", "content": CITIES},
        {"role": "assistant", "content": asked.content},
        {"role": "user", "content": results},
    ]
    answer = claude.messages.create(model="scripted", max_tokens=100, messages=messages, tools=tools)
    assert text(answer) == "It is sunny and grey today."


def test_uses_of_tools_stream_their_input_in_pieces(claude: anthropic.Anthropic, tools: list[Any]):
    with claude.messages.stream(**said(CITIES, tools=tools)) as stream:
        events = list(stream)
        final = stream.get_final_message()
    assert sum(event.type == "input_json" for event in events) >= 4
    assert [block.input for block in final.content if block.type == "tool_use"] == [
        {"city": "Seoul"},
        {"city": "Paris"},
    ]
    assert final.stop_reason == "tool_use"


# tokens


def test_the_tokens_of_a_message_are_counted_before_it_is_sent(claude: anthropic.Anthropic):
    asked: Any = {"model": "tiny", "messages": [{"role": "user", "content": "What is anabranch?"}]}
    counted = claude.messages.count_tokens(**asked).input_tokens
    assert counted == claude.messages.create(**asked, max_tokens=3).usage.input_tokens
    assert claude.messages.count_tokens(**asked, system="Be brief.").input_tokens > counted


# errors


def test_an_unknown_model_is_not_found(claude: anthropic.Anthropic):
    with pytest.raises(anthropic.NotFoundError) as found:
        claude.messages.create(**said("Tell me a story.", "claude-17"))
    assert found.value.type == "not_found_error"
    assert "claude-17" in found.value.message
    assert found.value.request_id


@pytest.mark.parametrize(
    ("wrong", "name"),
    [
        ({"messages": []}, "messages"),
        ({"messages": [{"role": "wizard", "content": "Hello"}]}, "messages"),
        ({"max_tokens": "many"}, "max_tokens"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"extra_body": {"temperature": "hot"}}, "temperature"),
        ({"tools": [{"name": "x"}]}, "tools"),
        (
            {
                "messages": [
                    {"role": "user", "content": [{"type": "tool_result", "tool_use_id": "t9", "content": "42"}]}
                ]
            },
            "messages",
        ),
    ],
)
@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_parameter_is_named(claude: anthropic.Anthropic, wrong: dict[str, Any], name: str, stream: bool):
    with pytest.raises(anthropic.BadRequestError) as found:
        claude.messages.create(**{**said("Tell me a story."), "stream": stream, **wrong})
    assert found.value.type == "invalid_request_error"
    assert name in found.value.message


def test_max_tokens_is_required(url: str):
    body = {"model": "scripted", "messages": [{"role": "user", "content": "Hi"}]}
    answer = httpx.post(f"{url}/v1/messages", json=body, headers={"anthropic-version": "2023-06-01", "x-api-key": "k"})
    assert answer.status_code == 400
    assert (answer.json()["type"], answer.json()["error"]["type"]) == ("error", "invalid_request_error")
    assert "max_tokens" in answer.json()["error"]["message"]


def test_an_image_for_a_model_without_eyes_is_refused(claude: anthropic.Anthropic):
    source = {"type": "base64", "media_type": "image/png", "data": "iVBORw0KGgo="}
    with pytest.raises(anthropic.BadRequestError) as found:
        claude.messages.create(
            model="tiny", max_tokens=10, messages=[{"role": "user", "content": [{"type": "image", "source": source}]}]
        )
    assert found.value.type == "invalid_request_error"


def test_a_prompt_that_is_too_long_is_an_invalid_request(claude: anthropic.Anthropic):
    with pytest.raises(anthropic.BadRequestError):
        claude.messages.create(**said("word " * 5000, "tiny"))


@pytest.mark.parametrize("text", ["Refuse me.", "Be busy.", "Break."])
@pytest.mark.parametrize("stream", [False, True])
def test_an_error_before_the_first_event_is_a_status(claude: anthropic.Anthropic, text: str, stream: bool):
    with pytest.raises(anthropic.APIStatusError) as found:
        list(claude.messages.create(**said(text), stream=stream))
    assert found.value.status_code >= 400
    assert found.value.type


@pytest.mark.parametrize("text", ["Be cut.", "Fail after two words."])
def test_an_error_in_mid_stream_is_raised_after_what_came(claude: anthropic.Anthropic, text: str):
    words: list[str] = []
    asked = claude.messages.stream(**said(text))
    with pytest.raises(anthropic.APIStatusError) as found, asked as stream:  # noqa: PT012  (what came before it counts)
        for word in stream.text_stream:
            words.append(word)
    assert words == ["Once", " upon"]
    assert found.value.type == "api_error"


def text(message: Any) -> str:
    return "".join(block.text for block in message.content if block.type == "text")
