"""What crosses between the ingress and a worker beside the chunks: a Question one way, one of the replies back."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal, cast

from deployments.channel import Address
from graphs.errors import ErrorData
from graphs.stream import Stream, Value

LARGE = 1024 * 1024
"""What is larger doesn't travel in a call or its return: gRPC between replicas takes no more than 4 MB."""


@dataclass(frozen=True, slots=True)
class StreamRef:
    """Stands in an input for a stream that the caller offers over the channel."""

    id: int


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where the chunks of the answer go."""

    address: Address
    stream: int


@dataclass(frozen=True, slots=True)
class Question:
    """One call of a component."""

    action: str
    input: Value
    """As the job gave it; StreamRefs in it where it flows."""
    run_id: str
    workflow: str
    session_id: str | None
    remaining: float | None
    """Seconds until the run's deadline."""
    reply_to: ReplyTo | None


@dataclass(frozen=True, slots=True)
class Answered:
    """The whole answer."""

    value: Value
    notes: Mapping[str, Value] | None = None
    kind: Literal["answered"] = "answered"


@dataclass(frozen=True, slots=True)
class Streamed:
    """The answer went out as a stream of so many chunks."""

    count: int
    kind: Literal["streamed"] = "streamed"


@dataclass(frozen=True, slots=True)
class Erred:
    """The call failed; what with, as data."""

    error: ErrorData
    kind: Literal["erred"] = "erred"


@dataclass(frozen=True, slots=True)
class Stopped:
    """The reader left, and the component was stopped."""

    kind: Literal["stopped"] = "stopped"


@dataclass(frozen=True, slots=True)
class NoChannel:
    """The worker can't dial back; nothing was run."""

    reason: str
    kind: Literal["no_channel"] = "no_channel"


Reply = Answered | Streamed | Erred | Stopped | NoChannel


def to_bytes(question: Question) -> bytes:
    """Return the question as it travels: its size decides how."""
    return pickle.dumps(question, pickle.HIGHEST_PROTOCOL)


def from_bytes(data: bytes) -> Question:
    """Return the question; it comes through Ray, which unpickles everything itself."""
    return cast("Question", pickle.loads(data))  # noqa: S301


def size_of(value: Value) -> int:
    """Return about how many bytes a value is when it travels."""
    return len(value) if isinstance(value, str | bytes) else len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def replace(value: Value, kind: type[Stream | StreamRef], change: Callable[[Value], Value]) -> Value:
    """Return the value with every Stream, or every StreamRef, in it changed; untouched parts are not copied."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        changed = {key: replace(item, kind, change) for key, item in value.items()}
        return value if all(changed[key] is value[key] for key in value) else changed
    if isinstance(value, list):
        items = [replace(item, kind, change) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
