"""The time, the sleep and the timers of a run, so that a test can hold them."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import UTC, datetime
from typing import Protocol


class Timer(Protocol):
    """A callback that will be called later."""

    def cancel(self) -> None: ...


class Clock:
    """The real one."""

    def now(self) -> datetime:
        """Return the time of day, with its zone."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` after `seconds`, unless the timer is cancelled before."""
        return asyncio.get_running_loop().call_later(seconds, callback)
