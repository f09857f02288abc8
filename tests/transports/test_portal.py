"""`/llm`: conversations and sessions over HTTP, as clients see them."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deployments.transports.app import build_app
from deployments.transports.portal.encoder import PortalEncoder, Progress
from graphs.errors import ComponentFailed
from graphs.stream import Note
from tests.gateway.conftest import no_task_is_left  # noqa: F401
from tests.sessions import talking
from tests.sessions.talking import Echo, Told
from tests.transports.served import DEADLINE, Feed, answering, connected, serving_all, soon
from tests.transports.tasks_api import Served, events

CHAT = {"messages": [{"role": "user", "content": "Write a short poem"}]}


@asynccontextmanager
async def two(invoke: Any, folder: Path, **controller: Any) -> AsyncIterator[Served]:
    url = f"sqlite:///{folder}/runs.db"
    async with (
        talking.replicas(invoke, url, **controller) as gateways,
        serving_all(*map(build_app, gateways)) as addresses,
    ):
        yield Served(gateways, addresses)


def said(body: bytes) -> list[Any]:
    """The data of every event; there are no other lines."""
    return [json.loads(event.data) for event in events(body)]


async def history(served: Served, session: str = "s", at: int = 1) -> Any:
    return (await served.ask("GET", f"/api/llm/chat/session/{session}/history", at=at)).json


# --- without a session -----------------------------------------------------------------------------------------------


async def test_a_conversation_streams_as_the_seed_prints_it(tmp_path: Path) -> None:
    async with two(Echo(), tmp_path) as served:
        answer = await served.ask("POST", "/api/llm/chat/stream", CHAT, "Authorization: Bearer YOUR_TOKEN")
    assert answer.status == 200
    assert answer.headers["content-type"] == "text/event-stream"
    assert answer.headers["x-accel-buffering"] == "no"
    assert answer.body == (
        b'data: {"content": "Write "}\n\ndata: {"content": "a "}\n\ndata: {"content": "short "}\n\n'
        b'data: {"content": "poem "}\n\ndata: {"done": true}\n\n'
    )
    assert not (tmp_path / "runs.db").exists(), "what nobody asks to keep isn't kept"


async def test_a_conversation_is_answered_whole(tmp_path: Path) -> None:
    async with two(Echo(), tmp_path) as served:
        answer = await served.ask("POST", "/llm/chat", CHAT)
    assert answer.json == {"response": "Write a short poem ", "session_id": None}


async def test_what_the_request_says_reaches_the_workflow_zero_too(tmp_path: Path) -> None:
    asked = {**CHAT, "temperature": 0, "top_p": 0.5, "max_tokens": 7, "model": "story"}
    tools = [{"type": "function", "function": {"name": "look", "parameters": {}}}]
    async with two(answering(...), tmp_path) as served:
        answer = await served.ask("POST", "/llm/chat", {**asked, "tools": tools, "tool_choice": "auto"})
    input = json.loads(answer.json["response"])
    assert {name: input[name] for name in ("temperature", "top_p", "max_tokens", "tools", "tool_choice")} == {
        "temperature": 0, "top_p": 0.5, "max_tokens": 7, "tools": tools, "tool_choice": "auto",
    }  # fmt: skip
    assert input["messages"] == CHAT["messages"]


async def test_calls_of_tools_and_reasoning_stream_beside_the_content(tmp_path: Path) -> None:
    call = {"index": 0, "id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at'}}
    chunks = [
        {"reasoning_content": "Hm."},
        {"content": "Look: "},
        {"tool_calls": [call]},
        {"tool_calls": [{"index": 0, "function": {"arguments": '": 1}'}}]},
    ]
    async with two(Feed(*chunks), tmp_path) as served:
        streamed = await served.ask("POST", "/llm/chat/stream", CHAT)
    assert said(streamed.body) == [*chunks, {"done": True}]
    async with two(Feed(*chunks), tmp_path) as served:
        whole = await served.ask("POST", "/llm/chat", CHAT)
    assert whole.json == {
        "response": "Look: ",
        "session_id": None,
        "reasoning_content": "Hm.",
        "tool_calls": [{"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}],
    }


async def test_an_error_is_an_http_error_before_the_first_chunk_and_the_last_event_after_it(tmp_path: Path) -> None:
    failing = Feed()
    failing.fail(ComponentFailed("out of order"))
    async with two(failing, tmp_path) as served:
        answer = await served.ask("POST", "/llm/chat/stream", CHAT)
    assert (answer.status, answer.json["error"]["type"]) == (502, "component_failed")
    failing = Feed("half", ends=False)
    failing.fail(ComponentFailed("out of order"))
    async with two(failing, tmp_path) as served:
        answer = await served.ask("POST", "/llm/chat/stream", CHAT)
    first, last = said(answer.body)
    assert first == {"content": "half"}
    assert list(last) == ["error"]
    assert "out of order" in last["error"]


async def test_progress_tells_the_tokens_so_far_and_in_the_end_those_that_were_counted(tmp_path: Path) -> None:
    async with two(Feed("a", "b", Note({"usage": {"completion_tokens": 5}})), tmp_path) as served:
        answer = await served.ask("POST", "/llm/chat/stream", {**CHAT, "progress": True, "max_tokens": 9})
    told = [each["progress"] for each in said(answer.body) if "progress" in each]
    assert (told[0]["tokens"], told[0]["of"]) == (1, 9)
    assert (told[-1]["tokens"], told[-1]["of"]) == (5, 9)
    assert said(answer.body)[-1] == {"done": True}


def test_progress_is_told_twice_a_second() -> None:
    now = 0.0
    encoder = PortalEncoder(None, Progress(None, lambda: now))
    told = b""
    for step in range(9):
        now = step / 4
        told += encoder.encode(0, ["x"])
    progress = [each["progress"] for each in said(told) if "progress" in each]
    assert progress[1] == {"tokens": 3, "per_second": 6.0, "of": None}
    assert len(progress) == 5


WRONG: list[tuple[str, Any, int, str]] = [
    ("/llm/chat", {}, 422, "'messages' is missing"),
    ("/llm/chat", {"messages": []}, 422, "messages: expected"),
    ("/llm/chat", {"messages": [{"role": "user"}]}, 422, "expected a message with a role and a content"),
    ("/llm/chat", {"messages": [{"role": "king", "content": "x"}]}, 422, "messages.0.role: expected"),
    ("/llm/chat/stream", {**CHAT, "temprature": 1}, 422, "did you mean 'temperature'?"),
    ("/llm/chat/stream", {**CHAT, "temperature": 3}, 422, "temperature: expected"),
    ("/llm/chat/stream", {**CHAT, "max_tokens": 0}, 422, "max_tokens: expected"),
    ("/llm/chat/stream", {**CHAT, "model": "storm"}, 404, "did you mean 'story'?"),
    ("/llm/chat", {"messages": [{"role": "tool", "content": "1", "tool_call_id": "c"}]}, 422, "there is no call 'c'"),
    ("/llm/chat/session", {"session_id": "s"}, 422, "'message' is missing"),
    ("/llm/chat/session", {"session_id": "s", "message": " "}, 422, "it is empty; write what the user says"),
    ("/llm/chat/session", {"session_id": "s", "message": 5}, 422, "expected a text, a message or a list"),
    ("/llm/chat/session", {"session_id": "", "message": "x"}, 422, "session_id: expected 1 to 256 characters"),
    ("/llm/chat/session", {"session_id": "s" * 257, "message": "x"}, 422, "expected 1 to 256 characters, got 257"),
    ("/llm/chat/session", {"session_id": "a\0b", "message": "x"}, 422, "a character that can't be stored"),
    ("/llm/chat/session", {"message": {"role": "assistant", "content": "x"}}, 422, "expected user or tool"),
    ("/llm/chat/session", {"message": "x", "on_busy": "wait"}, 422, "on_busy: expected"),
    ("/llm/chat/session", {"message": "x", "on_disconnect": "no"}, 422, "expected cancel, continue or"),
    ("/llm/chat/session", {"message": "x", "model": "none"}, 404, "there is no model 'none'"),
    ("/llm/chat/session", b"{", 400, "the body is not JSON"),
    ("/workflows/runs", {"on_busy": "reject"}, 422, "on_busy is for runs of a session"),
]


async def test_a_wrong_request_is_told_what_is_wrong_and_leaves_nothing(tmp_path: Path) -> None:
    async with two(Echo(), tmp_path) as served:
        for path, body, status, message in WRONG:
            answer = await served.ask("POST", path, body)
            assert (answer.status, message in answer.json["error"]["message"]) == (status, True), answer.body
        assert (await served.ask("GET", "/llm/chat/sessions")).json["sessions"] == []


# --- sessions --------------------------------------------------------------------------------------------------------


async def test_a_session_remembers_what_was_said_at_any_replica(tmp_path: Path) -> None:
    model = Echo()
    async with two(model, tmp_path) as served:
        body = {"session_id": "s", "message": "Hello there", "system_prompt": "Be kind."}
        assert (await served.ask("POST", "/api/llm/chat/session", body)).json == {
            "response": "Hello there ",
            "session_id": "s",
        }
        streamed = await served.ask("POST", "/api/llm/chat/session/stream", {**body, "message": "Again"}, at=1)
        assert said(streamed.body) == [{"content": "Again "}, {"done": True}]
        assert [each["content"] for each in model.sent[-1]] == ["Be kind.", "Hello there", "Hello there ", "Again"]
        found = await history(served)
        assert [list(found), found["session_id"]] == [["session_id", "messages"], "s"]
        assert found == (await served.ask("GET", "/api/llm/chat/session/s")).json
        system, *messages = found["messages"]
        assert system == {"role": "system", "content": "Be kind."}
        assert [(each["role"], each["content"], each["state"]) for each in messages] == [
            ("user", "Hello there", "complete"),
            ("assistant", "Hello there ", "complete"),
            ("user", "Again", "complete"),
            ("assistant", "Again ", "complete"),
        ]
        run = messages[-1]["run_id"]
        assert run == streamed.headers["x-run-id"]
        assert (await served.ask("GET", f"/api/tasks/{run}")).json["output"] == "Again "
        replayed = await served.ask("GET", f"/api/llm/chat/session/s/stream?run_id={run}")
        assert replayed.body == streamed.body


async def test_a_session_without_an_id_gets_one(tmp_path: Path) -> None:
    async with two(Echo(), tmp_path) as served:
        id = (await served.ask("POST", "/llm/chat/session", {"message": "Hi"})).json["session_id"]
        answer = await served.ask("POST", "/llm/chat/session", {"message": "Hi", "session_id": id}, at=1)
        assert answer.json["session_id"] == id
        assert len((await history(served, id))["messages"]) == 4


async def test_long_histories_come_in_pages(tmp_path: Path) -> None:
    async with two(Echo(), tmp_path) as served:
        for number in range(5):
            await served.ask("POST", "/llm/chat/session", {"message": str(number), "session_id": "a/b c"})
        page = (await served.ask("GET", "/llm/chat/session/a%2Fb%20c/history?limit=2")).json
        assert [each["content"] for each in page["messages"]] == ["3", "3 ", "4", "4 "]
        page = (await served.ask("GET", f"/llm/chat/session/a%2Fb%20c?limit=3&before={page['next']}")).json
        assert [each["content"] for each in page["messages"]] == ["0", "0 ", "1", "1 ", "2", "2 "]
        assert "next" not in page


async def test_a_page_that_is_loaded_again_goes_on_with_the_answer(tmp_path: Path) -> None:
    model = Told()
    async with two(model, tmp_path) as served:
        assert (await served.ask("GET", "/llm/chat/session/s/stream")).status == 404
        async with asyncio.timeout(DEADLINE), connected(served.addresses[0]) as wire:
            await wire.ask({"session_id": "s", "message": "one"}, path="/llm/chat/session/stream")
            model["one"].give("so far")
            await wire.head()
            assert await wire.chunk() == b'data: {"content": "so far"}\n\n'
        async with asyncio.timeout(DEADLINE), connected(served.addresses[1]) as wire:
            await wire.ask(b"", path="/llm/chat/session/s/stream", method="GET")
            await wire.head()
            assert await wire.chunk() == b'data: {"content": "so far"}\n\n'
            assert [each["state"] for each in (await history(served))["messages"]] == ["under_way"]
            model["one"].give(", and on")
            assert await wire.chunk() == b'data: {"content": ", and on"}\n\n'
            model["one"].end()
            assert await wire.chunk() == b'data: {"done": true}\n\n'
        assert (await served.ask("GET", "/llm/chat/session/s/stream")).status == 204
        assert (await history(served))["messages"][-1]["content"] == "so far, and on"


async def test_a_client_that_leaves_for_good_cuts_the_answer_which_is_kept(tmp_path: Path) -> None:
    model = Told()
    async with two(model, tmp_path) as served:
        async with asyncio.timeout(DEADLINE), connected(served.addresses[0]) as wire:
            await wire.ask(
                {"session_id": "s", "message": "one", "on_disconnect": "cancel"}, path="/llm/chat/session/stream"
            )
            model["one"].give("half")
            await wire.head()
            await wire.chunk()
        await soon(model["one"].closed)
        model["two"].end()
        await served.ask("POST", "/llm/chat/session", {"session_id": "s", "message": "two"}, at=1)
        question, answer, *_ = (await history(served))["messages"]
        assert (question["state"], answer["state"], answer["content"]) == ("cut", "cut", "half")


async def test_a_busy_session_refuses_or_is_interrupted(tmp_path: Path) -> None:
    model = Told()
    async with two(model, tmp_path) as served:
        first = asyncio.create_task(
            served.ask("POST", "/llm/chat/session/stream", {"session_id": "s", "message": "one"})
        )
        model["one"].give("half")
        await soon(model["one"].asked)
        body = {"session_id": "s", "message": "two", "on_busy": "reject"}
        refused = await served.ask("POST", "/llm/chat/session/stream", body, at=1)
        assert (refused.status, refused.json["error"]["type"]) == (409, "conflict")
        model["two"].end()
        taken = await served.ask("POST", "/llm/chat/session/stream", {**body, "on_busy": "interrupt"}, at=1)
        assert said(taken.body) == [{"done": True}]
        assert said((await first).body) == [{"content": "half"}, {"error": "it was stopped by a request"}]


async def test_sessions_are_listed_cleared_and_deleted(tmp_path: Path) -> None:
    async with two(Echo(), tmp_path) as served:
        for id in "abc":
            await served.ask("POST", "/llm/chat/session", {"session_id": id, "message": "x"})
        page = (await served.ask("GET", "/llm/chat/sessions?limit=2", at=1)).json
        assert [each["session_id"] for each in page["sessions"]] == ["c", "b"]
        assert {key: page["sessions"][0][key] for key in ("model", "turns")} == {"model": "story", "turns": 1}
        rest = (await served.ask("GET", f"/llm/chat/sessions?limit=2&before={page['next']}")).json
        assert [[each["session_id"] for each in rest["sessions"]], rest["next"]] == [["a"], None]
        assert (await served.ask("GET", "/llm/chat/sessions?before=x")).status == 400
        assert (await served.ask("DELETE", "/llm/chat/session/a/history", at=1)).json == {"session_id": "a"}
        assert (await history(served, "a"))["messages"] == []
        assert (await served.ask("DELETE", "/llm/chat/session/a", at=1)).status == 200
        for method, path in (
            ("GET", ""),
            ("GET", "/history"),
            ("DELETE", ""),
            ("DELETE", "/history"),
            ("GET", "/stream"),
        ):
            answer = await served.ask(method, f"/llm/chat/session/a{path}")
            assert (answer.status, "no session 'a'" in answer.json["error"]["message"]) == (404, True)
        assert (await served.ask("GET", "/llm/chat/session/%00")).status == 404


async def test_the_results_of_tools_go_into_the_session(tmp_path: Path) -> None:
    call = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": "{}"}}
    sent: list[Any] = []

    async def model(invocation: Any) -> Any:
        sent.append(invocation.input["messages"])
        return {"tool_calls": [call]} if len(sent) == 1 else "It is here."

    async with two(model, tmp_path) as served:
        first = await served.ask("POST", "/llm/chat/session", {"session_id": "s", "message": "Where is it?"})
        assert first.json["tool_calls"] == [call]
        result = {"role": "tool", "tool_call_id": "c1", "content": "here"}
        second = await served.ask("POST", "/llm/chat/session", {"session_id": "s", "message": result})
        assert second.json["response"] == "It is here."
    assert sent[1][1:] == [{"role": "assistant", "content": "", "tool_calls": [call]}, result]


async def test_health_says_whether_there_is_anything_that_answers(tmp_path: Path) -> None:
    async with two(Echo(), tmp_path) as served:
        assert (await served.ask("GET", "/api/llm/health")).json == {"status": "ok", "models": ["story"]}

        async def starting() -> dict[str, str | None]:
            return {"model": "loading"}

        served.gateways[0].ready = starting
        answer = await served.ask("GET", "/api/llm/health")
        assert (answer.status, answer.json["error"]["message"]) == (
            503,
            "not everything that answers is ready: model is loading",
        )


# --- runs of workflows -----------------------------------------------------------------------------------------------


async def test_a_run_with_a_session_is_its_next_turn(tmp_path: Path) -> None:
    async with two(answering("said"), tmp_path) as served:
        body = {"session_id": "s", "input": {"prompt": "How?"}, "output_only": True}
        assert (await served.ask("POST", "/workflows/runs", body)).json == "said"
        assert [(each["role"], each["content"]) for each in (await history(served))["messages"]] == [
            ("user", "How?"),
            ("assistant", "said"),
        ]


async def test_runs_of_one_session_follow_each_other(tmp_path: Path) -> None:
    feeds: dict[str, Feed] = {"one": Feed("1", ends=False), "two": Feed("2")}
    order: list[str] = []

    async def invoke(invocation: Any) -> Any:
        order.append(invocation.input["text"])
        return await feeds[invocation.input["text"]](invocation)

    async with two(invoke, tmp_path) as served:
        first = await served.start(session_id="s", input={"text": "one"})
        refused = await served.ask(
            "POST", "/workflows/runs", {"session_id": "s", "input": {"text": "two"}, "on_busy": "reject"}, at=1
        )
        assert refused.status == 409
        second = await served.start(1, session_id="s", input={"text": "two"})
        assert (await served.ask("GET", f"/tasks/{second}")).json["status"] == "pending"
        assert (await history(served, at=0))["messages"][-1]["state"] == "waiting"
        await soon(feeds["one"].asked)
        assert order == ["one"]
        feeds["one"].end()
        assert (await served.ask("GET", f"/tasks/{second}/stream")).events[0].data == "2"
        assert (await served.ask("GET", f"/tasks/{first}")).json["status"] == "completed"
