"""A run that outlives its request: its events go into its log, and it ends by itself, by a stop, or for want of readers."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing

from deployments.gateway.entries import ENDS
from deployments.gateway.log import OwnLog
from deployments.runs.events import Delta, Event, JobDone, Run, RunCancelled, RunFailed
from graphs.errors import AnabranchError, Cancelled, RunLost

logger = logging.getLogger("anabranch.runs")

OnDisconnect = str | float
"""What happens when the last reader has left: `cancel`, `continue`, or the seconds after which the run is cancelled."""


Events = Callable[[Run], AsyncGenerator[Event, None]]
"""Gives the events of a run, which begins when they are read."""


def policy_text(policy: OnDisconnect) -> str:
    """Return a policy as the store keeps it."""
    return policy if isinstance(policy, str) else f"detach:{policy:g}"


class Keeper:
    """A kept run of this process, under way. Make it once the run is accepted; then it begins."""

    def __init__(
        self,
        run: Run,
        log: OwnLog,
        policy: OnDisconnect,
        read_elsewhere: Callable[[str], Awaitable[int]],
        done: Callable[[Keeper], None],
    ) -> None:
        """`read_elsewhere` gives a count that goes up while the run is read at other processes."""
        self.run, self.log, self.policy = run, log, policy
        self._read_elsewhere = read_elsewhere
        self._done = done
        self._end: RunCancelled | RunFailed | None = None
        self._leaving: asyncio.Task[None] | None = None
        self._task: asyncio.Task[None] | None = None

    def begin(self, events: Events, before: Callable[[], Awaitable[Run]] | None = None) -> None:
        """Run it, in a task of its own, and in an empty context: nothing of the request that started it stays with it.

        `before` is waited for first, and gives the run as it is to begin.
        """
        self._task = asyncio.get_running_loop().create_task(self._drive(events, before), context=contextvars.Context())
        # Not at the end of the task itself: one that is stopped before its first step never gets there.
        self._task.add_done_callback(self._close)
        if isinstance(self.policy, float):
            self._leave()

    # --- its readers -------------------------------------------------------------------------------------------------

    def read(self) -> None:
        """Count one reader more."""
        self.log.readers += 1
        if self._leaving is not None:
            self._leaving.cancel()
            self._leaving = None

    def left(self) -> None:
        """Count one reader less; the last one's leaving may end the run."""
        self.log.readers -= 1
        if self.log.readers == 0 and not self.log.ended:
            self._leave()

    def _leave(self) -> None:
        if self.policy == "cancel":
            self.stop(RunCancelled("its client disconnected"))
        elif isinstance(self.policy, float):
            self._leaving = asyncio.create_task(self._stop_unread(self.policy))

    async def _stop_unread(self, seconds: float) -> None:
        """Stop the run when it has had no reader for that long, at any replica."""
        before = await self._reads()
        while True:
            await asyncio.sleep(seconds)
            now = await self._reads()
            if now is not None and now == before:
                break
            before = now
        self._leaving = None
        self.stop(RunCancelled(f"it had no reader for {seconds:g} s"))

    async def _reads(self) -> int | None:
        """Return how often it was read at other processes; None while the store doesn't say."""
        try:
            return await self._read_elsewhere(self.run.id)
        except AnabranchError:
            return None

    # --- its end -----------------------------------------------------------------------------------------------------

    def stop(self, end: RunCancelled | RunFailed) -> None:
        """End the run with this, unless it ends by itself before."""
        if self._end is None and self._task is not None and not self._task.done():
            self._end = end
            self._task.cancel()

    async def ended(self) -> None:
        """Wait until the run has ended."""
        assert self._task is not None, "it has begun"
        await asyncio.wait([self._task])

    async def _drive(self, begin: Events, before: Callable[[], Awaitable[Run]] | None) -> None:
        log = self.log
        try:
            run = self.run if before is None else await before()
            async with aclosing(begin(run)) as events:
                async for event in events:
                    if type(event) is not Delta:
                        if isinstance(event, JobDone):
                            continue
                        if isinstance(event, ENDS):
                            self._end = None
                            log.say(event)
                            break
                    log.say(event)
                    if log.crowded:
                        await log.room()
        except asyncio.CancelledError:
            if self._end is None:
                raise
        except AnabranchError as error:
            ending = RunCancelled(error.message) if isinstance(error, Cancelled) else RunFailed(error)
            self._end = self._end or ending

    def _close(self, task: asyncio.Task[None]) -> None:
        """Have the log end, however the run did."""
        if not task.cancelled() and (fault := task.exception()) is not None:
            logger.error("run %s: internal error", self.run.id, exc_info=fault)
        if not self.log.ended:
            self.log.say(self._end or RunFailed(RunLost("the server stopped while it ran")))
        if self._leaving is not None:
            self._leaving.cancel()
        self._done(self)
