"""What the jobs of one run have around them: the run, the components, the clock, the tasks that they start, and the queue of
what they tell the reader of its events."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Protocol

from deployments.runs.events import Delta, Invocation, JobDone, Observer, Run
from deployments.streams.share import Share, Spawn
from graphs.component import Whole
from graphs.stream import MAX_WHOLE, Stream, Value

Invoke = Callable[[Invocation], Awaitable[Value | Stream | Whole]]
"""Calls a component. The Stream it returns owns the call: closing it, or cancelling the wait for it, cancels the call.
A Whole is a plain value that comes with notes."""

Names = Mapping[str, Value]
"""What a job's templates can see."""


class Timer(Protocol):
    """A callback that will be called later."""

    def cancel(self) -> None: ...


class Places:
    """What runs must have a place of; here is one for every run."""

    async def enter(self) -> None:
        """Wait for a place and take it; may raise Overloaded."""

    def leave(self) -> None:
        """Give the place back."""


class Clock:
    """The time, the sleep and the timers of a run; a test can hold them."""

    def now(self) -> datetime:
        """Return the time of day, with its zone."""
        return datetime.now(UTC)

    async def sleep(self, seconds: float) -> None:
        """Return after `seconds`."""
        await asyncio.sleep(seconds)

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Timer:
        """Call `callback` after `seconds`, unless the timer is cancelled before."""
        return asyncio.get_running_loop().call_later(seconds, callback)


@dataclass(frozen=True, slots=True)
class Limits:
    """What bounds a run; tests lower it."""

    grace: float = 10.0
    """Seconds a cancelled component may take to stop before the run ends without it."""
    behind: int = MAX_WHOLE
    """Bytes by which one reader of a shared stream may be behind the fastest."""
    look_ahead: int = 64
    """Batches that are kept of a for-each's item that runs before its turn."""


@dataclass(frozen=True, slots=True)
class Site:
    """What the jobs of one run have around them."""

    run: Run
    invoke: Invoke
    nest: Callable[[str, Value], Awaitable[Value | Stream | Whole]]
    """Runs another workflow inside this run."""
    spawn: Spawn
    clock: Clock
    chance: Callable[[], float]
    """At least 0, below 1."""
    limits: Limits
    observer: Observer | None = None

    def share(self, stream: Stream, readers: int, *, patient: bool = False) -> list[Stream]:
        """Return one stream for each reader, a single reader the stream itself; with `patient`, the fast wait for the slow."""
        if readers == 1 or stream.joined is not None:
            return [stream] * readers
        return Share(stream, readers, self.spawn, self.run.id, patient, self.limits.behind).streams


Told = JobDone | Delta | Stream | None
"""An event; the Stream that is the whole rest of the result; or None: all jobs have ended."""


class EventQueue:
    """A queue for one reader. It stays short: a job ends once, and a stream waits until its last batch was taken."""

    def __init__(self) -> None:
        self._told: deque[tuple[Told, asyncio.Event | None]] = deque()
        self._news: asyncio.Future[None] | None = None
        """What the reader waits for."""

    def put(self, told: Told) -> None:
        """Add what happens a bounded number of times."""
        self._add(told, None)

    async def put_and_wait(self, told: Told) -> None:
        """Add it, and return once it was taken."""
        taken = asyncio.Event()
        self._add(told, taken)
        await taken.wait()

    async def get(self) -> Told:
        """Return the oldest, once there is any."""
        while not self._told:
            self._news = asyncio.get_running_loop().create_future()
            await self._news
        told, taken = self._told.popleft()
        if taken is not None:
            taken.set()
        return told

    def _add(self, told: Told, taken: asyncio.Event | None) -> None:
        self._told.append((told, taken))
        if self._news is not None and not self._news.done():
            self._news.set_result(None)
