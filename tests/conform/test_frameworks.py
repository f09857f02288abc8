"""What users of LangChain, LiteLLM and Pydantic AI rely on; each calls the server by the vendor's API that it was made for."""

from __future__ import annotations

import json
from typing import Any

import litellm
import pytest
from langchain_core.messages import AIMessage, HumanMessage, SystemMessage, ToolMessage
from langchain_core.tools import tool
from langchain_openai import ChatOpenAI, OpenAIEmbeddings
from pydantic import BaseModel
from pydantic_ai import Agent
from pydantic_ai.models import Model
from pydantic_ai.models.anthropic import AnthropicModel
from pydantic_ai.models.openai import OpenAIChatModel, OpenAIResponsesModel
from pydantic_ai.providers.anthropic import AnthropicProvider
from pydantic_ai.providers.openai import OpenAIProvider

STORY = "Tell me a story."
CITIES = "What is the weather in Seoul and Paris?"
ADA = "Who wrote the first program?"
KEY = "sk-of-the-test"


class Person(BaseModel):
    name: str
    born: int


# LangChain

APIS = pytest.mark.parametrize("responses", [False, True], ids=["chat", "responses"])


def chat(url: str, responses: bool, model: str = "scripted", **more: Any) -> ChatOpenAI:
    return ChatOpenAI(
        model=model, base_url=f"{url}/v1", api_key=KEY, use_responses_api=responses, max_retries=0, **more
    )


@tool
def get_weather(city: str) -> str:
    """Return the weather of a city."""
    return {"Seoul": "sunny", "Paris": "grey"}[city]


@APIS
def test_langchain_invokes(url: str, responses: bool):
    message = chat(url, responses).invoke([SystemMessage("Be brief."), HumanMessage(STORY)])
    assert message.text == "Once upon a time"
    assert message.usage_metadata is not None
    assert message.usage_metadata["total_tokens"] == 24


@APIS
def test_langchain_streams(url: str, responses: bool):
    chunks = [chunk.text for chunk in chat(url, responses, stream_usage=True).stream(STORY)]
    assert [chunk for chunk in chunks if chunk] == ["Once", " upon", " a", " time"]


@APIS
async def test_langchain_streams_asynchronously(url: str, responses: bool):
    assert "".join([chunk.text async for chunk in chat(url, responses).astream(STORY)]) == "Once upon a time"


@APIS
@pytest.mark.parametrize("stream", [False, True])
def test_langchain_calls_tools(url: str, responses: bool, stream: bool):
    model = chat(url, responses).bind_tools([get_weather])
    messages: list[Any] = [HumanMessage(CITIES)]
    asked: Any = model.invoke(messages)
    if stream:
        first, *rest = model.stream(messages)
        asked = sum(rest, first)
    assert [call["args"] for call in asked.tool_calls] == [{"city": "Seoul"}, {"city": "Paris"}]
    messages += [AIMessage(**asked.model_dump(exclude={"type"})) if stream else asked]
    messages += [ToolMessage(get_weather.invoke(call["args"]), tool_call_id=call["id"]) for call in asked.tool_calls]
    assert model.invoke(messages).text == "It is sunny and grey today."


@APIS
@pytest.mark.parametrize("method", ["json_schema", "function_calling"])
def test_langchain_gives_structured_output(url: str, responses: bool, method: Any):
    model = chat(url, responses).with_structured_output(Person, method=method)
    assert model.invoke(ADA) == Person(name="Ada", born=1815)


def test_langchain_embeds(url: str):
    # Without this it sends tokens of OpenAI's own tokenizer, which mean nothing to another model.
    model = OpenAIEmbeddings(model="vectors", base_url=f"{url}/v1", api_key=KEY, check_embedding_ctx_length=False)
    assert [len(vector) for vector in model.embed_documents(["a fox", "a kite"])] == [192, 192]


# LiteLLM


@pytest.fixture
def through(url: str) -> dict[str, Any]:
    return {"api_base": f"{url}/v1", "api_key": KEY, "num_retries": 0}


def said(text: str) -> list[Any]:
    return [{"role": "user", "content": text}]


def test_litellm_completes(through: dict[str, Any]):
    answer: Any = litellm.completion(model="openai/scripted", messages=said(STORY), **through)
    assert answer.choices[0].message.content == "Once upon a time"
    assert answer.usage.total_tokens == 14


