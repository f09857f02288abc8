"""`POST /v1/chat/completions` over a real socket: what reaches the model, and what comes back."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.gateway.gateway import Gateway
from deployments.runs.events import Invocation
from deployments.transports.app import build_app
from deployments.transports.openai.chat import decode
from graphs.errors import ComponentFailed, InvalidInput, Overloaded, TimedOut
from graphs.plan import InputField, OutputKind, Store
from graphs.stream import Note, Value
from tests.runs.builders import job, workflow
from tests.transports.openai.models_api import (
    CHAT,
    HELLO,
    HUB,
    USAGE,
    Answering,
    ask,
    models_plan,
    refused,
    rest,
    scored,
)
from tests.transports.served import Feed, connected, one, serving, soon

STREAM = {"model": "tiny", "messages": HELLO, "stream": True}
WHOLE = {"model": "tiny", "messages": HELLO}
WITH_USAGE = {**STREAM, "stream_options": {"include_usage": True}}
CALL = {"id": "call_1", "type": "function", "function": {"name": "look_up", "arguments": '{"q": 1}'}}
ROLE = {"role": "assistant", "content": ""}


def deltas(chunks: list[Any]) -> list[Any]:
    return [chunk["choices"][0]["delta"] for chunk in chunks]


async def test_a_stream_is_openais_to_the_byte() -> None:
    answer = await ask(Answering("Hel", "lo\n"), CHAT, STREAM)
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-run-id"].startswith("run_")
    first = answer.chunks[0]
    said = answer.body.decode().replace(first["id"], "ID").replace(str(first["created"]), "NOW")
    head = 'data: {"id": "ID", "object": "chat.completion.chunk", "created": NOW, "model": "tiny", "choices": [{"index": 0, '
    assert said == (
        f'{head}"delta": {{"role": "assistant", "content": ""}}, "logprobs": null, "finish_reason": null}}]}}\n\n'
        f'{head}"delta": {{"content": "Hel"}}, "logprobs": null, "finish_reason": null}}]}}\n\n'
        f'{head}"delta": {{"content": "lo\\n"}}, "logprobs": null, "finish_reason": null}}]}}\n\n'
        f'{head}"delta": {{}}, "logprobs": null, "finish_reason": "stop"}}]}}\n\n'
        "data: [DONE]\n\n"
    )


async def test_a_whole_answer_is_openais() -> None:
    answer = await ask(Answering("Hel", "lo", finish="length"), CHAT, WHOLE)
    assert answer.headers["content-type"] == "application/json"
    said = answer.json
    assert said.pop("id") == f"chatcmpl-{answer.headers['x-run-id'].removeprefix('run_')}"
    assert isinstance(said.pop("created"), int)
    message = {"role": "assistant", "content": "Hello", "refusal": None}
    assert said == {
        "object": "chat.completion",
        "model": "tiny",
        "choices": [{"index": 0, "message": message, "logprobs": None, "finish_reason": "length"}],
        "usage": USAGE,
    }


async def test_usage_comes_in_a_last_chunk_when_it_is_asked_for() -> None:
    *before, last = (await ask(Answering("Hi"), CHAT, WITH_USAGE)).chunks
    assert (last["choices"], last["usage"]) == ([], USAGE)
    assert [chunk["usage"] for chunk in before] == [None, None, None]
    assert len({(chunk["id"], chunk["created"], chunk["model"]) for chunk in (*before, last)}) == 1


async def test_usage_that_nobody_noted_is_left_out() -> None:
    streamed = await ask(Answering("Hi", usage=None), CHAT, WITH_USAGE)
    assert all(chunk["choices"] for chunk in streamed.chunks)
    assert "usage" not in (await ask(Answering("Hi", usage=None), CHAT, WHOLE)).json


async def test_an_empty_answer_still_has_a_role_and_an_end() -> None:
    chunks = (await ask(Answering(), CHAT, STREAM)).chunks
    assert deltas(chunks) == [ROLE, {}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "stop"


async def test_each_choice_is_a_run_with_a_seed_of_its_own() -> None:
    model = Answering("a", "b")
    answer = await ask(model, CHAT, {**WHOLE, "n": 3, "seed": 7})
    assert [choice["index"] for choice in answer.json["choices"]] == [0, 1, 2]
    assert sorted(input["seed"] for input in model.inputs) == [7, 8, 9]
    # The prompt is counted once.
    assert answer.json["usage"] == {"prompt_tokens": 5, "completion_tokens": 6, "total_tokens": 11}


async def test_choices_stream_side_by_side() -> None:
    *chunks, last = (await ask(Answering("a", "b"), CHAT, {**WITH_USAGE, "n": 2})).chunks
    for index in (0, 1):
        its = [chunk for chunk in chunks if chunk["choices"][0]["index"] == index]
        assert deltas(its) == [ROLE, {"content": "a"}, {"content": "b"}, {}]
        assert [chunk["choices"][0]["finish_reason"] for chunk in its] == [None, None, None, "stop"]
    assert last["usage"]["completion_tokens"] == 4


async def test_reasoning_calls_and_refusals_are_deltas() -> None:
    first = {"tool_calls": [{"index": 0, **CALL, "function": {"name": "look_up", "arguments": '{"q"'}}]}
    more = {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]}
    model = Answering({"reasoning_content": "Hm."}, {"content": "Look:"}, first, more, {"refusal": "No."})
    chunks = (await ask(model, CHAT, STREAM)).chunks
    thought, said, refused = {"reasoning_content": "Hm."}, {"content": "Look:"}, {"refusal": "No."}
    assert deltas(chunks) == [ROLE, thought, said, first, more, refused, {}]
    assert chunks[-1]["choices"][0]["finish_reason"] == "tool_calls"
    (choice,) = (await ask(model, CHAT, WHOLE)).json["choices"]
    assert choice["message"] == {"role": "assistant", **thought, **said, **refused, "tool_calls": [CALL]}


@pytest.mark.parametrize("stream", [False, True])
async def test_probabilities_are_told_with_the_text_of_their_tokens(*, stream: bool) -> None:
    tokens = [scored("Hel", "Hal"), scored("lo")]
    model = Answering(Note({"logprobs": tokens[:1]}), "Hel", Note({"logprobs": tokens[1:]}), "lo")
    answer = await ask(model, CHAT, {**STREAM, "stream": stream, "logprobs": True, "top_logprobs": 1})
    assert model.inputs[0]["logprobs"] == 1
    said = [each["choices"][0]["logprobs"] for each in (answer.chunks if stream else [answer.json])]
    entries = [{"content": [each], "refusal": None} for each in tokens]
    assert said == ([None, *entries, None] if stream else [{"content": tokens, "refusal": None}])


async def test_probabilities_that_are_not_asked_for_are_left_out() -> None:
    model = Answering(Note({"logprobs": [scored("Hi")]}), "Hi")
    assert all(each["choices"][0]["logprobs"] is None for each in (await ask(model, CHAT, STREAM)).chunks)
    assert (await ask(model, CHAT, WHOLE)).json["choices"][0]["logprobs"] is None


async def test_a_workflow_reads_how_probabilities_are_asked_for() -> None:
    asking = Answering("x")
    await ask(asking, CHAT, {"messages": HELLO, "logprobs": True, "top_logprobs": 2})
    assert (asking.inputs[0]["logprobs"], asking.inputs[0]["top_logprobs"]) == (True, 2)


async def test_only_the_first_call_comes_back_where_one_is_allowed() -> None:
    calls = {"tool_calls": [{"index": 0, **CALL}, {"index": 1, **CALL, "id": "call_2"}]}
    answer = await ask(Answering(calls), CHAT, {**WHOLE, "parallel_tool_calls": False})
    assert answer.json["choices"][0]["message"]["tool_calls"] == [CALL]


async def test_a_component_gets_the_request_as_it_is() -> None:
    model = Answering("x")
    tools = [{"type": "function", "function": {"name": "look_up", "parameters": {}}}]
    same = {"tools": tools, "tool_choice": "auto", "response_format": {"type": "text"}, "reasoning_effort": "none",
            "min_tokens": 1, "temperature": 0, "repetition_penalty": 1.5}  # fmt: skip
    harmless = {"user": "ann", "service_tier": "auto", "frequency_penalty": 0.0, "logit_bias": {}, "store": None}
    messages = [{"role": "developer", "content": "Be brief."}, *HELLO]
    limits = {"max_tokens": 9, "max_completion_tokens": 8, "top_k": -1, "stop": "END"}
    answer = await ask(model, CHAT, {"model": HUB, "messages": messages, **limits, **same, **harmless})
    assert answer.json["model"] == HUB
    assert model.inputs == [
        {
            **same, "messages": [{"role": "system", "content": "Be brief."}, *HELLO], "prompt": "Hello", "stream": False,
            "chat_template_kwargs": {"reasoning_effort": "none", "enable_thinking": False}, "max_tokens": 8, "top_k": 0,
            "stop": ["END"], "do_sample": False,
        }
    ]  # fmt: skip


async def test_a_top_p_of_0_takes_the_likeliest_token() -> None:
    model = Answering("x")
    await ask(model, CHAT, {**WHOLE, "top_p": 0, "temperature": 1})
    assert model.inputs[0]["do_sample"] is False
    assert "top_p" not in model.inputs[0]


async def test_a_workflow_gets_every_field_and_the_question_by_all_its_names() -> None:
    asking = Answering("x")
    parts = [{"type": "text", "text": "What is it?"}, {"type": "image_url", "image_url": {"url": "data:,"}}]
    own = {"logit_bias": {"1": 5}, "style": "dry", "user": "ann", "messages": [{"role": "user", "content": parts}],
           "metadata": {"input": {"topic": "rivers", "query": "mine"}}}  # fmt: skip
    await ask(asking, CHAT, {**own, "n": 2, "input": {"topic": "lakes"}})
    question = dict.fromkeys(("prompt", "text", "message", "question"), "What is it?")
    expected = {**own, **question, "query": "mine", "topic": "lakes", "model": None, "stream": False}
    assert asking.inputs == [expected, expected]


async def test_the_input_in_metadata_may_be_json_as_text() -> None:
    asking = Answering("x")
    await ask(asking, CHAT, {"messages": HELLO, "metadata": {"input": '{"topic": "rivers"}'}})
    assert asking.inputs[0]["topic"] == "rivers"


async def test_what_sdks_send_back_of_an_answer_is_taken() -> None:
    model = Answering("x")
    nothing = dict.fromkeys(("content", "refusal", "audio", "function_call"))
    answered = {"role": "assistant", **nothing, "annotations": [], "tool_calls": [CALL], "reasoning_content": "Hm."}
    result = {"role": "tool", "tool_call_id": "call_1", "content": "42"}
    assert (await ask(model, CHAT, {**WHOLE, "messages": [*HELLO, answered, {**result, "name": None}]})).status == 200
    kept = {"role": "assistant", "content": None, "tool_calls": [CALL], "reasoning_content": "Hm."}
    assert model.inputs[0]["messages"] == [*HELLO, kept, result]


MESSAGES = [
    ("Hi", "messages", "messages: expected a list, got 'Hi'; write"),
    ([], "messages", "messages: expected at least one message, got an empty list; write"),
    (["Hi"], "messages[0]", "messages[0]: expected an object, got 'Hi'; write"),
    ([{"role": "usr", "content": "x"}], "messages[0].role", "expected one of system, developer, user, assistant, tool"),
    ([*HELLO, {"role": "user", "content": 5}], "messages[1].content", "got 5; write"),
    ([{"role": "user"}], "messages[0].content", "expected text or a list of parts, got nothing"),
    ([{"role": "user", "content": [{"type": "text"}]}], "messages[0].content[0].text", "got nothing"),
    ([{"role": "function", "name": "f", "content": "x"}], "messages[0].role", "write the role 'tool'"),
    ([{"role": "tool", "content": "x"}], "messages[0].tool_call_id", "the id of the call"),
    ([{"role": "tool", "content": "x", "tool_call_id": "c"}], "messages[0].tool_call_id", "there is no call 'c'"),
    ([{**HELLO[0], "tool_calls": [CALL]}], "messages[0].tool_calls", "only the assistant calls tools"),
    ([{"role": "assistant", "function_call": {}}], "messages[0].function_call", "write tool_calls"),
    (
        [{"role": "assistant", "tool_calls": [{**CALL, "function": {"name": "f", "arguments": {}}}]}],
        "messages[0].tool_calls[0].function.arguments",
        "write JSON as text",
    ),
]


@pytest.mark.parametrize(("messages", "param", "told"), MESSAGES)
def test_what_is_wrong_with_a_message_is_named(messages: Any, param: str, told: str) -> None:
    error = refused(decode, {"model": "tiny", "messages": messages})
    assert (error["type"], error["param"]) == ("invalid_request_error", param)
    assert told in error["message"]


UNKNOWN, UNSUPPORTED = "unknown_parameter", "unsupported_parameter"
PARAMETERS = [
    ({"messages": None}, "messages", None, "messages: expected a list, got null"),
    ({"functions": []}, "functions", UNSUPPORTED, "`tools` took its place"),
    ({"temperature": 2.5}, "temperature", None, "expected at most 2, got 2.5; write"),
    ({"temperature": "hot"}, "temperature", None, "expected a number, got 'hot'"),
    ({"top_p": -0.1}, "top_p", None, "got -0.1"),
    ({"n": 17}, "n", None, "expected at most 16, got 17"),
    ({"max_tokens": 0}, "max_tokens", None, "expected 1 or more, got 0"),
    ({"max_tokens": 1.5}, "max_tokens", None, "expected a whole number, got 1.5"),
    ({"stream": "yes"}, "stream", None, "expected true or false, got 'yes'"),
    ({"stop": [None]}, "stop", None, 'write ["\\n"]'),
    ({"top_logprobs": 21}, "top_logprobs", None, "expected at most 20, got 21"),
    ({"top_logprobs": 2}, "top_logprobs", None, 'write "logprobs": true beside it'),
    ({"tools": [{"type": "function"}]}, "tools[0].function", None, "expected an object"),
    ({"tool_choice": 1}, "tool_choice", None, "expected none, auto, required or an object, got 1"),
    ({"response_format": "json"}, "response_format", None, 'write {"type": "json_object"}'),
    ({"model": 3}, "model", None, "expected text, got 3"),
    ({"stream_options": {"usage": True}}, "stream_options.usage", None, "unknown parameter"),
    ({"metadata": {"input": "river"}}, "metadata.input", None, "expected an object of fields"),
    ({"presense_penalty": 1}, "presense_penalty", UNKNOWN, "did you mean 'presence_penalty'?"),
    ({"guided_regex": "a"}, "guided_regex", UNKNOWN, "leave it out"),
    ({"presence_penalty": 1}, "presence_penalty", UNSUPPORTED, "leave it out, or write 0"),
    ({"logit_bias": {"1": 5}}, "logit_bias", UNSUPPORTED, "leave it out, or write {}"),
    ({"modalities": ["text", "audio"]}, "modalities", UNSUPPORTED, "answer in text"),
    ({"input": {"topic": "x"}}, "input", None, "reads no input of a workflow"),
]


@pytest.mark.parametrize(("more", "param", "code", "told"), PARAMETERS)
def test_what_is_wrong_with_a_parameter_is_named(more: Any, param: str, code: str | None, told: str) -> None:
    error = refused(decode, {**WHOLE, **more})
    assert (error["type"], error["param"], error["code"]) == ("invalid_request_error", param, code)
    assert told in error["message"]


async def test_a_request_that_is_wrong_begins_no_run() -> None:
    model = Answering("x")
    answer = await ask(model, CHAT, {**WHOLE, "logit_bias": {"1": 5}})
    assert (answer.status, answer.error["param"], model.inputs) == (400, "logit_bias", [])


async def test_an_unknown_model_is_told_with_those_there_are() -> None:
    answer = await ask(Answering(), CHAT, {"model": "storey", "messages": HELLO})
    assert (answer.status, answer.error["code"]) == (404, "model_not_found")
    assert "did you mean 'story'? the models are story, tiny," in answer.error["message"]


async def test_without_a_model_the_default_workflow_answers() -> None:
    assert (await ask(Answering("x"), CHAT, {"messages": HELLO})).json["model"] == "story"


async def test_a_field_that_a_workflow_needs_is_asked_for_by_name() -> None:
    needing = one(inputs=(InputField("topic"),))
    answer = await ask(Answering("x"), CHAT, {"messages": HELLO}, served=models_plan(needing))
    assert (answer.status, answer.error["param"]) == (400, "topic")
    assert "metadata.input.topic" in answer.error["message"]


TOO_LONG = InvalidInput("too long", field="messages", code="context_length_exceeded")


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(
    ("error", "status", "type", "code"),
    [
        (TOO_LONG, 400, "invalid_request_error", "context_length_exceeded"),
        (Overloaded("full", retry_after=3), 503, "server_error", "overloaded"),
        (ComponentFailed("broken"), 502, "server_error", "component_failed"),
        (TimedOut("slow"), 504, "server_error", "timed_out"),
    ],
)
async def test_a_failure_before_the_first_chunk_is_an_http_error(
    error: Exception, status: int, type: str, code: str, *, stream: bool
) -> None:
    answer = await ask(Answering(whole=error), CHAT, {**STREAM, "stream": stream})
    assert (answer.status, answer.error["type"], answer.error["code"]) == (status, type, code)
    assert answer.error["run_id"] == answer.headers["x-run-id"]
    assert answer.headers.get("retry-after") == ("3" if status == 503 else None)


async def test_an_error_of_a_model_names_no_workflow_but_the_component() -> None:
    answer = await ask(Answering(whole=ComponentFailed("it broke")), CHAT, WHOLE)
    assert answer.error["message"].endswith(": it broke")
    assert "tiny:chat" not in answer.body.decode()


async def test_a_limit_that_doesnt_fit_is_named_as_the_request_has_it() -> None:
    answer = await ask(Answering(whole=InvalidInput("too many", field="params.max_output_length")), CHAT, WHOLE)
    assert answer.error["param"] == "max_tokens"


async def test_a_failure_after_the_first_chunk_is_the_last_event_and_names_the_run() -> None:
    answer = await ask(Answering("Hi", ComponentFailed("it broke")), CHAT, STREAM)
    assert answer.status == 200
    *_, last, empty = answer.body.decode().split("\n\n")
    assert empty == ""
    error = json.loads(last.removeprefix("data: "))["error"]
    assert error["message"].endswith("it broke")
    assert (error["type"], error["run_id"]) == ("server_error", answer.headers["x-run-id"])


class TwoFeeds:
    """A component whose first two calls are under the test's control."""

    def __init__(self) -> None:
        self.feeds = [Feed("a", ends=False), Feed("a", ends=False)]
        self._left = iter(self.feeds)

    async def __call__(self, invocation: Invocation) -> Value:
        return await next(self._left)(invocation)


