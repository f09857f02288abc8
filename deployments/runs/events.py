"""The events of a run: Started, any number of Delta and JobDone, then exactly one of Finished, RunFailed or RunCancelled.

What its jobs do besides is told to an observer, where there is one: a run that nobody looks into pays nothing for it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Literal

from graphs.context import RunContext
from graphs.errors import AnabranchError, Cancelled
from graphs.stream import Batch, Chunk, Note, Value, is_empty, join_chunks, whole_size


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
class JobStarted:
    job: str


@dataclass(frozen=True, slots=True)
class JobStreaming:
    """The first chunk of its component is there."""

    job: str


@dataclass(frozen=True, slots=True)
class JobRetried:
    """An attempt failed, and there will be another."""

    job: str
    attempt: int
    error: AnabranchError


@dataclass(frozen=True, slots=True)
class JobChunks:
    """Chunks of its output, where they were asked for."""

    job: str
    chunks: Batch


@dataclass(frozen=True, slots=True)
class JobEnded:
    """It was skipped, or it has failed, or all of its output is there. `output` is None where that went out in chunks."""

    job: str
    status: Literal["completed", "skipped", "failed"]
    output: Value = None
    streamed: bool = False
    why: str = ""
    """Why it was skipped, or which job took over."""
    error: AnabranchError | None = None


JobEvent = JobStarted | JobStreaming | JobRetried | JobChunks | JobEnded


@dataclass(frozen=True, slots=True)
class Observer:
    """Is told what the jobs of a run do, at once; those of a workflow inside it as `WORKFLOW/JOB`."""

    tell: Callable[[JobEvent], None]
    chunks: bool = False
    """Whether to tell the chunks of every job as well."""
    inside: str = ""
    """What leads the ids of jobs."""

    def within(self, workflow: str) -> Observer:
        """Return the observer of a workflow that runs as a component."""
        return Observer(self.tell, self.chunks, f"{self.inside}{workflow}/")

    def job(self, id: str) -> str:
        """Return the id that a job is told by."""
        return self.inside + id


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


def raise_failure(event: object) -> None:
    """Raise the error of an event that is a failed end; let every other event pass."""
    if isinstance(event, RunFailed):
        raise event.error
    if isinstance(event, RunCancelled):
        raise Cancelled(event.reason)


class Joining:
    """Collects the Deltas of a run into its whole output: one value, or a mapping when several streams run side by side.

    `names` are those of the streams side by side, which stand in the output even if they give nothing; `order` is the
    order of the keys in the document.
    """

    def __init__(self, names: Iterable[str] = (), order: Sequence[str] = ()) -> None:
        self._order = order
        self._chunks: dict[str | None, list[Chunk]] = {name: [] for name in names}
        self._whole: dict[str, Value] = {}
        self._size = 0

    def add(self, delta: Delta) -> None:
        """Add what a Delta holds, but for its notes."""
        chunks = [chunk for chunk in delta.chunks if not isinstance(chunk, Note)]
        hint = "; read it as a stream, with output_only: true"
        self._size = whole_size(self._size, chunks, "the joined output", hint)
        if delta.whole and delta.name is not None:
            self._chunks.setdefault(delta.name, [])
            self._whole[delta.name] = chunks[0] if chunks else None
            return
        self._chunks.setdefault(delta.name, []).extend(chunk for chunk in chunks if not is_empty(chunk))

    def value(self) -> Value:
        """Return the output."""
        if not self._chunks or None in self._chunks:
            return join_chunks(self._chunks.get(None, []))
        named = {name: chunks for name, chunks in self._chunks.items() if name is not None}
        known = dict.fromkeys((*(name for name in self._order if name in named), *named))
        return {name: self._whole[name] if name in self._whole else join_chunks(named[name]) for name in known}
