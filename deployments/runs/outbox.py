"""News from the jobs of a run -> the one who reads its events."""

from __future__ import annotations

import asyncio
from collections import deque

from deployments.runs.events import Delta, JobDone
from graphs.stream import Stream

News = JobDone | Delta | Stream | None
"""An event as it stands; the Stream that is the whole rest of the result; or None: all jobs have ended."""


class Outbox:
    """Keeps news in order. It stays short: a job tells of itself once, and a stream waits until its last was taken."""

    def __init__(self) -> None:
        self._news: deque[tuple[News, asyncio.Event | None]] = deque()
        self._arrived = asyncio.Event()

    def tell(self, news: News) -> None:
        """Leave news; for what happens a bounded number of times."""
        self._news.append((news, None))
        self._arrived.set()

    async def offer(self, news: News) -> None:
        """Leave news and wait until they were taken."""
        taken = asyncio.Event()
        self._news.append((news, taken))
        self._arrived.set()
        await taken.wait()

    async def next(self) -> News:
        """Return the oldest news, once there are any."""
        while not self._news:
            self._arrived.clear()
            await self._arrived.wait()
        news, taken = self._news.popleft()
        if taken is not None:
            taken.set()
        return news
