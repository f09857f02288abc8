"""What goes into the store and comes out of it. Importing this costs nothing: no database library is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple, Protocol

from graphs.errors import Unavailable

PENDING = "pending"
ENDED = ("completed", "failed", "cancelled")
"""The statuses of a run that has ended. A run is pending, processing or streaming before."""


class StoreDown(Unavailable):
    """The store can't be read or written now; the message says in one line which store, why, and what to do."""


class Segment(NamedTuple):
    """The entries `first` to `last` of one run's log, as bytes."""

    run: str
    first: int
    last: int
    kind: int
    body: bytes


@dataclass(frozen=True, slots=True)
class NewRun:
    """A run to be accepted, with the first segment of its log."""

    id: str
    workflow: str
    session: str | None
    caller: str | None
    created_at: float
    policy: str
    segment: Segment
    key: str | None = None
    """The idempotency key: of the requests of one caller with the same key, one starts a run."""
    digest: str = ""
    """What the request said, to tell another request with the same key."""


class RunRow(NamedTuple):
    """A run as it stands in the store."""

    id: str
    workflow: str
    status: str
    session: str | None
    caller: str | None
    owner: str | None
    created_at: float
    ended_at: float | None
    last: int
    size: int
    policy: str
    output: str | None
    stop: bool
    """Another process asks its owner to stop it."""
    reads: int
    """Goes up while readers follow it at other processes than its owner's."""


class State(NamedTuple):
    """What a run's row becomes together with its newest segment."""

    status: str
    ended_at: float | None = None
    output: str | None = None


class Wanted(NamedTuple):
    """What other processes want of a run of this owner."""

    run: str
    stop: bool
    reads: int
    """Goes up while it is read there."""


class Existing(NamedTuple):
    """The run that an idempotency key stands for already."""

    run: str
    digest: str


class Source(Protocol):
    """A run under way, as the writer sees it. Both methods are called on the event loop."""

    def take(self) -> tuple[Segment, State] | None:
        """Return what was said since the last call, as one segment; None if nothing was."""
        ...

    def written(self, last: int) -> None:
        """Hear that all up to this number is in the store."""
        ...
