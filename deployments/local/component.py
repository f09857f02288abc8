"""One component in this process: set up, given calls within its limits, replaced when it is no longer healthy, closed."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

from deployments.answering import answerer, lifecycle
from deployments.answering.answerer import Answerer, Call
from deployments.answering.messages import Question, Reply
from deployments.local.pipe import Pipe
from deployments.telemetry.redaction import Redactor
from graphs.component import Component, ComponentType
from graphs.errors import RETRY_AFTER, AnabranchError, Overloaded, TimedOut, Unavailable
from graphs.plan import ComponentPlan

logger = logging.getLogger("anabranch.local")

PERIOD = 5.0
"""Seconds between two questions whether it is healthy."""
PATIENCE = 30.0
"""Seconds that it may take to answer."""
FAILURES = 3
"""A component that wasn't healthy so often in a row is replaced, as Ray Serve does with a replica."""
FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
"""The pause after a replacement that couldn't be set up; it doubles."""
LONGEST_CLOSE = 30.0
"""Seconds that it may take to close, beside those that its type asks for."""


class LocalComponent:
    """A component that runs beside others."""

    def __init__(self, plan: ComponentPlan, type: ComponentType, redactor: Redactor) -> None:
        self.plan = plan
        self.type = type
        self.trouble: str | None = "starting"
        """Why it can't be called; None when it can."""
        self.closed = False
        self.redactor = redactor
        self._component: Component[Any, Any] | None = None
        self._answerer: Answerer | None = None
        self._watch: asyncio.Task[None] | None = None
        self._free = asyncio.Semaphore(plan.options.max_concurrent_count)
        self._waiting = 0
        self._calls: dict[asyncio.Task[Reply], Pipe] = {}
        """The calls that have a place, and where their chunks go."""

    async def start(self, *, insist: bool = False) -> None:
        """Set it up. Where that fails, raise Unavailable; or, to `insist`, try again and again in the background."""
        try:
            await self._set_up()
        except Unavailable:
            if not insist:
                raise
        if self._component is None or self.type.healthy is not Component.healthy:
            self._watch = asyncio.create_task(self._keep_healthy())

    async def begin(self, question: Question, pipe: Pipe) -> Call:
        """Begin to answer, once there is a place; it is free again when the call has ended."""
        await self._place(question.context.deadline)
        try:
            call = self._ready().begin(question, pipe.open)
        except BaseException:
            self._free.release()
            raise
        self._calls[call.task] = pipe
        call.task.add_done_callback(self._leave)
        return call

    async def stop(self, call: Call) -> None:
        """Stop a call; one that won't stop keeps its place no longer."""
        await call.stop()
        self._leave(call.task)

    async def aclose(self) -> None:
        """Close it, once calls that are still under way have been cut. It can't be set up again."""
        self.trouble, self.closed = "stopped", True
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        await self._close()

    def _ready(self) -> Answerer:
        if self._answerer is None:
            raise Unavailable(f"component '{self.plan.id}' is not available: {self.trouble}", retry_after=RETRY_AFTER)
        return self._answerer

    async def _place(self, deadline: float | None) -> None:
        """Wait for a place; refuse to wait where the queue is full."""
        if not self._free.locked():
            await self._free.acquire()  # at once
            return
        if self._waiting >= max(1, self.plan.options.max_queued):
            raise Overloaded(
                f"component '{self.plan.id}' has a full queue; try again, or raise its max_concurrent_count or max_queued",
                retry_after=RETRY_AFTER,
            )
        self._waiting += 1
        try:
            async with asyncio.timeout_at(deadline):
                await self._free.acquire()
        except TimeoutError:
            raise TimedOut(f"component '{self.plan.id}' did not finish before the run's deadline") from None
        finally:
            self._waiting -= 1

    def _leave(self, task: asyncio.Task[Reply]) -> None:
        if self._calls.pop(task, None) is not None:
            self._free.release()

    async def _set_up(self) -> None:
        self._component = await lifecycle.set_up(self.plan, self.type, self.redactor)
        self._answerer = Answerer(self.plan, self._component, self.redactor)
        self.trouble = None

    async def _close(self) -> None:
        """Close the component, if there is one; raise what it raises."""
        component, self._component, self._answerer = self._component, None, None
        if component is None:
            return
        await self._cut()
        closing = asyncio.create_task(lifecycle.close(component))
        done, _ = await asyncio.wait([closing], timeout=LONGEST_CLOSE + self.plan.options.closing_time)
        if not done:
            closing.cancel()
            raise Unavailable("it takes too long")
        await closing

    async def _cut(self) -> None:
        """End the calls that are under way; those that don't stop lose their places."""
        calls = dict(self._calls)
        for task, pipe in calls.items():
            pipe.fail(Unavailable(f"component '{self.plan.id}' was stopped while answering"))
            task.cancel()
        if calls:
            await asyncio.wait(list(calls), timeout=answerer.STOP_DEADLINE)
        for task in calls:
            self._leave(task)

    async def _keep_healthy(self) -> None:
        """Set it up as often as it takes, ask whether it is healthy, and begin again when it isn't."""
        failures = 0
        while True:
            if self._component is None:
                await self._set_up_again()
            if self.type.healthy is Component.healthy:
                return
            await asyncio.sleep(PERIOD)
            trouble = await self._ask()
            failures = failures + 1 if trouble is not None else 0
            if failures >= FAILURES:
                failures = 0
                self.trouble = f"unhealthy: {trouble}"
                logger.error("component '%s' is replaced; it is %s", self.plan.id, self.trouble)
                try:
                    await self._close()
                except Exception:
                    logger.exception("component '%s' could not be closed", self.plan.id)

    async def _ask(self) -> str | None:
        """Ask whether it is healthy; return why it isn't. The question is a task: an answer may never come."""
        assert self._component is not None, "it was set up before"
        asking = asyncio.create_task(lifecycle.check_health(self._component, self.redactor))
        try:
            await asyncio.wait([asking], timeout=PATIENCE)
        finally:
            late = asking.cancel()
        if late:
            return f"no answer within {PATIENCE:g} s"
        failure = (
            asyncio.CancelledError("its health check cancelled itself") if asking.cancelled() else asking.exception()
        )
        if failure is None:
            return None
        return failure.message if isinstance(failure, AnabranchError) else str(failure)

    async def _set_up_again(self) -> None:
        delay = FIRST_DELAY
        while self._component is None:
            with suppress(Unavailable):  # `set_up` logs it
                await self._set_up()
                return
            await asyncio.sleep(delay)
            delay = min(2 * delay, LONGEST_DELAY)


async def start_all(components: Iterable[LocalComponent], said: Callable[[LocalComponent], None] | None = None) -> None:
    """Set all up at the same time, and call `said` for each that is ready; where some fail, close the others and raise
    Unavailable, which names each that failed."""

    async def start(component: LocalComponent) -> None:
        await component.start()
        if said is not None:
            said(component)

    starting = {asyncio.create_task(start(each)): each for each in components}
    try:
        failures = [each for each in await asyncio.gather(*starting, return_exceptions=True) if each is not None]
    except asyncio.CancelledError:
        await close_all(starting.values())
        raise
    if failures:
        await close_all(starting.values())
        unknown = [each for each in failures if not isinstance(each, Unavailable)]
        if unknown:
            raise unknown[0]
        raise Unavailable("\n".join(each.message for each in failures if isinstance(each, Unavailable)))


async def close_all(components: Iterable[LocalComponent]) -> None:
    """Close all at the same time; a failure to close one goes to the log."""
    closing = list(components)
    ends = await asyncio.gather(*(each.aclose() for each in closing), return_exceptions=True)
    for component, end in zip(closing, ends, strict=True):
        if isinstance(end, Exception):
            logger.error("component '%s' could not be closed", component.plan.id, exc_info=end)
