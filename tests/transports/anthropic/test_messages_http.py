"""`/v1/messages` and `/v1/messages/count_tokens` over a real socket."""

from __future__ import annotations

import json
from typing import Any

import pytest
from fastapi import FastAPI

from deployments.gateway.gateway import Gateway
from deployments.runs.events import Invocation
from deployments.transports import anthropic
from graphs.errors import (
    AnabranchError,
    Cancelled,
    ComponentFailed,
    InvalidInput,
    Overloaded,
    RateLimited,
    TimedOut,
    Unauthorized,
)
from graphs.stream import Note, Value
from tests.transports.anthropic.messages_api import ASKED, HELLO, api, events, fold, request, served_plan
from tests.transports.served import Feed, answering, connected, serving, soon

NOTE = Note({"usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5}, "finish_reason": "length"})
STREAMED = {**ASKED, "stream": True}


def error_of(text: str) -> dict[str, Any]:
    said = json.loads(text)
    assert said["type"] == "error"
    assert said["request_id"].startswith(("run_", "req_"))
    return said["error"]


@pytest.mark.parametrize("path", ["/v1/messages", "/api/v1/messages"])
async def test_a_whole_message(path: str) -> None:
    status, headers, text = await request(Feed("Once", " upon", NOTE), ASKED, path=path)
    run = headers["X-Run-Id"]
    assert (status, headers["request-id"], headers["Content-Type"]) == (200, run, "application/json")
    assert json.loads(text) == {
        "id": f"msg_{run.removeprefix('run_')}",
        "type": "message",
        "role": "assistant",
        "model": "story",
        "content": [{"type": "text", "text": "Once upon"}],
        "stop_reason": "max_tokens",
        "stop_sequence": None,
        "stop_details": None,
        "usage": {"input_tokens": 3, "output_tokens": 2},
    }


async def test_a_stream_folds_to_the_message_of_its_run() -> None:
    status, headers, text = await request(Feed("Once", " upon", NOTE), STREAMED)
    run = headers["X-Run-Id"]
    assert (status, headers["request-id"], headers["Content-Type"]) == (200, run, "text/event-stream")
    message = fold(events(text))
    assert message["id"] == f"msg_{run.removeprefix('run_')}"
    assert message["content"] == [{"type": "text", "text": "Once upon"}]
    assert message["usage"] == {"input_tokens": 3, "output_tokens": 2}


async def test_openais_deltas_become_blocks() -> None:
    call = {"index": 0, "id": "call_a", "function": {"name": "rain", "arguments": '{"at": "sea"}'}}
    chunks = [{"reasoning_content": "hm"}, {"content": "See."}, {"tool_calls": [call]}]
    body = {**STREAMED, "thinking": {"type": "adaptive"}}
    _, _, text = await request(Feed(*chunks), body)
    message = fold(events(text))
    assert message["stop_reason"] == "tool_use"
    assert message["content"] == [
        {"type": "thinking", "thinking": "hm", "signature": ""},
        {"type": "text", "text": "See."},
        {"type": "tool_use", "id": "call_a", "name": "rain", "input": {"at": "sea"}},
    ]


async def test_of_several_calls_the_first_is_given_where_one_was_asked_for() -> None:
    calls = [{"index": index, "function": {"name": "f", "arguments": "{}"}} for index in (0, 1)]
    body = {**ASKED, "tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    _, _, text = await request(Feed({"tool_calls": calls}), body)
    assert len(json.loads(text)["content"]) == 1


async def test_a_model_gets_the_request_by_its_own_names() -> None:
    asked: list[Value] = []

    async def invoke(invocation: Invocation) -> Value:
        asked.append(invocation.input)
        return "Hi."

    body = {
        **ASKED,
        "model": "tiny",
        "system": "Be brief.",
        "temperature": 0,
        "stop_sequences": ["###"],
        "thinking": {"type": "disabled"},
        "metadata": {"user_id": "u1"},
        "service_tier": "auto",
    }
    status, _, _ = await request(invoke, body)
    assert status == 200
    assert asked == [
        {
            "messages": [{"role": "system", "content": "Be brief."}, *HELLO],
            "prompt": "Hello",
            "max_tokens": 9,
            "temperature": 0,
            "do_sample": False,
            "stop": ["###"],
            "chat_template_kwargs": {"enable_thinking": False},
            "stream": False,
        }
    ]


async def test_a_stop_sequence_is_named_where_it_was_noted() -> None:
    body = {**ASKED, "stop_sequences": ["###"]}
    _, _, text = await request(Feed("a", Note({"finish_reason": "stop", "stop_sequence": "###"})), body)
    message = json.loads(text)
    assert (message["stop_reason"], message["stop_sequence"]) == ("stop_sequence", "###")


# errors


@pytest.mark.parametrize(
    ("error", "status", "kind"),
    [
        (InvalidInput("no"), 400, "invalid_request_error"),
        (Unauthorized("no"), 401, "authentication_error"),
        (RateLimited("no", retry_after=2), 429, "rate_limit_error"),
        (Cancelled("no"), 499, "api_error"),
        (AnabranchError("no"), 500, "api_error"),
        (ComponentFailed("no"), 502, "api_error"),
        (TimedOut("no"), 504, "timeout_error"),
        (Overloaded("no", retry_after=2), 529, "overloaded_error"),
    ],
)
@pytest.mark.parametrize("body", [ASKED, STREAMED])
async def test_an_error_before_the_first_piece_is_an_http_error(
    error: AnabranchError, status: int, kind: str, body: Any
) -> None:
    answered, headers, text = await request(answering(error), body)
    said = error_of(text)
    assert (answered, said["type"]) == (status, kind)
    assert said["message"].endswith("no")
    assert headers["request-id"] == headers["X-Run-Id"] == json.loads(text)["request_id"]
    assert headers.get("Retry-After") == ("2" if "retry_after" in error.details else None)


async def test_an_error_after_the_first_piece_is_the_last_event() -> None:
    feed = Feed("Once", ends=False)
    feed.fail(ComponentFailed("no"))
    status, headers, text = await request(feed, STREAMED)
    *before, last = events(text)
    assert status == 200
    assert [event["type"] for event in before] == [
        "message_start", "ping", "content_block_start", "content_block_delta",
    ]  # fmt: skip
    assert last["error"]["type"] == "api_error"
    assert last["request_id"] == headers["X-Run-Id"]


async def test_an_error_code_is_told_to_programs() -> None:
    error = InvalidInput("too long", code="context_length_exceeded")
    _, _, text = await request(answering(error), ASKED)
    assert error_of(text)["details"] == {"error_code": "context_length_exceeded"}


async def test_an_error_of_the_model_names_the_place_that_the_client_wrote() -> None:
    error = InvalidInput("messages[1].content[0]: the model reads text", field="messages[1].content[0]")
    _, _, text = await request(answering(error), {**ASKED, "system": "Be brief."})
    assert "messages[0].content[0]: the model reads text" in error_of(text)["message"]


async def test_an_error_of_a_model_has_the_words_of_the_request() -> None:
    error = InvalidInput("max_output_length is 9, and the context is 8")
    _, _, text = await request(answering(error), {**ASKED, "model": "tiny"})
    assert "max_tokens is 9, and" in error_of(text)["message"]
    _, _, text = await request(answering(error), ASKED)
    assert "max_output_length is 9, and" in error_of(text)["message"]


@pytest.mark.parametrize(
    ("body", "status", "kind", "message"),
    [
        (b"{", 400, "invalid_request_error", "the body is not JSON"),
        ({**ASKED, "model": "stry"}, 404, "not_found_error", "there is no model 'stry'; did you mean 'story'?"),
        ({**ASKED, "model": "vectors"}, 400, "invalid_request_error", "model: 'vectors' is not a model for"),
        ({**ASKED, "model": "needy"}, 400, "invalid_request_error", "about: the workflow 'needy' needs it"),
        (
            {**ASKED, "model": "tiny", "inpt": {}},
            400,
            "invalid_request_error",
            "unknown parameter 'inpt'; did you mean 'input'",
        ),
        ({**ASKED, "model": "tiny", "input": {"a": 1}}, 400, "invalid_request_error", "input: 'tiny' is a model"),
        (b" " * 2000, 413, "request_too_large", "larger than 1000 bytes"),
    ],
)
async def test_a_bad_request_is_answered_in_anthropics_words(body: Any, status: int, kind: str, message: str) -> None:
    answered, headers, text = await request(answering("x"), body, max_request_size=1000)
    said = error_of(text)
    assert (answered, said["type"]) == (status, kind)
    assert message in said["message"]
    assert headers["request-id"] == json.loads(text)["request_id"]


async def test_a_compressed_body_and_another_method_are_refused_in_anthropics_words() -> None:
    _, _, text = await request(answering("x"), b"x", headers={"Content-Encoding": "gzip"})
    assert error_of(text)["type"] == "invalid_request_error"
    status, _, text = await request(answering("x"), method="GET")
    assert (status, error_of(text)["type"]) == (405, "invalid_request_error")


async def test_a_workflow_reads_its_own_input_beside_the_request() -> None:
    asked: list[Any] = []

    async def invoke(invocation: Invocation) -> Value:
        asked.append(invocation.input)
        return "x"

    await request(invoke, {**ASKED, "model": "needy", "metadata": {"input": {"about": "a cat"}}})
    assert asked[0]["about"] == "a cat"


# silence, and leaving


async def test_silence_is_broken_by_pings() -> None:
    feed = Feed("Once", ends=False)
    app = FastAPI()
    app.include_router(anthropic.routes(Gateway(served_plan(), feed), heartbeat_every=0.01))
    async with serving(app) as address, connected(address) as wire:
        await wire.ask(STREAMED, path="/v1/messages")
        await wire.until(b"content_block_delta\n")
        await wire.until(b'event: ping\ndata: {"type": "ping"}\n\n')


@pytest.mark.parametrize("body", [ASKED, STREAMED])
async def test_leaving_before_the_first_piece_ends_the_run(body: Any) -> None:
    feed = Feed()
    async with serving(api(feed)) as address, connected(address) as wire:
        await wire.ask(body, path="/v1/messages")
        await soon(feed.asked)
        await wire.leave()
        await soon(feed.closed)


async def test_leaving_in_the_middle_ends_the_run() -> None:
    feed = Feed("Once", ends=False)
    async with serving(api(feed)) as address, connected(address) as wire:
        await wire.ask(STREAMED, path="/v1/messages")
        await wire.until(b"text_delta")
        await wire.leave()
        await soon(feed.closed)


# counting


async def test_a_model_counts_the_tokens_of_a_prompt() -> None:
    asked: list[Any] = []

    async def invoke(invocation: Invocation) -> Value:
        asked.append(invocation.input)
        return {"input_tokens": 5}

    body = {"model": "tiny", "messages": HELLO, "system": "Be brief."}
    status, headers, text = await request(invoke, body, path="/v1/messages/count_tokens")
    assert (status, json.loads(text)) == (200, {"input_tokens": 5})
    assert headers["request-id"] == headers["X-Run-Id"]
    assert asked[0]["messages"] == [{"role": "system", "content": "Be brief."}, *HELLO]


@pytest.mark.parametrize(
    ("model", "message"), [("story", "only models by themselves count tokens"), ("vectors", "no model that reads")]
)
async def test_only_models_of_conversations_count_tokens(model: str, message: str) -> None:
    body = {"model": model, "messages": HELLO}
    status, _, text = await request(answering("x"), body, path="/v1/messages/count_tokens")
    assert (status, error_of(text)["type"]) == (400, "invalid_request_error")
    assert message in error_of(text)["message"]


async def test_a_count_that_fails_is_an_error_in_anthropics_words() -> None:
    body = {"model": "tiny", "messages": HELLO}
    status, headers, text = await request(answering(ComponentFailed("no")), body, path="/v1/messages/count_tokens")
    assert (status, error_of(text)["type"]) == (502, "api_error")
    assert headers["request-id"] == headers["X-Run-Id"]