def test_litellm_streams(through: dict[str, Any]):
    stream: Any = litellm.completion(
        model="openai/scripted", messages=said(STORY), stream=True, stream_options={"include_usage": True}, **through
    )
    chunks = list(stream)
    assert "".join(chunk.choices[0].delta.content or "" for chunk in chunks if chunk.choices) == "Once upon a time"
    assert litellm.stream_chunk_builder(chunks).usage.total_tokens == 14


def test_litellm_reads_reasoning_and_calls(through: dict[str, Any], weather: dict[str, Any]):
    thought: Any = litellm.completion(model="openai/scripted", messages=said("Think about it."), **through)
    assert thought.choices[0].message.reasoning_content == "Six times seven."
    tools = [{"type": "function", "function": {"name": "get_weather", "parameters": weather}}]
    asked: Any = litellm.completion(model="openai/scripted", messages=said(CITIES), tools=tools, **through)
    calls = [json.loads(call.function.arguments) for call in asked.choices[0].message.tool_calls]
    assert calls == [{"city": "Seoul"}, {"city": "Paris"}]


def test_litellm_speaks_the_other_apis(url: str, through: dict[str, Any]):
    answer: Any = litellm.responses(model="openai/scripted", input=STORY, **through)
    assert answer.output[0].content[0].text == "Once upon a time"
    message: Any = litellm.completion(
        model="anthropic/scripted", messages=said(STORY), api_base=url, api_key=KEY, num_retries=0
    )
    assert message.choices[0].message.content == "Once upon a time"


def test_litellm_knows_the_errors(through: dict[str, Any]):
    with pytest.raises(litellm.NotFoundError):
        litellm.completion(model="openai/gpt-17", messages=said(STORY), **through)
    with pytest.raises(litellm.ContextWindowExceededError):
        litellm.completion(model="openai/tiny", messages=said("word " * 5000), **through)


# Pydantic AI

KINDS = ("chat", "responses", "anthropic")


@pytest.fixture(params=KINDS)
def model(request: pytest.FixtureRequest, url: str) -> Model:
    match request.param:
        case "chat":
            return OpenAIChatModel("scripted", provider=OpenAIProvider(base_url=f"{url}/v1", api_key=KEY))
        case "responses":
            return OpenAIResponsesModel("scripted", provider=OpenAIProvider(base_url=f"{url}/v1", api_key=KEY))
        case _:
            return AnthropicModel("scripted", provider=AnthropicProvider(base_url=url, api_key=KEY))


async def test_pydantic_ai_runs(model: Model):
    result = await Agent(model, instructions="Be brief.").run(STORY)
    assert result.output == "Once upon a time"
    assert result.usage.output_tokens == 4


async def test_pydantic_ai_streams(model: Model):
    async with Agent(model).run_stream(STORY) as result:
        words = [word async for word in result.stream_text(delta=True, debounce_by=None)]
    assert words == ["Once", " upon", " a", " time"]


async def test_pydantic_ai_goes_on_with_a_conversation(model: Model):
    agent = Agent(model)
    first = await agent.run(STORY)
    second = await agent.run("Repeat what you were sent.", message_history=first.all_messages())
    assert [message["role"] for message in json.loads(second.output)["messages"]] == ["user", "assistant", "user"]


@pytest.mark.parametrize("stream", [False, True])
async def test_pydantic_ai_calls_tools(model: Model, stream: bool):
    agent = Agent(model)

    @agent.tool_plain
    def get_weather(city: str) -> str:
        return {"Seoul": "sunny", "Paris": "grey"}[city]

    if not stream:
        assert (await agent.run(CITIES)).output == "It is sunny and grey today."
        return
    async with agent.run_stream(CITIES) as result:
        assert await result.get_output() == "It is sunny and grey today."


async def test_pydantic_ai_gives_typed_output(model: Model):
    assert (await Agent(model, output_type=Person).run(ADA)).output == Person(name="Ada", born=1815)


async def test_pydantic_ai_reads_the_thoughts(model: Model):
    # Only Anthropic's API wants to be asked for them.
    thinking: Any = {"anthropic_thinking": {"type": "enabled", "budget_tokens": 1024}, "max_tokens": 4000}
    asks = isinstance(model, AnthropicModel)
    result = await Agent(model).run("Think about it.", model_settings=thinking if asks else None)
    parts = [part for message in result.all_messages() for part in message.parts]
    assert result.output == "42"
    assert any(part.part_kind == "thinking" for part in parts)
