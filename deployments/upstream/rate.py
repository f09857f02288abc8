"""Limit how many calls begin in any span of time; calls wait for their turn in the order in which they came."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Awaitable, Callable


class Rate:
    """A sliding window. APIs count the calls of the last minute, of which a token bucket would let twice as many through."""

    def __init__(
        self,
        requests: int,
        per: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._per = per
        self._clock = clock
        self._sleep = sleep
        self._begun: deque[float] = deque(maxlen=requests)
        self._line = asyncio.Lock()

    async def turn(self) -> None:
        """Return when the next call may begin. A call that is cancelled while it waits takes no turn."""
        # asyncio's lock is fair: calls get it in the order in which they came.
        async with self._line:
            while (wait := self._wait()) > 0:
                await self._sleep(wait)
            self._begun.append(self._clock())

    def _wait(self) -> float:
        if len(self._begun) < (self._begun.maxlen or 0):
            return 0
        return self._begun[0] + self._per - self._clock()
