"""OpenAI's WebSocket mode of the Responses API: a turn after another, what the socket remembers, lanes, and mistakes."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from deployments.runs.events import Invocation
from deployments.transports.openai.responses_socket import REMEMBERED, Memory
from graphs.errors import ComponentFailed
from graphs.stream import Stream
from tests.transports.openai.responding import everything
from tests.transports.openai.responding import streamed as over_http
from tests.transports.served import Feed, one, soon
from tests.transports.socketed import Talk, talking
from tests.transports.tasks_api import TEXT, Served, two

PATH = "/v1/responses"


class Turns:
    """A component that keeps what it is asked, and answers each question by a feed of its own."""

    def __init__(self) -> None:
        self.feeds: dict[str, Feed] = defaultdict(Feed)
        self.heard: list[list[str]] = []

    async def __call__(self, invocation: Invocation) -> Stream:
        messages = invocation.input["messages"]
        self.heard.append([f"{message['role']}: {message['content']}" for message in messages])
        return await self.feeds[messages[-1]["content"]](invocation)

    def answers(self, question: str, *words: str) -> None:
        self.feeds[question] = Feed(*words)


@asynccontextmanager
async def opened(invoke: Any, folder: Path, **controller: Any) -> AsyncIterator[tuple[Served, Talk]]:
    async with two(invoke, folder, one(TEXT), **controller) as served, talking(served.addresses[0], PATH) as talk:
        yield served, talk


async def create(talk: Talk, input: Any = "Hello", **fields: Any) -> None:
    await talk.say(**{"type": "response.create", "model": "story", "input": input, **fields})


async def events(talk: Talk) -> list[dict[str, Any]]:
    """The events of a response to its end, or one error."""
    frames = [await talk.frame()]
    while frames[-1]["type"] not in ("response.completed", "response.incomplete", "response.failed", "error"):
        frames.append(await talk.frame())
    return frames


async def answered(talk: Talk, input: str, **fields: Any) -> str:
    """Ask, and return the id of the response."""
    await create(talk, input, **fields)
    last = (await events(talk))[-1]
    assert last["type"] == "response.completed", last
    return last["response"]["id"]


async def test_a_turn_is_answered_by_the_events_of_the_stream(tmp_path: Path) -> None:
    async with opened(lambda invocation: everything()(invocation), tmp_path) as (served, talk):
        await create(talk, "Hello", metadata={"of": "a test"})
        ours = await events(talk)
        theirs = await over_http(served, input="Hello", metadata={"of": "a test"})
    assert [event["type"] for event in ours] == [event["type"] for event in theirs]
    assert [event["sequence_number"] for event in ours] == list(range(len(ours)))
    told, said = ours[-1]["response"], theirs[-1]["response"]
    assert {name for name in told if told[name] != said[name]} <= {"id", "created_at", "completed_at", "output"}
    assert [item["type"] for item in told["output"]] == [item["type"] for item in said["output"]]
    assert "stream_id" not in ours[0]


@pytest.mark.parametrize("store", [True, False])
async def test_a_turn_goes_on_from_the_one_before_it_stored_or_not(tmp_path: Path, store: bool) -> None:
    turns = Turns()
    for number in ("1", "2", "3"):
        turns.answers(f"question {number}", f"answer {number}")
    async with opened(turns, tmp_path) as (served, talk):
        first = await answered(talk, "question 1", store=store)
        second = await answered(talk, "question 2", store=store, previous_response_id=first)
        await create(talk, "question 3", store=store, previous_response_id=second)
        last = (await events(talk))[-1]["response"]
        assert last["previous_response_id"] == second
        assert last["store"] is store
        found = await served.ask("GET", f"{PATH}/{second}")
        assert (found.status == 200) is store
    assert turns.heard[-1] == [
        "user: question 1", "assistant: answer 1", "user: question 2", "assistant: answer 2", "user: question 3"
    ]  # fmt: skip


async def test_two_turns_may_go_on_from_the_same_one(tmp_path: Path) -> None:
    turns = Turns()
    for question in ("start", "left", "right"):
        turns.answers(question, f"to {question}")
    async with opened(turns, tmp_path) as (_, talk):
        start = await answered(talk, "start", store=False)
        for question in ("left", "right"):
            await answered(talk, question, store=False, previous_response_id=start)
            assert turns.heard[-1] == ["user: start", "assistant: to start", f"user: {question}"]


async def test_what_another_socket_did_not_store_is_not_found(tmp_path: Path) -> None:
    turns = Turns()
    turns.answers("start", "one")
    async with opened(turns, tmp_path) as (served, talk):
        start = await answered(talk, "start", store=False)
        async with talking(served.addresses[0], PATH) as other:
            await create(other, "more", previous_response_id=start)
            error = await other.frame()
    assert (error["type"], error["status"]) == ("error", 404)
    assert error["error"]["code"] == "previous_response_not_found"
    assert error["error"]["param"] == "previous_response_id"


async def test_a_second_turn_while_one_is_under_way_is_refused_and_the_first_goes_on(tmp_path: Path) -> None:
    feed = Feed()
    async with opened(feed, tmp_path) as (_, talk):
        await create(talk, "one")
        await soon(feed.asked)
        await create(talk, "two")
        frames = [await talk.frame()]
        while frames[-1]["type"] != "error":
            frames.append(await talk.frame())
        assert (frames[-1]["status"], frames[-1]["error"]["code"]) == (409, "response_in_progress")
        feed.give("still here")
        feed.end()
        assert (await events(talk))[-1]["response"]["output"][0]["content"][0]["text"] == "still here"


async def test_lanes_run_side_by_side_and_each_in_order(tmp_path: Path) -> None:
    turns = Turns()
    async with opened(turns, tmp_path) as (_, talk):
        for question, lane in (("a1", "a"), ("a2", "a"), ("b1", "b")):
            await create(talk, question, stream_id=lane, store=False)
        await soon(turns.feeds["a1"].asked)
        await soon(turns.feeds["b1"].asked)
        assert "a2" not in turns.feeds
        done: list[tuple[str, str]] = []
        for question in ("b1", "a1", "a2"):
            await soon(turns.feeds[question].asked)
            turns.feeds[question].give(f"to {question}")
            turns.feeds[question].end()
            while not done or done[-1][1] != f"to {question}":
                event = await talk.frame()
                if event["type"] == "response.completed":
                    done.append((event["stream_id"], event["response"]["output"][0]["content"][0]["text"]))
    assert done == [("b", "to b1"), ("a", "to a1"), ("a", "to a2")]


async def test_to_leave_cancels_a_response_that_is_not_stored_and_those_that_wait(tmp_path: Path) -> None:
    turns = Turns()
    async with opened(turns, tmp_path) as (_, talk):
        for question in ("under way", "waiting"):
            await create(talk, question, stream_id="a", store=False)
        await soon(turns.feeds["under way"].asked)
        await talk.wire.close()
        await soon(turns.feeds["under way"].closed)
        assert "waiting" not in turns.feeds


async def test_a_response_that_fails_says_so_and_the_next_turn_is_answered(tmp_path: Path) -> None:
    turns = Turns()
    turns.feeds["bad"].give("One")
    turns.feeds["bad"].fail(ComponentFailed("it broke"))
    turns.answers("good", "two")
    async with opened(turns, tmp_path) as (_, talk):
        await create(talk, "bad", store=False)
        failed = (await events(talk))[-1]
        assert failed["type"] == "response.failed"
        assert "it broke" in failed["response"]["error"]["message"]
        await create(talk, "more", store=False, previous_response_id=failed["response"]["id"])
        assert (await talk.error())["code"] == "previous_response_not_found"
        await answered(talk, "good", store=False)


@pytest.mark.parametrize(
    ("frame", "status", "said"),
    [
        ({"type": "response.cancel"}, 400, "response.create"),
        ({"model": "story", "input": "Hello"}, 400, "response.create"),
        ({"type": "response.create", "model": "nothing", "input": "Hello"}, 404, "there is no model"),
        ({"type": "response.create", "model": "story", "input": 1}, 400, "input"),
        ({"type": "response.create", "input": "Hello", "background": True}, 400, "background"),
        ({"type": "response.create", "input": "Hello", "stream": False}, 400, "stream"),
        ({"type": "response.create", "input": "Hello", "generate": False}, 400, "generate"),
        ({"type": "response.create", "input": "Hello", "stream_id": 1}, 400, "stream_id"),
        ({"type": "response.create", "input": "Hello", "stream_id": "x" * 257}, 400, "stream_id"),
    ],
)
async def test_mistakes_are_error_events_and_the_socket_stays_open(
    tmp_path: Path, frame: dict[str, Any], status: int, said: str
) -> None:
    async with opened(Feed("One"), tmp_path) as (_, talk):
        await talk.say(**frame)
        event = await talk.frame()
        assert (event["type"], event["status"]) == ("error", status)
        assert said in event["error"]["message"]
        assert set(event["error"]) >= {"type", "code", "message", "param"}
        await create(talk)
        assert (await events(talk))[-1]["type"] == "response.completed"


async def test_an_error_bears_its_lane(tmp_path: Path) -> None:
    async with opened(Feed("One"), tmp_path) as (_, talk):
        for fields in ({"model": "nothing"}, {"background": True}):
            await create(talk, stream_id="a", **fields)
            assert (await talk.frame())["stream_id"] == "a"


async def test_steering_gives_the_input_back(tmp_path: Path) -> None:
    async with opened(Feed("One"), tmp_path) as (_, talk):
        await talk.say(type="response.steer", previous_response_id="resp_1", input="shorter")
        event = await talk.frame()
    assert event["type"] == "response.steer.failed"
    assert event["error"]["code"] == "steering_not_supported"
    assert event["steer"] == {"previous_response_id": "resp_1", "input": "shorter"}


async def test_a_socket_remembers_a_bounded_number_of_responses_and_bytes() -> None:
    memory = Memory(100)
    for number in range(REMEMBERED + 2):
        memory.add(str(number), [], 1, None)
    assert list(memory.items) == [str(number) for number in range(2, REMEMBERED + 2)]
    memory.add("large", [], 99, None)
    assert list(memory.items) == [str(REMEMBERED + 1), "large"]
    memory.add("what follows it", [], 1, "large")
    assert list(memory.items) == ["what follows it"]
    memory.add("alone", [], 1000, None)
    assert list(memory.items) == ["alone"]
