"""The events of a run: Started, any number of Delta and JobDone, then exactly one of Finished, RunFailed or RunCancelled."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
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
