"""The time and the sleep of a run, so that a test can hold both."""

from __future__ import annotations

import asyncio
from datetime import UTC, datetime


class Clock:
    """The real one."""

    def now(self) -> datetime:
        """Return the time of day, with its zone."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)
