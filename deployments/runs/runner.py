"""A Plan, a Run and a way to invoke components -> the run's events. Only here is decided how a run ends."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable
from contextlib import AsyncExitStack, aclosing
from dataclasses import replace
from typing import Any

from deployments.runs.attempts import timed_out
from deployments.runs.errors import located
from deployments.runs.events import (
    Delta,
    Event,
    Finished,
    Observer,
    Run,
    RunCancelled,
    RunFailed,
    Started,
    raise_failure,
)
from deployments.runs.observing import Observed
from deployments.runs.result import Result
from deployments.runs.schedule import Locate, Schedule
from deployments.runs.site import Clock, EventQueue, Invoke, Limits, Places, Site, Timer
from deployments.streams.tasks import only_known_errors, task_group
from graphs.component import Whole
from graphs.errors import AnabranchError, Cancelled, NotFound, Overloaded, TimedOut
from graphs.plan import Job, Plan
from graphs.stream import Batch, Note, Stream, Value

logger = logging.getLogger("anabranch.run")

Redact = Callable[[AnabranchError], AnabranchError]

NOTES_KEPT = 256
"""How many of a streamed result's notes `Finished` repeats, the last ones: all of them went out in Deltas."""


def run(
    plan: Plan,
    run: Run,
    invoke: Invoke,
    *,
    clock: Clock | None = None,
    chance: Callable[[], float] = random.random,
    places: Places | None = None,
    redact: Redact = lambda error: error,
    limits: Limits | None = None,
    observer: Observer | None = None,
) -> AsyncGenerator[Event, None]:
    """Run a workflow and yield its events: Started, JobDone and Delta as they come, then one of the three ends.

    `invoke` calls components; it closes the streams in an Invocation's input when it has done with them. `clock` and
    `chance` are what delays and random routers go by. The run holds one of the `places` from before its start until
    after its end. `redact` changes the error that a failed run ends with. `limits` bounds the run.
    `observer` is told what its jobs do, always before the end.

    Closing the generator, or cancelling the task that reads it, cancels every job, closes every stream, and waits until
    that is done. A result that streams is read only as fast as its events are.
    """
    flow = _Flow(plan, run, invoke, clock or Clock(), chance, limits or Limits(), observer)
    return flow.events(places or Places(), redact)


