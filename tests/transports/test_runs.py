"""Runs over a real socket: what comes back, to the byte."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from deployments.gateway.gateway import Gateway
from deployments.runs.events import Invocation
from deployments.transports.app import build_app
from graphs.errors import ComponentFailed, InvalidInput, Overloaded, Unavailable, UpstreamFailed
from graphs.language import parse
from graphs.plan import Options, OutputKind, Store, WorkflowPlan
from graphs.stream import Note
from tests.runs.builders import job, workflow
from tests.transports.served import Feed, Invoke, Wire, answering, app, connected, one, plan, serving, soon

TEXT = OutputKind("text", "sse-text")
STREAMED = {"output_only": True, "input": {"prompt": "Hello"}}


@asynccontextmanager
async def asking(
    invoke: Invoke, body: Any, *workflows: WorkflowPlan, path: str = "/workflows/runs", **controller: Any
) -> AsyncIterator[Wire]:
    async with serving(app(invoke, *workflows, **controller)) as address, connected(address) as wire:
        await wire.ask(body, path=path)
        yield wire


async def answer(
    invoke: Invoke, body: Any, *workflows: WorkflowPlan, **options: Any
) -> tuple[int, dict[str, str], Any]:
    """Status, headers and JSON of a plain answer."""
    async with asking(invoke, body, *workflows, **options) as wire:
        status, headers = await wire.head()
        assert headers["content-type"] == "application/json"
        return status, headers, json.loads(await wire.reader.readexactly(int(headers["content-length"])))


@pytest.mark.parametrize("path", ["/workflows/runs", "/api/workflows/runs"])
async def test_a_stream_is_the_contract_to_the_byte(path: str) -> None:
    async with asking(Feed("Once", " upon"), STREAMED, one(TEXT), path=path) as wire:
        status, headers = await wire.head()
        assert status == 200
        assert headers["content-type"] == "text/event-stream"
        assert headers["cache-control"] == "no-cache"
        assert headers["x-accel-buffering"] == "no"
        assert headers["x-run-id"].startswith("run_")
        assert "connection" not in headers
        assert [await wire.chunk(), await wire.chunk(), await wire.chunk(), await wire.chunk()] == [
            b"data: Once\n\n",
            b"data:  upon\n\n",
            b"event: end\ndata:\n\n",
            b"",
        ]


async def test_the_first_chunk_leaves_before_the_second_exists() -> None:
    feed = Feed("first", ends=False)
    async with asking(feed, STREAMED, one(TEXT)) as wire:
        await wire.head()
        assert await wire.chunk() == b"data: first\n\n"
        feed.give("second")
        feed.end()
        assert await wire.chunk() == b"data: second\n\n"


async def test_chunks_that_are_ready_together_leave_together() -> None:
    feed = Feed()
    feed.give("a", "b", Note({"usage": 2}), "c")
    feed.end()
    async with asking(feed, STREAMED, one(TEXT)) as wire:
        await wire.head()
        assert await wire.chunk() == b"data: a\n\ndata: b\n\ndata: c\n\n"


async def test_a_stream_of_nothing_is_an_end() -> None:
    feed = Feed("", None, ends=False)
    feed.give(Note({}))
    feed.end()
    async with asking(feed, STREAMED, one(TEXT)) as wire:
        status, headers = await wire.head()
        assert (status, headers["content-type"]) == (200, "text/event-stream")
        assert await wire.chunk() == b"event: end\ndata:\n\n"


async def test_two_streams_side_by_side_are_tagged() -> None:
    both = workflow(
        job("a"), job("b"), output={"answer": "${jobs.a.output}", "plain": "${jobs.b.output}"}, reads=("a", "b")
    )
    async with asking(each_its_own(a=Feed("hi", "!"), b=answering(7)), STREAMED, both) as wire:
        await wire.head()
        body = await wire.until(b"event: end\ndata:\n\n")
    assert b'data: {"name": "plain", "chunk": 7}\n\n' in body
    assert b'data: {"name": "answer", "chunk": "hi"}\n\n' in body
    status, _, task = await answer(each_its_own(a=Feed("hi", "!"), b=answering(7)), {}, both)
    assert (status, task["output"]) == (200, {"answer": "hi!", "plain": 7})


def each_its_own(**components: Invoke) -> Invoke:
    async def invoke(invocation: Invocation) -> Any:
        return await components[invocation.component](invocation)

    return invoke


async def test_a_plain_output_is_bare_json() -> None:
    status, headers, output = await answer(answering(...), {"output_only": True, "input": {"a": ["안"]}})
    assert (status, output) == (200, {"a": ["안"]})
    assert headers["x-run-id"].startswith("run_")


@pytest.mark.parametrize(
    ("chunks", "output"), [(("a", "b"), "ab"), ((1, {"b": 2}), [1, {"b": 2}]), ((b"a", b"b"), "ab")]
)
async def test_a_stream_that_is_waited_for_is_joined_in_its_task(
    chunks: tuple[Any, ...], output: Any, tmp_path: Path
) -> None:
    store = Store(f"sqlite:///{tmp_path}/runs.db")
    asked = {"session_id": "s", "workflow_id": "story"}
    status, headers, task = await answer(Feed(*chunks), asked, one(TEXT), store=store)
    assert status == 200
    assert task.pop("created_at") <= task.pop("completed_at")
    assert task == {
        "task_id": headers["x-run-id"],
        "workflow_id": "story",
        "status": "completed",
        "output": output,
        "session_id": "s",
    }


@pytest.mark.parametrize("body", [{}, {"output_only": True}])
@pytest.mark.parametrize(
    ("error", "status", "type"),
    [
        (InvalidInput("no", field="text"), 422, "invalid_input"),
        (ComponentFailed("no"), 502, "component_failed"),
        (UpstreamFailed("no", upstream={"status": 400, "body": b"\xff"}), 502, "upstream_failed"),
        (Unavailable("no"), 503, "unavailable"),
        (ValueError("a secret"), 500, "internal_error"),
    ],
)
async def test_an_error_before_the_first_chunk_is_a_plain_http_error(
    body: dict[str, Any], error: Exception, status: int, type: str
) -> None:
    answered, headers, said = await answer(answering(error), body, one(TEXT))
    assert (answered, said["error"]["type"]) == (status, type)
    assert said["error"]["run_id"] == headers["x-run-id"]
    assert "secret" not in str(said)
    assert "Traceback" not in str(said)


async def test_a_stream_that_fails_before_its_first_chunk_is_a_plain_http_error() -> None:
    feed = Feed("", ends=False)
    feed.fail(ComponentFailed("it broke"))
    status, _, said = await answer(feed, STREAMED, one(TEXT))
    assert status == 502
    assert said["error"]["message"] == "workflow 'story', job 'a', component 'a': it broke"


async def test_an_error_after_the_first_chunk_is_the_last_event() -> None:
    feed = Feed("one", ends=False)
    feed.fail(ComponentFailed("it\nbroke"))
    async with asking(feed, STREAMED, one(TEXT)) as wire:
        _, headers = await wire.head()
        assert await wire.chunk() == b"data: one\n\n"
        event, data, *rest = (await wire.chunk()).decode().split("\n")
        assert (event, rest) == ("event: error", ["", ""])
        error = json.loads(data.removeprefix("data: "))["error"]
        assert (error["type"], error["run_id"]) == ("component_failed", headers["x-run-id"])
        assert await wire.chunk() == b""


async def test_a_stream_of_text_as_json_goes_out_as_json_texts() -> None:
    written = one(OutputKind("json", "sse-json"), output=parse("${output as json;sse-json}"))
    async with asking(Feed("Once\n", " upon"), STREAMED, written) as wire:
        await wire.head()
        assert await wire.chunk() == b'data: "Once\\n"\n\n'
        assert await wire.chunk() == b'data: " upon"\n\n'


async def test_a_run_that_times_out_is_504_before_its_first_chunk_and_the_last_event_after_it() -> None:
    status, _, said = await answer(Feed(), STREAMED, one(TEXT, timeout=0.1))
    assert (status, said["error"]["type"]) == (504, "timed_out")
    feed = Feed("one", ends=False)
    async with asking(feed, STREAMED, one(TEXT, timeout=0.3)) as wire:
        await wire.head()
        assert await wire.chunk() == b"data: one\n\n"
        assert (await wire.chunk()).startswith(b'event: error\ndata: {"error": {"type": "timed_out"')
        assert await wire.chunk() == b""
        await soon(feed.closed)


async def test_a_chunk_that_is_no_json_ends_the_stream_with_the_error_and_stops_the_component() -> None:
    feed = Feed("fine", {1, 2}, ends=False)
    async with asking(feed, STREAMED, one(OutputKind("json", "sse-json"))) as wire:
        await wire.head()
        assert await wire.chunk() == b'data: "fine"\n\n'
        assert (await wire.chunk()).startswith(b'event: error\ndata: {"error": {"type": "component_failed"')
        await soon(feed.closed)


async def test_bytes_without_a_format_come_as_they_are() -> None:
    async with asking(Feed(b"\xff\x00", b"\ndata: x"), STREAMED) as wire:
        _, headers = await wire.head()
        assert headers["content-type"] == "application/octet-stream"
        assert [await wire.chunk(), await wire.chunk(), await wire.chunk()] == [b"\xff\x00", b"\ndata: x", b""]


async def test_bytes_that_break_off_never_end_cleanly() -> None:
    feed = Feed(b"\xff", ends=False)
    async with asking(feed, STREAMED) as wire:
        await wire.head()
        assert await wire.chunk() == b"\xff"
        feed.fail(ComponentFailed("it broke"))
        assert await wire.rest() == b""


async def test_an_unknown_workflow_is_a_404_that_lists_what_there_is() -> None:
    status, _, said = await answer(answering(1), {"workflow_id": "stroy"}, one(), one(id="poem"))
    assert status == 404
    assert said["error"]["message"] == (
        "there is no workflow 'stroy'; did you mean 'story'? The workflows are story, poem"
    )


async def test_no_workflow_named_among_several_is_a_400_that_lists_them() -> None:
    status, _, said = await answer(answering(1), {}, one(), one(id="poem"), default=False)
    assert (status, said["error"]["workflows"]) == (400, ["story", "poem"])


async def test_a_refusal_says_when_to_come_back() -> None:
    status, headers, said = await answer(answering(Overloaded("full", retry_after=1.2)), {})
    assert (status, headers["retry-after"], said["error"]["type"]) == (503, "2", "overloaded")


async def test_runs_beyond_the_line_are_sent_away_and_the_others_get_their_turn() -> None:
    feeds = [Feed(), Feed(), Feed()]
    left = iter(feeds)

    async def invoke(invocation: Invocation) -> Any:
        return await next(left)(invocation)

    served = app(invoke, one(TEXT), options=Options(max_concurrent_count=1, max_queued=1))
    async with (
        serving(served) as address,
        connected(address) as first,
        connected(address) as second,
        connected(address) as third,
    ):
        await first.ask(STREAMED)
        await soon(feeds[0].asked)
        # Health doesn't stand in line; asked on the same connections, it shows that the run before is in it.
        await second.ask(STREAMED)
        await third.ask(b"", path="/health", method="GET")
        await third.until(b"}")
        await third.ask(STREAMED)
        status, headers = await third.head()
        assert (status, headers["retry-after"]) == (503, "1")
        feeds[0].give("a")
        feeds[0].end()
        assert (await first.head())[0] == 200
        feeds[1].give("b")
        feeds[1].end()
        assert (await second.head())[0] == 200


async def test_curl_without_a_content_type_is_understood() -> None:
    async with serving(app(answering(...))) as address, connected(address) as wire:
        await wire.ask({"input": 5, "output_only": True}, "Content-Type: application/x-www-form-urlencoded")
        assert (await wire.head())[0] == 200
        assert await wire.reader.readexactly(1) == b"5"


async def test_a_secret_of_the_environment_never_leaves_in_an_error() -> None:
    secret = replace(plan(), secrets=frozenset({"sk-12345"}))
    invoke = answering(ComponentFailed("refused: Bearer sk-12345", upstream={"body": "sk-12345"}))
    async with serving(build_app(Gateway(secret, invoke))) as address, connected(address) as wire:
        await wire.ask({})
        _, headers = await wire.head()
        body = await wire.reader.readexactly(int(headers["content-length"]))
        assert b"Bearer ***" in body
        assert b"sk-12345" not in body