async def test_one_choice_that_fails_ends_them_all() -> None:
    both = TwoFeeds()
    async with serving(build_app(Gateway(models_plan(), both))) as address, connected(address) as wire:
        await wire.ask({**STREAM, "n": 2}, path=CHAT)
        await wire.head()
        for feed in both.feeds:
            await soon(feed.asked)
        both.feeds[1].fail(ComponentFailed("it broke"))
        body = await rest(wire)
        await soon(both.feeds[0].closed)
    assert b'"message": ' in body.rpartition(b"data: ")[2]
    assert b"[DONE]" not in body


@pytest.mark.parametrize("stream", [False, True])
async def test_a_client_that_leaves_ends_all_its_runs(*, stream: bool) -> None:
    both = TwoFeeds()
    async with serving(build_app(Gateway(models_plan(), both))) as address:
        async with connected(address) as wire:
            await wire.ask({**STREAM, "stream": stream, "n": 2}, path=CHAT)
            for feed in both.feeds:
                await soon(feed.asked)
        for feed in both.feeds:
            await soon(feed.closed)


async def test_a_request_that_stores_keeps_its_run(tmp_path: Path) -> None:
    gateway = Gateway(models_plan(store=Store(f"sqlite:///{tmp_path / 'runs.db'}")), Answering("Hi"))
    async with serving(build_app(gateway)) as address:
        for store in (True, False):
            async with connected(address) as wire:
                await wire.ask({**STREAM, "store": store}, path=CHAT)
                await wire.until(b"[DONE]")
        kept = await gateway.kept.list(workflow=None, status=None, session=None, before=None, limit=9)
        assert [run.status for run in kept] == ["completed"]
    await gateway.aclose()


async def test_several_streams_side_by_side_give_the_primary_one() -> None:
    output = {"summary": "${jobs.summary.output}", "answer": "${jobs.answer.output}"}
    both = workflow(job("answer", "a"), job("summary", "s"), id="story", output=output, reads=("answer", "summary"))
    both = replace(both, output_kind=OutputKind(names=("summary", "answer")))

    async def invoke(invocation: Invocation) -> Value:
        return await Feed(*("Short",) if invocation.input == "s" else ("Long", " answer"))(invocation)

    for primary, expected in (("answer", ["Long answer"]), (None, ["Short", "Long answer"])):
        said = await ask(invoke, CHAT, {"messages": HELLO}, served=models_plan(both, primary=primary))
        assert said.json["choices"][0]["message"]["content"] in expected
