"""What goes into the store and comes out of it. Importing this costs nothing: no database library is loaded."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple, Protocol

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


OnBusy = Literal["enqueue", "reject", "interrupt"]
"""What becomes of a turn whose session is answering another: it waits, it is refused, or the others are stopped."""
TurnState = Literal["complete", "cut", "failed"]
"""How a turn ended: its run completed, was cancelled, or failed."""


class SessionKey(NamedTuple):
    """Which session: ids are the clients' own, so that each caller has its own."""

    caller: str
    id: str


class NewTurn(NamedTuple):
    """What makes a run the next turn of its session."""

    said: str
    """What the user's side says, as JSON: a list of messages."""
    system: str | None = None
    """The system prompt from this turn on; None leaves it."""
    on_busy: OnBusy = "enqueue"
    most: int = 64
    """How many turns may wait in the session."""


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
    turn: NewTurn | None = None


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


class Placed(NamedTuple):
    """The place of a new turn in its session."""

    number: int
    before: tuple[str, ...]
    """The runs of earlier turns that aren't settled, the oldest first."""


class Busy(NamedTuple):
    """The new turn was refused: so many turns of its session haven't ended."""

    under_way: int


Answer = Existing | Placed | Busy | None
"""What comes of a new run. It was inserted if that is None, or the place of its turn."""


class SessionRow(NamedTuple):
    """A session as it stands in the store."""

    key: SessionKey
    workflow: str
    """That of the newest turn."""
    turns: int
    """How many it holds."""
    created_at: float
    updated_at: float


class TurnRow(NamedTuple):
    """A turn as it stands in the store."""

    number: int
    run: str
    said: str
    system: str | None
    answer: str | None
    """What was answered, as JSON: one message; None where nothing was."""
    state: TurnState | None
    """None: it isn't settled; the answer is in the log of its run, which has ended or hasn't."""
    created_at: float
    ended_at: float | None
    status: str | None
    """Of its run, while that is kept."""


class OpenTurn(NamedTuple):
    """A turn that isn't settled."""

    key: SessionKey
    number: int
    run: str
    ended: bool
    """Whether its run has ended, or is gone."""


class Settled(NamedTuple):
    """What is remembered of a turn whose run has ended."""

    run: str
    state: TurnState
    answer: str | None
    ended_at: float


class Source(Protocol):
    """A run under way, as the writer sees it. Both methods are called on the event loop."""

    def take(self) -> tuple[Segment, State] | None:
        """Return what was said since the last call, as one segment; None if nothing was."""
        ...

    def written(self, last: int) -> None:
        """Hear that all up to this number is in the store."""
        ...


def storable(text: str) -> bool:
    """Return whether every database takes this text; nothing is found under another."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return "\0" not in text
