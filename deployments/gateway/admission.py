"""Runs that want to begin in; a place for each in the order they came, or Overloaded."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from graphs.errors import Overloaded

RETRY_AFTER = 1


class Admission:
    """So many runs at a time; so many more wait in line; the rest are sent away at once.

    Kept here and not left to Ray Serve's own queue, so that the refusal is the API's JSON, and health, readiness and
    the list of workflows never stand in line behind runs.
    """

    def __init__(self, places: int, line: int) -> None:
        self._places = places
        self._line = line
        self._free = asyncio.Semaphore(places)
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Wait for a place and hold it; raise Overloaded when the line is full."""
        if self._free.locked() and self._waiting >= self._line:
            raise Overloaded(
                f"{self._places} runs are under way and {self._waiting} wait, which is the limit; "
                f"try again in {RETRY_AFTER} s",
                retry_after=RETRY_AFTER,
            )
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1
        try:
            yield
        finally:
            self._free.release()
