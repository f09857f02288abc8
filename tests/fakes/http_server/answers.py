"""What the test upstream can say: an Answer is a status, headers and steps; the builders write the bytes of known APIs."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

SSE = "text/event-stream"
NDJSON = "application/x-ndjson"


@dataclass(frozen=True, slots=True)
class Wait:
    """Say nothing more until the test sets the event."""

    event: asyncio.Event


@dataclass(frozen=True, slots=True)
class Pause:
    """Say nothing until so many seconds after the step before it was due: pauses keep to a timetable."""

    seconds: float


@dataclass(frozen=True, slots=True)
class Hang:
    """Say nothing more, ever; the call ends when the caller leaves."""


@dataclass(frozen=True, slots=True)
class Reset:
    """Reset the connection, without the end of the body."""


@dataclass(frozen=True, slots=True)
class HalfClose:
    """Close this side of the connection alone, without the end of the body, and go on listening."""


@dataclass(frozen=True, slots=True)
class Raw:
    """Bytes for the wire itself, outside of any framing; in `first`, even before the status."""

    data: bytes


Step = bytes | Wait | Pause | Hang | Reset | HalfClose | Raw
"""Bytes are one write, flushed before the next step."""


@dataclass(frozen=True, slots=True)
class Answer:
    """A status, headers and the steps of a body; `first` are steps taken before the status is sent."""

    steps: Iterable[Step] = ()
    content_type: str | None = "application/json"
    status: int = 200
    headers: Mapping[str, str] = field(default_factory=dict)
    first: Iterable[Step] = ()
    compressed: bool = False
    framed: bool = True
    """False: neither a length nor chunks; the connection's end is the body's."""
    reads: bool = True
    """False: answered without reading the request's body."""


def json_answer(value: Any, status: int = 200, **headers: str) -> Answer:
    return Answer([json.dumps(value).encode()], status=status, headers=headers)


def events(*data: str, name: str | None = None) -> list[bytes]:
    """Server-sent events, one write each."""
    lead = f"event: {name}\n" if name else ""
    return [f"{lead}data: {each}\n\n".encode() for each in data]


def json_lines(values: Iterable[Any]) -> list[bytes]:
    """Newline-delimited JSON, one write a line."""
    return [f"{dumps(value)}\n".encode() for value in values]


def openai_events(words: Iterable[str], done: bool = True) -> list[bytes]:
    """A chat completion as OpenAI streams it: role, content deltas, finish_reason, `[DONE]`."""
    deltas = [{"role": "assistant", "content": ""}, *({"content": word} for word in words), {}]
    body = events(*(dumps(chat_chunk(delta)) for delta in deltas))
    return [*body, *events("[DONE]")] if done else body


def chat_chunk(delta: Mapping[str, Any]) -> dict[str, Any]:
    """One chunk of a chat completion; the empty delta is the last."""
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion.chunk",
        "created": 1,
        "model": "gpt-4o",
        "choices": [{"index": 0, "delta": delta, "finish_reason": None if delta else "stop"}],
    }


def anthropic_events(words: Iterable[str]) -> list[bytes]:
    """A message as Anthropic streams it: named events, a ping among them, no `[DONE]`."""
    return [chunk for each in anthropic_said(words) for chunk in events(dumps(each), name=each["type"])]


def anthropic_said(words: Iterable[str]) -> list[dict[str, Any]]:
    """The values of those events."""
    return [
        {"type": "message_start", "message": {"id": "msg_1", "role": "assistant", "content": []}},
        {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
        {"type": "ping"},
        *({"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": word}} for word in words),
        {"type": "content_block_stop", "index": 0},
        {"type": "message_delta", "delta": {"stop_reason": "end_turn"}, "usage": {"output_tokens": 3}},
        {"type": "message_stop"},
    ]


def dumps(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
