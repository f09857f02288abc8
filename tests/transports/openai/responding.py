"""Two replicas that answer as OpenAI's Responses API, and what they say, taken apart; the fold of a stream's events."""

from __future__ import annotations

import asyncio
import json
from copy import deepcopy
from pathlib import Path
from typing import Any

from deployments.transports.openai.responses.encoder import Event
from graphs.stream import Note
from tests.transports.served import DEADLINE, Feed, connected
from tests.transports.tasks_api import Answer, Served

THOUGHT = {"reasoning_content": "Hm. "}
CALL = {"tool_calls": [{"index": 0, "id": "call_1", "function": {"name": "look_up", "arguments": '{"city": '}}]}
REST = {"tool_calls": [{"index": 0, "function": {"arguments": '"Seoul"}'}}]}
USAGE = Note({"usage": {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}})
CUT = Note({"finish_reason": "length"})
TOOL = {"type": "function", "name": "look_up", "parameters": {"type": "object", "properties": {}}}
REFUSED = {"refusal": "No."}


def everything() -> Feed:
    """An answer with reasoning, text, a refusal and a call."""
    return Feed(THOUGHT, "It is ", "cold", REFUSED, CALL, REST, USAGE)


async def create(served: Served, input: Any = "Hello", *, at: int = 0, **asked: Any) -> Answer:
    return await served.ask("POST", "/v1/responses", {"model": "story", "input": input, **asked}, at=at)


async def made(served: Served, input: Any = "Hello", *, at: int = 0, **asked: Any) -> dict[str, Any]:
    """A response that has its answer."""
    answer = await create(served, input, at=at, **asked)
    assert answer.status == 200, answer.body
    return answer.json


async def streamed(served: Served, path: str = "", *, at: int = 0, **asked: Any) -> list[dict[str, Any]]:
    """The events of a new response; or of one that is stored, by the rest of its path."""
    if path:
        return events(await served.ask("GET", f"/v1/responses/{path}", at=at))
    return events(await create(served, **{"stream": True, **asked}, at=at))


def events(answer: Answer) -> list[dict[str, Any]]:
    assert answer.status == 200, answer.body
    assert answer.headers["content-type"].startswith("text/event-stream")
    for event in answer.events:
        assert event.event == json.loads(event.data)["type"]
    return [json.loads(event.data) for event in answer.events]


def told(some: list[Event]) -> list[dict[str, Any]]:
    return [json.loads(event.text) for event in some]


def types(events: list[dict[str, Any]]) -> list[str]:
    return [event["type"].removeprefix("response.") for event in events]


def folded(events: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """The items that a reader makes of a stream's deltas alone."""
    items: list[dict[str, Any]] = []
    for event in events:
        index = event.get("output_index")
        match event["type"].removeprefix("response."):
            case "output_item.added":
                assert index == len(items)
                items.append(deepcopy(event["item"]))
            case "content_part.added":
                assert event["content_index"] == len(items[index]["content"])
                items[index]["content"].append(deepcopy(event["part"]))
            case "output_text.delta" | "reasoning_text.delta":
                part = items[index]["content"][event["content_index"]]
                part["text"] += event["delta"]
                if event["type"] == "response.output_text.delta":
                    part["logprobs"] += event["logprobs"]
            case "refusal.delta":
                items[index]["content"][event["content_index"]]["refusal"] += event["delta"]
            case "function_call_arguments.delta":
                items[index]["arguments"] += event["delta"]
            case "output_item.done":
                items[index]["status"] = event["item"]["status"]
                assert items[index] == event["item"]
            case _:
                pass
        if index is not None and "item_id" in event:
            assert event["item_id"] == items[index]["id"]
    return items


class Talks:
    """A component that keeps what it is asked, and answers each call with the next of its answers."""

    def __init__(self, *answers: Feed) -> None:
        self.asked: list[Any] = []
        self._answers = iter(answers)

    async def __call__(self, invocation: Any) -> Any:
        self.asked.append(invocation.input)
        return await next(self._answers)(invocation)


async def follow(served: Served, path: str, until: bytes, at: int = 0) -> bytes:
    """What a reader gets before it leaves."""
    async with asyncio.timeout(DEADLINE), connected(served.addresses[at]) as wire:
        await wire.ask(b"", path=f"/v1/responses/{path}", method="GET")
        return await wire.until(until)


def store(folder: Path) -> Path:
    return folder / "runs.db"
