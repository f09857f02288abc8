"""configs/portal.yaml: the seed's requests, answered by a llama.cpp-style server, with the seed's variables."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deployments.gateway.gateway import Gateway
from deployments.transports.app import build_app
from graphs.load import load
from tests.configs.running import TYPES
from tests.fakes.http_server import Answer, Upstream
from tests.fakes.http_server.answers import SSE, Hang, chat_chunk, events
from tests.fakes.local import local
from tests.transports.served import connected, serving
from tests.transports.tasks_api import answer

PORTAL = Path(__file__).parent.parent.parent / "configs" / "portal.yaml"


@pytest.fixture(autouse=True)
def _no_proxy(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("http_proxy", "https_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)


@asynccontextmanager
async def portal(upstream: Upstream, folder: Path, **variables: str) -> AsyncIterator[Any]:
    """Gives what sends a request, and returns its answer."""
    store = folder / "store.yaml"
    store.write_text(f"controller: {{store: 'sqlite:///{folder}/runs.db'}}")
    plan = load([PORTAL, store], TYPES, {"LLM_SERVER_URL": upstream.base_url, **variables})
    async with local(plan, TYPES) as invoke:
        gateway = Gateway(plan, invoke)
        async with serving(build_app(gateway, gateway.aclose)) as address:

            async def ask(path: str, body: Any, *headers: str) -> Any:
                async with connected(address) as wire:
                    await wire.ask(body, *headers, path=path)
                    return await answer(wire)

            yield ask


async def test_the_seeds_curl_streams_with_the_seeds_defaults(tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "Write a short poem"}]}
    headers = ("Authorization: Bearer YOUR_TOKEN", "Content-Type: application/json")
    async with Upstream() as upstream, portal(upstream, tmp_path) as ask:
        got = await ask("/api/llm/chat/stream", body, *headers)
        (call,) = upstream.calls
    assert got.body == (
        b'data: {"content": "Once"}\n\ndata: {"content": " upon"}\n\ndata: {"content": " a"}\n\n'
        b'data: {"content": " time"}\n\ndata: {"done": true}\n\n'
    )
    assert call.path == "/v1/chat/completions"
    sent = call.json()
    assert (sent["temperature"], sent["max_tokens"], sent["messages"]) == (0.7, 512, body["messages"])
    assert "Authorization" not in call.headers


async def test_what_the_request_says_wins_and_the_environment_is_next(tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "x"}], "temperature": 0}
    variables = {"LLM_TEMPERATURE": "0.1", "LLM_MAX_TOKENS": "64"}
    async with Upstream() as upstream, portal(upstream, tmp_path, **variables) as ask:
        assert (await ask("/llm/chat", body)).json == {"response": "Once upon a time", "session_id": None}
        await ask("/llm/chat", {**body, "temperature": None})
        zero, other = (call.json() for call in upstream.calls)
    assert (zero["temperature"], zero["max_tokens"], other["temperature"]) == (0, 64, 0.1)


async def test_a_session_sends_what_was_said_and_a_workflow_run_goes_on_with_it(tmp_path: Path) -> None:
    async with Upstream() as upstream, portal(upstream, tmp_path) as ask:
        first = {"session_id": "my-session-123", "message": "First", "system_prompt": "Be kind."}
        assert (await ask("/api/llm/chat/session", first)).json["response"] == "Once upon a time"
        run = {"session_id": "my-session-123", "input": {"prompt": "Second"}}
        assert (await ask("/api/workflows/runs", run)).status == 200
        messages = upstream.calls[-1].json()["messages"]
    assert [(each["role"], each["content"]) for each in messages] == [
        ("system", "Be kind."),
        ("user", "First"),
        ("assistant", "Once upon a time"),
        ("user", "Second"),
    ]


async def test_silence_for_longer_than_the_timeout_ends_the_answer(tmp_path: Path) -> None:
    body = {"messages": [{"role": "user", "content": "x"}]}
    async with Upstream() as upstream, portal(upstream, tmp_path, LLM_TIMEOUT="0.3") as ask:
        upstream.queue(
            "/v1/chat/completions", Answer([*events(json.dumps(chat_chunk({"content": "Once"}))), Hang()], SSE)
        )
        got = await ask("/llm/chat/stream", body)
    first, last = [json.loads(event.data) for event in got.events]
    assert first == {"content": "Once"}
    assert "0.3 s" in last["error"]


async def test_calls_of_tools_and_the_count_of_tokens_come_through(tmp_path: Path) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    last = {**chat_chunk({}), "choices": [{"index": 0, "delta": {}, "finish_reason": "tool_calls"}]}
    cost = {**chat_chunk({}), "choices": [], "usage": {"prompt_tokens": 3, "completion_tokens": 11}}
    chunks = [chat_chunk({"role": "assistant", "content": None}), chat_chunk({"tool_calls": [call]}), last, cost]
    tools = [{"type": "function", "function": {"name": "look"}}]
    body = {"messages": [{"role": "user", "content": "x"}], "tools": tools, "progress": True}
    async with Upstream() as upstream, portal(upstream, tmp_path) as ask:
        upstream.queue("/v1/chat/completions", Answer(events(*map(json.dumps, chunks), "[DONE]"), SSE))
        got = await ask("/llm/chat/stream", body)
        assert upstream.calls[0].json()["tools"] == tools
    said = [json.loads(event.data) for event in got.events]
    assert said[0] == {"tool_calls": [call]}
    assert [each["progress"]["tokens"] for each in said if "progress" in each][-1] == 11
    assert said[-1] == {"done": True}
