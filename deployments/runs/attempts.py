"""A job whose needs have settled -> its answer: tried again after failures that may pass, within its timeout, or replaced by its `on_error`."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from itertools import count

from deployments.runs import jobs
from deployments.runs.errors import worth_retrying
from deployments.runs.events import JobRetried, JobStreaming
from deployments.runs.site import Clock, Names, Site
from deployments.streams.inside_values import Opened, apart, begun, close_all, joined, streams_in
from deployments.streams.tasks import only_known_errors
from graphs.errors import AnabranchError, TimedOut
from graphs.language import Scope, render
from graphs.plan import Job, Wiring
from graphs.stream import Note, Value

logger = logging.getLogger("anabranch.run")


@dataclass(frozen=True, slots=True)
class Answer:
    """What a job gives in the end."""

    value: Value = None
    chosen: str | None = None
    """The job that it leads to, as a router, or as a job that failed."""
    failure: AnabranchError | None = None
    """Why the job in `chosen` takes over."""
    streams: bool = False
    """Whether there may be streams in the value: one made without streams isn't searched for them, large as it may be."""
    notes: tuple[Note, ...] = ()


class Attempts:
    """The attempts of one job; `kept` closes, when the run ends, the streams that the answer opened."""

    def __init__(self, job: Job, workflow: str, wiring: Wiring, site: Site, kept: AsyncExitStack) -> None:
        self._job, self._workflow, self._site, self._kept = job, workflow, site, kept
        self._is_joined = wiring.readers[job.id].only_whole
        self._takes_streams = bool(wiring.inputs[job.id].flowing)

    async def answer(self, names: Names, limit: TimeLimit | None) -> Answer:
        """Return the job's answer, or what its `on_error` puts in place of its failure."""
        try:
            if limit is None:
                return await self._tried(names)
            async with limit.until_answered():
                return await self._tried(names)
        except AnabranchError as failure:
            on_error = self._job.on_error
            if on_error is None:
                raise
            self._warn("failed, and on_error takes over", failure)
            if on_error.output is None:
                return Answer(chosen=on_error.to, failure=failure)
            error = {"type": failure.type, "message": failure.message}
            return Answer(await render(on_error.output, Scope({**names, "error": error})))

    async def _tried(self, names: Names) -> Answer:
        retry, pause = self._job.retry, self._job.retry.delay
        for attempt in count(1):
            try:
                return await self._attempt(names)
            except AnabranchError as failure:
                if attempt >= retry.max_attempts or not worth_retrying(failure):
                    raise
                asked = failure.details.get("retry_after")
                wait = max(pause, asked) if isinstance(asked, int | float) else pause
                self._warn(f"attempt {attempt} of {retry.max_attempts} failed", failure)
                if (observer := self._site.observer) is not None:
                    observer.tell(JobRetried(observer.job(self._job.id), attempt, failure))
            await self._site.clock.sleep(min(wait, retry.max_delay))
            pause = min(pause * retry.backoff, retry.max_delay)
        raise AssertionError("count never ends")

    async def _attempt(self, names: Names) -> Answer:
        """Run the job once: up to its first chunks, where a later attempt or an `on_error` could still take over."""
        job, opened = self._job, Opened()
        try:
            with only_known_errors(self._site.run.id):
                value, chosen = await jobs.answer(job, names, self._site, opened)
                notes, streams = tuple(opened.notes), self._takes_streams or bool(opened.streams)
                if opened.streams and (observer := self._site.observer) is not None:
                    observer.tell(JobStreaming(observer.job(job.id)))
                if streams and self._is_joined:
                    value, more = await joined(value)
                    notes, streams = notes + more, False
                elif streams and (job.retry.max_attempts > 1 or job.on_error is not None):
                    value = apart(value, self._site.share)
                    for stream in streams_in(value):
                        opened.add(stream)
                    value = await begun(value)
        except BaseException:
            await close_all(opened.streams)
            raise
        for stream in opened.streams:
            self._kept.push_async_callback(stream.aclose)
        return Answer(value, chosen, streams=streams, notes=notes)

    def _warn(self, what: str, failure: AnabranchError) -> None:
        run, job = self._site.run.id, self._job.id
        logger.warning("run %s: workflow %r, job %r %s: %s", run, self._workflow, job, what, failure)


class TimeLimit:
    """A job's `timeout`: counts from its creation until `stop`.

    Until the job has answered, running out of time cancels what the job does. After that, while the job's streams
    flow, it calls `late` with the error.
    """

    def __init__(self, seconds: float, clock: Clock, late: Callable[[TimedOut], None]) -> None:
        self._seconds, self._late = seconds, late
        self._scope = asyncio.timeout(None)
        self._struck = self._answered = False
        self._timer = clock.call_later(seconds, self._strike)

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
        self._timer.cancel()

    def _strike(self) -> None:
        self._struck = True
        if self._answered:
            self._late(self._error())
        else:
            self._scope.reschedule(asyncio.get_running_loop().time())

    def _error(self) -> TimedOut:
        return timed_out(self._seconds)


def timed_out(seconds: float) -> TimedOut:
    """Return the error of a job or a run that has used up its `timeout`."""
    return TimedOut(f"it did not finish within its timeout of {seconds:g} s")
