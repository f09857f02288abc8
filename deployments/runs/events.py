"""The events of a run: Started, any number of Delta and JobDone, then exactly one of Finished, RunFailed or RunCancelled."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from graphs.context import RunContext
from graphs.errors import AnabranchError, Cancelled
from graphs.stream import Batch, Note, Value


@dataclass(frozen=True, slots=True)
class Started:
    run_id: str
    workflow: str


@dataclass(slots=True)  # not frozen: one is made for every batch, and a frozen one takes three times as long
class Delta:
    """Chunks of the result that were ready together. `name` is set when several streams run side by side."""

    chunks: Batch
    name: str | None = None
    whole: bool = False
    """The one chunk is a plain value beside the streams: no joining makes it a list."""


@dataclass(frozen=True, slots=True)
class JobDone:
    job: str
    status: Literal["completed", "skipped", "failed"]


@dataclass(frozen=True, slots=True)
class Finished:
    """The run succeeded. `streamed` says the output went out as Deltas; then `output` is None."""

    output: Value
    streamed: bool
    notes: tuple[Note, ...] = ()


@dataclass(frozen=True, slots=True)
class RunFailed:
    error: AnabranchError


@dataclass(frozen=True, slots=True)
class RunCancelled:
    reason: str = "cancelled"


Event = Started | Delta | JobDone | Finished | RunFailed | RunCancelled


@dataclass(frozen=True, slots=True)
class Run:
    """One request going through one workflow."""

    context: RunContext
    input: Value
    started_at: float = 0.0

    @property
    def id(self) -> str:
        return self.context.id

    @property
    def workflow(self) -> str:
        return self.context.workflow


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of one component: what Invoke is asked. `input` may hold Streams; they flow along."""

    component: str
    action: str
    input: Value
    context: RunContext


def raise_failure(event: Event) -> None:
    """Raise the error of an event that is a failed end; let every other event pass."""
    if isinstance(event, RunFailed):
        raise event.error
    if isinstance(event, RunCancelled):
        raise Cancelled(event.reason)
