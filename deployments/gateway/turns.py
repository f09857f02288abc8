"""What makes a kept run a turn of its session: what the gateway asks of the room of sessions, which stands above it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Protocol

from deployments.runs.events import Run
from deployments.store.rows import Busy, NewTurn, Placed
from graphs.errors import RETRY_AFTER, AnabranchError, Conflict, Overloaded


class Turn(Protocol):
    """What makes a run a turn of its session."""

    @property
    def new(self) -> NewTurn:
        """What the store keeps of it."""
        ...

    async def begin(self, run: Run, placed: Placed) -> Run:
        """Wait for its turn; return the run as it is to begin."""
        ...

    def ended(self, run: str) -> None:
        """Hear that the run has ended."""
        ...


class Remembering(Protocol):
    """Remembers of runs what outlives their logs."""

    async def settle(self, runs: Sequence[str]) -> None:
        """Remember what these runs said, which have ended, and are about to be deleted."""
        ...

    async def sweep(self, now: float) -> None:
        """The same of all runs that have ended; and forget what is too old itself."""
        ...


def busy(session: str | None, turn: NewTurn | None, others: Busy) -> AnabranchError:
    """Return why a turn is refused."""
    if turn is not None and turn.on_busy == "reject":
        return Conflict(
            f"the session '{session}' is answering another message; wait for that, or send on_busy: enqueue"
        )
    waiting = f"{others.under_way} messages of the session '{session}' are under way or wait"
    return Overloaded(f"{waiting}; try again in {RETRY_AFTER} s", retry_after=RETRY_AFTER)
