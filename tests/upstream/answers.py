"""What the test upstream can say: an Answer is a status, headers and steps; the builders write the bytes of known APIs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Wait:
    """Say nothing more until the test sets the event."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing more, ever; the call ends when the caller leaves."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Cut the connection, without the end of the body."""


Step = bytes | Wait | Hang | Reset
"""Bytes are one write, flushed before the next step."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers and the steps of a body; `first` are steps taken before the status is sent."""

    steps: Sequence[Step] = ()
    content_type: str | None = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    first: Sequence[Step] = ()
    compressed: bool = False


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer([json.dumps(value).encode()], status=status, headers=headers)


def events(*data: str, name: str | None = None) -> list[bytes]:
    """Server-sent events, one write each."""
    lead = f"event: {name}\n" if name else ""
    return [f"{lead}data: {each}\n\n".encode() for each in data]


def json_lines(values: Iterable[Any]) -> list[bytes]:
    """Newline-delimited JSON, one write a line."""
    return [f"{json.dumps(value, ensure_ascii=False)}\n".encode() for value in values]


def openai_events(words: Iterable[str], done: bool = True) -> list[bytes]:
    """A chat completion as OpenAI streams it: role, content deltas, finish_reason, `[DONE]`."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words), {}]
    chunks = [
        {
            "id": "chatcmpl-1",
            "object": "chat.completion.chunk",
            "created": 1,
            "model": "gpt-4o",
            "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
        }
        for delta in deltas
    ]
    body = events(*(json.dumps(chunk, ensure_ascii=False) for chunk in chunks))
    return [*body, *events("[DONE]")] if done else body


def anthropic_events(words: Iterable[str]) -> list[bytes]:
    """A message as Anthropic streams it: named events, a ping among them, no `[DONE]`."""
    said: list[dict[str, Any]] = [
        {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]
    return [chunk for each in said for chunk in events(json.dumps(each, ensure_ascii=False), name=each["type"])]
