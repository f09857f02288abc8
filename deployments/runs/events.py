"""What a run says: Started, any number of Delta and JobDone, then exactly one of Finished, Failed or Cancelled."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from graphs.errors import AnabranchError
from graphs.stream import Batch, Note, Value


@dataclass(frozen=True, slots=True)
class Started:
    run_id: str
    workflow: str
    kind: Literal["started"] = "started"


@dataclass(slots=True)  # not frozen: one is made for every batch, and a frozen one takes three times as long
class Delta:
    """Chunks of the result that were ready together. `name` is set when several streams run side by side."""

    chunks: Batch
    name: str | None = None
    whole: bool = False
    """The one chunk is a plain value beside the streams: no joining makes it a list."""
    kind: Literal["delta"] = "delta"


@dataclass(frozen=True, slots=True)
class JobDone:
    job: str
    status: Literal["completed", "skipped", "failed"]
    kind: Literal["job_done"] = "job_done"


@dataclass(frozen=True, slots=True)
class Finished:
    """The run succeeded. `streamed` says the output went out as Deltas; then `output` is None."""

    output: Value
    streamed: bool
    notes: tuple[Note, ...] = ()
    kind: Literal["finished"] = "finished"


@dataclass(frozen=True, slots=True)
class Failed:
    error: AnabranchError
    kind: Literal["failed"] = "failed"


@dataclass(frozen=True, slots=True)
class Cancelled:
    reason: str = "cancelled"
    kind: Literal["cancelled"] = "cancelled"


Event = Started | Delta | JobDone | Finished | Failed | Cancelled


@dataclass(frozen=True, slots=True)
class Run:
    """One request going through one workflow."""

    id: str
    workflow: str
    input: Value
    session_id: str | None = None
    deadline: float | None = None
    """On the loop's clock; None for no limit."""
    started_at: float = field(default=0.0)


@dataclass(frozen=True, slots=True)
class Invocation:
    """One call of one component: what Invoke is asked. `input` may hold Streams; they flow along."""

    component: str
    action: str
    input: Value
    run: Run
