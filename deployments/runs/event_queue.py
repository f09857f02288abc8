"""What the jobs of a run tell -> the reader of its events, in order."""

from __future__ import annotations

import asyncio

from deployments.runs.events import Delta, JobDone
from graphs.stream import Stream

Told = JobDone | Delta | Stream | None
"""An event; the Stream that is the whole rest of the result; or None: all jobs have ended."""


class EventQueue:
    """A queue that stays short: a job ends once, and a stream waits until its last batch was taken."""

    def __init__(self) -> None:
        self._told = asyncio.Queue[tuple[Told, asyncio.Event | None]]()

    def put(self, told: Told) -> None:
        """Add what happens a bounded number of times."""
        self._told.put_nowait((told, None))

    async def put_and_wait(self, told: Told) -> None:
        """Add it, and return once it was taken."""
        taken = asyncio.Event()
        self._told.put_nowait((told, taken))
        await taken.wait()

    async def get(self) -> Told:
        """Return the oldest, once there is any."""
        told, taken = await self._told.get()
        if taken is not None:
            taken.set()
        return told
