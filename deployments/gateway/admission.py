"""Admit runs: a limited number at a time, and a limited queue of those that wait."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager

from graphs.errors import RETRY_AFTER, Overloaded


class Admission:
    """Lets `places` runs be active, and `queue` more wait in the order they came; further ones are refused at once.

    This isn't left to Ray Serve's own queue, so that the refusal is JSON like every error, and health, readiness and
    the list of workflows never wait behind runs.
    """

    def __init__(self, places: int, queue: int) -> None:
        self._places = places
        self._queue = queue
        self._free = asyncio.Semaphore(places)
        self._waiting = 0

    @asynccontextmanager
    async def place(self) -> AsyncGenerator[None]:
        """Wait for a place and hold it; raise Overloaded when the queue is full."""
        if self._free.locked() and self._waiting >= self._queue:
            raise Overloaded(
                f"the server is full: {self._places} runs active, {self._waiting} queued; try again in {RETRY_AFTER} s",
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
