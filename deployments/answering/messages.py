"""One call of a component: a Question in, its chunks into a sink, one of the replies out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphs.context import RunContext
from graphs.errors import AnabranchError, InvalidInput
from graphs.stream import Value


@dataclass(frozen=True, slots=True)
class Question:
    """What a component is asked."""

    action: str
    input: Value
    """As the job gave it, with the streams in it."""
    context: RunContext


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
    """The call failed."""

    error: AnabranchError


@dataclass(frozen=True, slots=True)
class Stopped:
    """The reader left, and the component was stopped."""


Reply = Answered | Streamed | Erred | Stopped


def too_deep() -> InvalidInput:
    """Return the error of an input that can't be walked through."""
    return InvalidInput("the input is nested too deep to travel, or holds itself; make it flatter")
