"""How many runs are active at a time, and how many wait."""

from __future__ import annotations

import asyncio

from deployments.runs.site import Places
from graphs.errors import RETRY_AFTER, Overloaded


class Admission(Places):
    """Lets `places` runs be active, and `queue` more wait in the order they came; further ones are refused at once.

    This isn't left to Ray Serve's own queue, so that the refusal is JSON like every error, and health, readiness and
    the list of workflows never wait behind runs.
    """

    def __init__(self, places: int, queue: int) -> None:
        self._places = places
        self._queue = queue
        self._free = asyncio.Semaphore(places)
        self._waiting = 0

    def check(self) -> None:
        """Raise Overloaded when the queue is full."""
        if self._waiting >= self._queue and self._free.locked():
            raise Overloaded(
                f"the server is full: {self._places} runs active, {self._waiting} queued; try again in {RETRY_AFTER} s",
                retry_after=RETRY_AFTER,
            )

    async def enter(self) -> None:
        """Wait for a place and take it; raise Overloaded when the queue is full."""
        self.check()
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Give the place back."""
        self._free.release()
