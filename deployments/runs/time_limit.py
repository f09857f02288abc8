"""A job's `timeout` -> TimedOut, if its output isn't complete by then."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from contextlib import asynccontextmanager

from deployments.runs.clock import Clock
from graphs.errors import TimedOut


class TimeLimit:
    """Counts from its creation until `stop`.

    Until the job has answered, running out of time cancels what the job does. After that, while the job's streams
    flow, it calls `late` with the error.
    """

    def __init__(self, seconds: float | None, clock: Clock, late: Callable[[TimedOut], None]) -> None:
        self._seconds, self._late = seconds, late
        self._scope = asyncio.timeout(None)
        self._struck = self._answered = False
        self._timer = None if seconds is None else clock.call_later(seconds, self._strike)

    @asynccontextmanager
    async def until_answered(self) -> AsyncGenerator[None]:
        """Cancel the body when the time is over, and raise TimedOut then. A body that fails has no time limit after."""
        try:
            async with self._scope:
                yield
            self._answered = True
        except TimeoutError:
            if not self._scope.expired():
                raise
        finally:
            if not self._answered:
                self.stop()
        if self._struck:
            raise self._error()

    def stop(self) -> None:
        """Count no further."""
        if self._timer is not None:
            self._timer.cancel()

    def _strike(self) -> None:
        self._struck = True
        if self._answered:
            self._late(self._error())
        else:
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _error(self) -> TimedOut:
        return timed_out(self._seconds or 0.0)


def timed_out(seconds: float) -> TimedOut:
    """Return the error of a job or a run that has used up its `timeout`."""
    return TimedOut(f"it did not finish within its timeout of {seconds:g} s")
