"""What crosses between the ingress and a worker beside the chunks: a Question one way, one of the replies back."""

from __future__ import annotations

import asyncio
import pickle
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import cast

from deployments.channel.endpoints import Address
from graphs.context import RunContext
from graphs.errors import ErrorData, InvalidInput
from graphs.stream import Stream, Value

LARGE = 1024 * 1024
"""What is larger doesn't travel in a call or its return: gRPC between replicas takes no more than 4 MB."""
LONGEST_TEXT = 10_000
"""Characters of a text in a failure's details where the whole would be larger."""
LONGEST_DETAIL = 64 * 1024
"""Bytes of one detail there."""
MARGIN = 50
"""Levels of nesting that are left to Ray."""


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
    context: RunContext
    reply_to: ReplyTo | None


@dataclass(frozen=True, slots=True)
class Answered:
    """The whole answer."""

    value: Value
    notes: Mapping[str, Value] | None = None


@dataclass(frozen=True, slots=True)
class Streamed:
    """The answer went out as a stream of so many chunks."""

    count: int


@dataclass(frozen=True, slots=True)
class Erred:
    """The call failed; what with, as data."""

    error: ErrorData


@dataclass(frozen=True, slots=True)
class Stopped:
    """The reader left, and the component was stopped."""


@dataclass(frozen=True, slots=True)
class NoChannel:
    """The worker can't dial back; nothing was run."""

    reason: str


Reply = Answered | Streamed | Erred | Stopped | NoChannel


def to_bytes(question: Question) -> bytes:
    """Return the question as it travels: its size decides how."""
    travelling = replace(question, context=question.context.since(asyncio.get_running_loop().time()))
    try:
        return pickle.dumps(travelling, pickle.HIGHEST_PROTOCOL)
    except RecursionError:
        raise too_deep() from None


def too_deep() -> InvalidInput:
    """Return what is said of an input that can't be walked through."""
    return InvalidInput("the input is nested too deep to travel, or holds itself; make it flatter")


def from_bytes(data: bytes) -> Question:
    """Return the question; it comes through Ray, which unpickles everything itself."""
    question = cast("Question", pickle.loads(data))  # noqa: S301
    return replace(question, context=question.context.at(asyncio.get_running_loop().time()))


def fits(answered: Answered) -> bool:
    """Whether an answer can be its call's return: neither too large nor nested too deep."""
    try:
        return size_of(answered.value) + (size_of(answered.notes) if answered.notes else 0) <= LARGE
    except RecursionError:
        return False


def shortened(erred: Erred) -> Erred:
    """Return the failure such that it can be its call's return: it keeps its type, and of long details their beginning."""
    if _size(erred.error) <= LARGE:
        return erred
    message = str(erred.error.get("message", ""))
    details = {name: _beginning(value) for name, value in erred.error.items() if name != "message"}
    kept = {name: value for name, value in details.items() if _size(value) <= LONGEST_DETAIL}
    return Erred({**kept, "message": _beginning(message)})


def size_of(value: Value) -> int:
    """Return about how many bytes a value is when it travels, exactly where that decides; raise RecursionError."""
    if isinstance(value, str):
        length = len(value)
        return length if length > LARGE or length * 4 <= LARGE else len(value.encode("utf-8", "surrogatepass"))
    if isinstance(value, bytes):
        return len(value)
    # The lists around it stand for what Ray has called before it pickles the same, at the same limit of recursion.
    for _ in range(MARGIN):
        value = [value]
    return len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))


def _size(value: object) -> float:
    try:
        return size_of(value)
    except Exception:  # noqa: BLE001  (whatever pickle raises: it can't travel)
        return float("inf")


def _beginning(value: object, levels: int = 3) -> object:
    """Return a text or bytes cut where they are long; those in a mapping or a list too, a few levels down."""
    match value:
        case str() if len(value) > LONGEST_TEXT:
            return f"{value[:LONGEST_TEXT]}… ({len(value) - LONGEST_TEXT} characters more)"
        case bytes() if len(value) > LONGEST_TEXT:
            return value[:LONGEST_TEXT]
        case dict() if levels:
            return {name: _beginning(item, levels - 1) for name, item in cast("dict[object, object]", value).items()}
        case list() if levels:
            return [_beginning(item, levels - 1) for item in cast("list[object]", value)]
        case _:
            return value


def replaced(value: Value, kind: type[Stream | StreamRef], change: Callable[[Value], Value]) -> Value:
    """Return the value with every Stream, or every StreamRef, in it changed; untouched parts are not copied."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        changed = {key: replaced(item, kind, change) for key, item in value.items()}
        return value if all(changed[key] is value[key] for key in value) else changed
    if isinstance(value, list):
        items = [replaced(item, kind, change) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
