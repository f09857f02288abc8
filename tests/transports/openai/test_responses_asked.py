"""What a request to `/v1/responses` may ask: what a workflow reads of it, and what is refused by name."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.conversations.parameters import parameters
from deployments.gateway.gateway import Gateway
from deployments.transports.app import build_app
from deployments.transports.openai.responses.parameters import ResponseBody
from graphs.errors import InvalidInput
from graphs.plan import Model
from tests.transports.openai.responding import TOOL, Talks, create, made
from tests.transports.served import Feed, answering, connected, one, plan, serving
from tests.transports.tasks_api import Answer, answer, two

CALL = {"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": "{}"}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "4 °C"}


async def test_a_workflow_reads_the_request_by_the_names_of_chat_completions(tmp_path: Path) -> None:
    talks = Talks(Feed("a"))
    schema = {"type": "json_schema", "name": "answer", "schema": {"type": "object"}, "strict": True}
    async with two(talks, tmp_path, one()) as served:
        await made(
            served, "Hello", instructions="Be brief.", max_output_tokens=9, temperature=0.5, top_p=0.9, user="u",
            tools=[TOOL], tool_choice={"type": "function", "name": "look_up"}, text={"format": schema},
            metadata={"a": "b", "input": '{"language": "en"}'}, reasoning={"effort": "low"}, of_my_own=5,
        )  # fmt: skip
    [heard] = talks.asked
    told = {key: TOOL[key] for key in ("name", "parameters")}
    expected = {
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hello"}],
        "tools": [{"type": "function", "function": told}],
        "tool_choice": {"type": "function", "function": {"name": "look_up"}},
        "response_format": {"type": "json_schema", "json_schema": {"name": "answer", "schema": {"type": "object"}, "strict": True}},
        "max_tokens": 9, "temperature": 0.5, "top_p": 0.9, "instructions": "Be brief.", "user": "u", "model": "story",
        "metadata": {"a": "b", "input": '{"language": "en"}'}, "language": "en", "of_my_own": 5, "reasoning_effort": "low",
        "question": "Hello", "text": "Hello",
    }  # fmt: skip
    assert {key: heard.get(key) for key in expected} == expected
    assert "input" not in heard


async def test_of_tools_that_are_not_allowed_nothing_is_heard(tmp_path: Path) -> None:
    talks = Talks(Feed("a"))
    allowed = {"type": "allowed_tools", "mode": "required", "tools": [{"type": "function", "name": "look_up"}]}
    async with two(talks, tmp_path, one()) as served:
        response = await made(served, tools=[TOOL, {**TOOL, "name": "other"}], tool_choice=allowed)
    assert [tool["function"]["name"] for tool in talks.asked[0]["tools"]] == ["look_up"]
    assert talks.asked[0]["tool_choice"] == "required"
    assert response["tool_choice"] == allowed
    assert len(response["tools"]) == 2


async def test_without_parallel_calls_the_first_call_is_the_only_one(tmp_path: Path) -> None:
    calls = [
        {"index": index, "id": f"c{index}", "function": {"name": "look_up", "arguments": "{}"}} for index in range(2)
    ]
    async with two(Talks(Feed({"tool_calls": calls}), Feed({"tool_calls": calls})), tmp_path, one()) as served:
        assert len((await made(served, tools=[TOOL]))["output"]) == 2
        response = await made(served, tools=[TOOL], parallel_tool_calls=False)
        assert len(response["output"]) == 1
        assert (await served.ask("GET", f"/v1/responses/{response['id']}", at=1)).json == response


@pytest.mark.parametrize(
    ("asked", "param", "said"),
    [
        ({"input": None}, "input", "there is nothing to answer"),
        ({"input": []}, "input", "there is nothing to answer"),
        ({"input": 5}, "input", "expected text or a list of items, got 5"),
        ({"model": 5}, "model", "expected text, got 5"),
        ({"instructions": ["a"]}, "instructions", "expected text, got a list"),
        ({"stream": "yes"}, "stream", "got 'yes'"),
        ({"temperature": 3}, "temperature", "got 3"),
        ({"max_output_tokens": 0}, "max_output_tokens", "got 0"),
        ({"max_output_tokens": 1.5}, "max_output_tokens", "got 1.5"),
        ({"tools": [{"type": "web_search"}]}, "tools[0].type", "tools of the type 'web_search' are run by OpenAI itself"),
        ({"tools": [TOOL, {"type": "custom", "name": "x"}]}, "tools[1].type", "this server calls functions"),
        ({"tools": [{"type": "function", "function": {"name": "x"}}]}, "tools[0].name", "expected text"),
        ({"tools": [{**TOOL, "parameters": 5}]}, "tools[0].parameters", "got 5"),
        ({"tool_choice": {"type": "web_search"}}, "tool_choice", "a function or allowed_tools"),
        ({"tool_choice": {"type": "function", "name": "x"}}, "tool_choice", "there is no tool 'x'; there are no tools"),
        ({"text": {"format": {"type": "grammar"}}}, "text.format", "got 'grammar'"),
        ({"text": {"format": {"type": "json_schema"}}}, "text.format", '"schema": {…}'),
        ({"text": {"colour": "red"}}, "text.colour", "text.colour"),
        ({"reasoning": {"effort": "huge"}}, "reasoning.effort", "got 'huge'"),
        ({"include": ["x"]}, "include[0]", "got 'x'"),
        ({"metadata": {"a": 5}}, "metadata", 'the value of "a": expected text, got 5'),
        ({"metadata": {"a": "x" * 513}}, "metadata", "at most 512 characters, got 513"),
        ({"metadata": {str(key): "x" for key in range(17)}}, "metadata", "at most 16 keys, got 17"),
        ({"metadata": {"input": "Hello"}}, "metadata.input", "expected an object"),
        ({"background": True, "store": False}, "background", "can't be asked for later"),
        ({"conversation": "conv_1"}, "conversation", "`previous_response_id`"),
        ({"prompt": {"id": "pmpt_1"}}, "prompt", "there are no stored prompts"),
    ],
)  # fmt: skip
async def test_what_is_wrong_is_named_by_its_parameter(
    tmp_path: Path, asked: dict[str, Any], param: str, said: str
) -> None:
    async with two(Talks(Feed("a")), tmp_path, one()) as served:
        refused = await create(served, **{"input": "Hello", **asked})
        error = refused.json["error"]
        assert (refused.status, error["type"], error["param"]) == (400, "invalid_request_error", param)
        assert said in error["message"]


@pytest.mark.parametrize(
    ("asked", "param", "code", "said"),
    [
        ({"truncation": "auto"}, None, None, None),
        ({"text": {"verbosity": "low"}}, "text.verbosity", "unsupported_parameter", "no model here can be told so"),
        ({"max_tokens": 5}, "max_tokens", "unknown_parameter", "unknown parameter 'max_tokens'; did you mean"),
        ({"metadata": {"input": "{}"}}, None, None, None),
        ({"top_logprobs": 2, "include": ["message.output_text.logprobs"]}, None, None, None),
        ({"truncation": "disabled", "text": {"verbosity": "medium"}, "include": ["reasoning.encrypted_content"]}, None, None, None),
        ({"top_logprobs": 0, "max_tool_calls": 3, "service_tier": "auto", "prompt_cache_key": "k"}, None, None, None),
    ],
)  # fmt: skip
async def test_a_model_is_asked_only_what_it_can_do(
    asked: dict[str, Any], param: str | None, code: str | None, said: str | None
) -> None:
    got = await of_model("a", **asked)
    if said is None:
        assert got.status == 200, got.body
        return
    error = got.json["error"]
    assert (got.status, error["param"], error["code"]) == (400, param, code)
    assert said in error["message"]


async def of_model(says: Any, **asked: Any) -> Answer:
    """What a model component's response is, that isn't stored."""
    models = {"tiny": Model("tiny", {"chat": "tiny:chat"}, is_component=True)}
    served = replace(plan(one()), models=models, doors={"tiny:chat": one(id="tiny:chat")})
    async with serving(build_app(Gateway(served, answering(says)))) as address, connected(address) as wire:
        await wire.ask({"model": "tiny", "input": "Hello", "store": False, **asked}, path="/v1/responses")
        return await answer(wire)


@pytest.mark.parametrize(
    ("input", "more", "index", "place"),
    [
        ("Hello", {}, 0, "input"),
        ("Hello", {"instructions": "Be brief."}, 0, "instructions"),
        ("Hello", {"instructions": "Be brief."}, 1, "input"),
        ([CALL, OUTPUT, {"role": "user", "content": "a"}], {"instructions": "Be brief."}, 3, "input[2]"),
        ([CALL, {**CALL, "call_id": "c2"}, OUTPUT], {}, 1, "input[2]"),
    ],
)  # fmt: skip
async def test_a_model_names_the_place_in_the_request(input: Any, more: dict[str, Any], index: int, place: str) -> None:
    error = InvalidInput(f"messages[{index}].content[1]: no eyes", field=f"messages.{index}.content.1")
    got = await of_model(error, input=input, **more)
    assert got.json["error"]["message"].endswith(f": {place}.content[1]: no eyes")
    assert (got.status, got.json["error"]["param"]) == (400, f"{place}.content[1]")


async def test_an_unknown_model_is_not_found(tmp_path: Path) -> None:
    async with two(Talks(), tmp_path, one()) as served:
        refused = await create(served, model="stroy")
        assert (refused.status, refused.json["error"]["code"]) == (404, "model_not_found")
        assert "did you mean 'story'?" in refused.json["error"]["message"]


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"input": "\xff"}'])
async def test_a_body_that_is_no_json_object_is_refused_in_openais_words(tmp_path: Path, body: bytes) -> None:
    async with two(Talks(), tmp_path, one()) as served, connected(served.addresses[0]) as wire:
        await wire.ask(body, path="/v1/responses")
        refused = await answer(wire)
        assert (refused.status, refused.json["error"]["type"]) == (400, "invalid_request_error")


async def test_a_body_that_is_too_large_is_413_in_openais_words(tmp_path: Path) -> None:
    async with two(Talks(), tmp_path, one(), max_request_size=100) as served:
        refused = await create(served, "x" * 200)
        assert (refused.status, refused.json["error"]["type"]) == (413, "invalid_request_error")


def test_every_parameter_of_openais_has_a_fate() -> None:
    assert {each.name for each in parameters(ResponseBody)} == {
        "access_programs", "background", "background_options", "context_management", "conversation", "frequency_penalty", "image",
        "include", "input", "instructions", "max_output_tokens", "max_tool_calls", "metadata", "model", "moderation",
        "parallel_tool_calls", "presence_penalty", "previous_response_id", "prompt", "prompt_cache_key", "prompt_cache_options",
        "prompt_cache_retention", "reasoning", "safety_identifier", "service_tier", "store", "stream", "stream_options",
        "temperature", "text", "tool_choice", "tools", "top_logprobs", "top_p", "truncation", "user",
    }  # fmt: skip
