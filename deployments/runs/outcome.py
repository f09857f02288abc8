"""How one job settled: what it gave, and each reader's share of it."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from typing import Literal

from graphs.errors import AnabranchError
from graphs.stream import Note, Value


class Outcome:
    """How one job settled, and what it gave to each reader."""

    def __init__(self) -> None:
        self.settled = asyncio.Event()
        """Its output is there, though it may be a stream that has only begun."""
        self.ended = asyncio.Event()
        """Its stream was read to the end too, where a job waits for that."""
        self.status: Literal["completed", "skipped", "failed"] = "completed"
        self.why = ""
        """Why it gives nothing, in the words of a message."""
        self.failure: AnabranchError | None = None
        """What it failed with, where another job took over."""
        self.chosen: str | None = None
        """The job that it leads to, as a router, or as a job that failed."""
        self.value: Value = None
        self.streams = False
        """Whether there are streams in its output."""
        self.notes: tuple[Note, ...] = ()
        self._shares: dict[str, Value] = {}

    def completed(self) -> bool:
        """Return whether it has settled and given an output."""
        return self.settled.is_set() and self.status == "completed"

    def give(self, shares: Mapping[str, Value]) -> None:
        """Settle with an output of streams, a share of it for each reader."""
        self.streams = True
        self._shares.update(shares)
        self.settled.set()

    def end(self, value: Value = None) -> None:
        """Settle with a whole value."""
        self.value = value
        self.settled.set()
        self.ended.set()

    def take(self, reader: str) -> Value:
        """Return the reader's own share of the streams, or the value that all readers have."""
        return self._shares.get(reader, self.value)