class _Flow:
    """One workflow under way: the task that runs its jobs, and the generator of its events."""

    def __init__(
        self,
        plan: Plan,
        run: Run,
        invoke: Invoke,
        clock: Clock,
        chance: Callable[[], float],
        limits: Limits,
        observer: Observer | None,
        *,
        nested: bool = False,
    ) -> None:
        workflow = plan.workflow(run.workflow)
        if workflow is None:
            raise NotFound(f"unknown workflow '{run.workflow}'")
        self._plan, self._nested = plan, nested
        self._workflow = workflow
        self._site = Site(run, invoke, self._nest, self._spawn, clock, chance, limits, observer)
        self._kept = AsyncExitStack()
        self._queue = EventQueue()
        self._error: AnabranchError | None = None
        self._jobs: asyncio.Task[None] | None = None
        self._settled = False
        """Every job and every task of theirs has ended."""
        self._left = asyncio.Event()
        """The events are no longer read."""
        self._timer: Timer | None = None
        self._reader: asyncio.Task[Any] | None = None
        """The task that waits for the stream."""
        self._reader_depth = 0
        self._interrupted = False

    async def events(self, places: Places, redact: Redact = lambda error: error) -> AsyncGenerator[Event, None]:
        try:
            await places.enter()
        except Overloaded as overloaded:
            yield RunFailed(overloaded)
            return
        try:
            yield Started(self._site.run.id, self._workflow.id)
            self._start()
            notes: deque[Note] = deque(maxlen=NOTES_KEPT)
            try:
                with only_known_errors(self._site.run.id):
                    while (told := await self._queue.get()) is not None:
                        if not isinstance(told, Stream):
                            notes.extend(_notes(told.chunks) if isinstance(told, Delta) else ())
                            yield told
                            continue
                        # The hot path: between the stream and the reader of the events there is no task and no queue.
                        async with aclosing(told.batches()) as batches:
                            self._await_stream()
                            async for batch in batches:
                                self._reader = None
                                notes.extend(_notes(batch))
                                yield Delta(batch)
                                if self._error is not None:
                                    break
                                self._reader = asyncio.current_task()
                        self._reader = None
                        await self._result.close()
            except asyncio.CancelledError:
                if not self._was_interrupted():
                    raise
            except AnabranchError as error:
                self._fail(located(error, self._workflow.id))
            finally:
                self._reader = None
                await self._stop()
            yield self._ending(tuple(notes), redact)
        finally:
            places.leave()

    async def aclose(self) -> None:
        """End the run from outside, while another task may be reading its events."""
        self._fail(Cancelled("its result is no longer read"))
        await self._stop()

    # --- running -----------------------------------------------------------------------------------------------------

    def _start(self) -> None:
        self._set_deadline()
        observed = Observed(self._site.observer, self._failure)
        tell = self._queue.put
        self._schedule = Schedule(self._workflow, self._site, tell, self._fail, self._locate, self._kept, observed)
        self._result = Result(self._workflow, self._schedule, self._site, self._queue)
        # A task of its own holds the TaskGroup: in a generator, a group would cancel the task that reads it (PEP 789).
        self._jobs = asyncio.create_task(self._run_jobs())

    def _set_deadline(self) -> None:
        """Let the run fail at its deadline, or when the workflow's `timeout` is over: at the nearer of the two."""
        run, timeout = self._site.run, self._workflow.timeout
        deadline, now = run.context.deadline, asyncio.get_running_loop().time()
        if timeout is not None and (deadline is None or now + timeout < deadline):
            deadline, late = now + timeout, timed_out(timeout)
            self._site = replace(self._site, run=replace(run, context=replace(run.context, deadline=deadline)))
        elif deadline is not None:
            late = TimedOut(f"it did not finish within {round(deadline - now, 2):g} s")
        else:
            return
        failure = located(late, self._workflow.id)
        self._timer = self._site.clock.call_later(deadline - now, lambda: self._fail(failure))

    async def _run_jobs(self) -> None:
        try:
            with only_known_errors(self._site.run.id):
                try:
                    await self._settle_all()
                except AnabranchError as error:
                    self._fail(error)
                finally:
                    self._settled = True
                    self._queue.put(None)
                    await self._close()
        except AnabranchError as error:
            self._fail(error)

    async def _close(self) -> None:
        """Close what is still open: after a success once the result was read, after a failure once reading has stopped."""
        task = asyncio.current_task()
        succeeded = self._error is None and task is not None and task.cancelling() == 0
        try:
            if succeeded or self._reader is not None:
                await self._left.wait()
        finally:
            await self._kept.aclose()

    async def _settle_all(self) -> None:
        async with task_group() as self._group:
            for job in self._workflow.jobs.values():
                self._group.create_task(self._schedule.run_job(job))
            try:
                with only_known_errors(self._site.run.id):
                    await self._result.give(side_by_side=not self._nested)
            except AnabranchError as error:
                # At once: what the group cancels may take its time to end.
                self._fail(located(error, self._workflow.id))
                raise

    async def _stop(self) -> None:
        """Cancel what still runs, close what is still open, and wait for both. The task does it once, however many wait."""
        if self._timer is not None:
            self._timer.cancel()
        if self._jobs is None:
            return
        self._left.set()
        self._cancel_jobs()
        _, late = await asyncio.wait([self._jobs], timeout=(grace := self._site.limits.grace))
        if late:
            logger.error("run %s: a component or a stream did not stop within %g s", self._site.run.id, grace)

    def _ending(self, notes: tuple[Note, ...], redact: Redact) -> Event:
        if isinstance(self._error, Cancelled):
            return RunCancelled(self._error.message)
        if self._error is not None:
            return RunFailed(redact(self._error))
        if self._result.streamed:
            return Finished(None, streamed=True, notes=notes)
        return Finished(self._result.value, streamed=False, notes=self._result.notes)

    # --- failing -----------------------------------------------------------------------------------------------------

    def _fail(self, error: AnabranchError) -> None:
        """End the run with this error, unless it already fails: later failures follow from the first."""
        if self._error is not None:
            return
        self._error = error
        self._queue.put(None)
        self._cancel_jobs()
        if self._reader is not None and self._reader is not asyncio.current_task():
            self._interrupted = True
            self._reader.cancel()

    def _failure(self) -> AnabranchError | None:
        return self._error

    def _cancel_jobs(self) -> None:
        """Cancel the jobs, but only once: a second time would break off what the first one closes."""
        if self._settled:
            if self._reader is None:
                self._left.set()
        elif self._jobs not in (None, asyncio.current_task()) and self._jobs.cancelling() == 0:
            self._jobs.cancel()

    def _locate(self, job: Job) -> Locate:
        """Return what turns a failure of the job's stream, wherever it is read, into the run's; it fails the run."""

        def locate(error: AnabranchError) -> AnabranchError:
            if self._error is not None:
                return error
            failure = located(error, self._workflow.id, job)
            self._fail(failure)
            return failure

        return locate

    def _await_stream(self) -> None:
        """Remember the task that waits for the stream: a failure elsewhere ends its wait, as asyncio.timeout would."""
        self._reader = task = asyncio.current_task()
        self._reader_depth = task.cancelling() if task is not None else 0

    def _was_interrupted(self) -> bool:
        """Whether `_fail` ended the wait, and the reader was not cancelled besides."""
        task = asyncio.current_task()
        return self._interrupted and task is not None and task.uncancel() <= self._reader_depth

    # --- what jobs ask for -------------------------------------------------------------------------------------------

    def _spawn(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        return self._group.create_task(work)

    async def _nest(self, workflow: str, input: Value) -> Value | Stream | Whole:
        """Run another workflow inside this run and return its result."""
        site = self._site
        run = replace(site.run, context=replace(site.run.context, workflow=workflow), input=input)
        observer = site.observer and site.observer.within(workflow)
        flow = _Flow(self._plan, run, site.invoke, site.clock, site.chance, site.limits, observer, nested=True)
        inner = flow.events(Places())
        async with AsyncExitStack() as opened:
            opened.push_async_callback(inner.aclose)
            async for event in inner:
                match event:
                    case Delta(chunks=first):
                        opened.pop_all()
                        return Stream(_rest(first, inner), flow.aclose)
                    case Finished(output=output, streamed=streamed, notes=notes):
                        said = {name: value for note in notes for name, value in note.data.items()}
                        return Whole("" if streamed else output, said) if said else "" if streamed else output
                    case _:
                        raise_failure(event)
        raise AssertionError("a run's last event is its end")


async def _rest(first: Batch, inner: AsyncGenerator[Event, None]) -> AsyncIterator[Batch]:
    async with aclosing(inner):
        yield first
        async for event in inner:
            if isinstance(event, Delta):
                yield event.chunks
            else:
                raise_failure(event)


def _notes(batch: Batch) -> Iterable[Note]:
    return (chunk for chunk in batch if type(chunk) is Note) if Note in map(type, batch) else ()
