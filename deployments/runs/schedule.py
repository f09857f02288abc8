"""The jobs of one workflow -> their outcomes: each job runs as soon as all it needs has settled."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Coroutine, Mapping
from contextlib import AsyncExitStack
from itertools import count
from typing import Any, Literal

from deployments.runs import jobs
from deployments.runs.blame import located, worth_retrying
from deployments.runs.calls import Names, Site
from deployments.runs.events import JobDone
from deployments.runs.jobs import Answer
from deployments.streams.inside_values import Opened, apart, begun, copies, drain, joined, streams_in
from deployments.streams.share import share
from deployments.streams.tasks import foreseen
from graphs.errors import AnabranchError
from graphs.language import Scope, render, truth
from graphs.plan import Inputs, Job, WorkflowPlan
from graphs.stream import Note, Stream, Value

logger = logging.getLogger("anabranch.run")

Locate = Callable[[AnabranchError], AnabranchError]

RESULT = ""
"""The workflow's result, as a reader of outputs; no job's id is empty."""


class Outcome:
    """How one job settled, and what it gave to whom."""

    def __init__(self) -> None:
        self.settled = asyncio.Event()
        """Its output is there, though it may be a stream that has only begun."""
        self.ended = asyncio.Event()
        """And its stream was read to the end, where somebody waits for that."""
        self.status: Literal["completed", "skipped", "failed"] = "completed"
        self.why = ""
        """Why it gives nothing, in the words of a message."""
        self.chosen: str | None = None
        self.value: Value = None
        self.streams = False
        """Whether there are streams in its output."""
        self.notes: tuple[Note, ...] = ()
        self._shares: dict[str, Value] = {}

    def give(self, shares: Mapping[str, Value]) -> None:
        """Settle with an output of streams, a share of it for each reader."""
        self.streams = True
        self._shares.update(shares)
        self.settled.set()

    def end(self, value: Value = None) -> None:
        """Settle with a whole value."""
        self.value = value
        self.settled.set()
        self.ended.set()

    def take(self, reader: str) -> Value:
        """Return the reader's own share of the streams, or the value all may have."""
        return self._shares.get(reader, self.value)


class Schedule:
    """Runs jobs, each in a task of the run's."""

    def __init__(
        self,
        workflow: WorkflowPlan,
        site: Site,
        tell: Callable[[JobDone], None],
        fail: Callable[[AnabranchError], None],
        locate: Callable[[Job], Locate],
        kept: AsyncExitStack,
    ) -> None:
        self.outcomes = {id: Outcome() for id in workflow.jobs}
        self.unsettled = len(workflow.jobs)
        self._workflow, self._wiring, self._site = workflow, workflow.wiring, site
        self._tell, self._fail, self._locate, self._kept = tell, fail, locate, kept

    async def run_job(self, job: Job) -> None:
        """Run the job once its needs have settled, and settle it; if it fails, so does the run."""
        try:
            with foreseen(self._site.run.id):
                await self._settle(job)
        except AnabranchError as error:
            self._tell(JobDone(job.id, "failed"))
            self._fail(located(error, self._workflow.id, job))
            return
        self.unsettled -= 1
        self._tell(JobDone(job.id, self.outcomes[job.id].status))

    def scope(self, outputs: Mapping[str, Value]) -> dict[str, Value]:
        """Return the names that every template of the workflow sees."""
        run = self._site.run
        return {
            "input": run.input,
            "jobs": {id: {"output": value} for id, value in outputs.items()},
            **run.context.names(),
        }

    def share(self, stream: Stream, readers: int, *, patient: bool = False) -> list[Stream]:
        """Return the stream once for each reader."""
        return share(stream, readers, self._site.spawn, self._site.run.id, patient=patient)

    def spawn(self, work: Coroutine[Any, Any, None]) -> None:
        """Start a task that lives no longer than the run."""
        self._site.spawn(work)

    async def _settle(self, job: Job) -> None:
        inputs = self._wiring.inputs[job.id]
        await self._needs(job, inputs)
        outputs = {
            id: self.outcomes[id].take(job.id) if id in inputs.flowing else self.outcomes[id].value for id in job.needs
        }
        names, outcome = self.scope(outputs), self.outcomes[job.id]
        async with AsyncExitStack() as handed:
            for id in inputs.flowing:
                for stream in streams_in(outputs[id]):
                    handed.push_async_callback(stream.aclose)
            why = await self._why_skipped(job, names)
            if why is not None:
                outcome.status, outcome.why = "skipped", why
                outcome.end()
                return
            answer = await self._answer(job, names)
            value = apart(answer.value, self.share) if outcome.streams else answer.value
            flowing = [] if not outcome.streams else [s for s in streams_in(value) if s.joined is None]
            if flowing:
                _close_after(flowing, handed.pop_all())
        outcome.chosen = answer.chosen
        await self._hand_out(job, value, flowing)

    async def _needs(self, job: Job, inputs: Inputs) -> None:
        for id in job.needs:
            outcome = self.outcomes[id]
            await (outcome.ended if id in inputs.whole or id in inputs.ended else outcome.settled).wait()

    async def _why_skipped(self, job: Job, names: Names) -> str | None:
        if job.routed_by and not any(self.outcomes[router].chosen == job.id for router in job.routed_by):
            return f"'{job.id}' was skipped because no way led to it"
        if job.condition is not None and not truth(await render(job.condition, Scope(names))):
            return f"'{job.id}' was skipped because {job.condition_text or 'its condition'} is false"
        return None

    async def _answer(self, job: Job, names: Names) -> Answer:
        try:
            return await self._tried(job, names)
        except AnabranchError as failure:
            return await self._instead(job, names, failure)

    async def _tried(self, job: Job, names: Names) -> Answer:
        retry, pause = job.retry, job.retry.delay
        for attempt in count(1):
            try:
                return await self._attempt(job, names)
            except AnabranchError as failure:
                if attempt >= retry.max_attempts or not worth_retrying(failure):
                    raise
                asked = failure.details.get("retry_after")
                wait = max(pause, asked) if isinstance(asked, int | float) else pause
                self._warn(job, f"attempt {attempt} of {retry.max_attempts} failed", failure)
            await self._site.clock.sleep(min(wait, retry.max_delay))
            pause = min(pause * retry.backoff, retry.max_delay)
        raise AssertionError("count never ends")

    async def _attempt(self, job: Job, names: Names) -> Answer:
        """Run the job once: up to its first chunks, where a later attempt or an `on_error` could still take over."""
        outcome, readers = self.outcomes[job.id], self._wiring.readers[job.id]
        async with Opened() as opened:
            with foreseen(self._site.run.id):
                answer = await jobs.answer(job, names, self._site, opened)
                outcome.notes = tuple(opened.notes)
                outcome.streams = opened.any or bool(self._wiring.inputs[job.id].flowing)
                if outcome.streams and readers.only_whole:
                    value, notes = await joined(answer.value)
                    outcome.notes += notes
                    answer = Answer(value, answer.chosen)
                elif outcome.streams and (job.retry.max_attempts > 1 or job.on_error is not None):
                    value = apart(answer.value, self.share)
                    for stream in streams_in(value):
                        opened.add(stream)
                    answer = Answer(await begun(value), answer.chosen)
            self._kept.push_async_callback(opened.pop_all().aclose)
        return answer

    async def _instead(self, job: Job, names: Names, failure: AnabranchError) -> Answer:
        """Return what the job's `on_error` puts in place of its failure."""
        if job.on_error is None:
            raise failure
        self._warn(job, "failed, and on_error takes over", failure)
        outcome = self.outcomes[job.id]
        outcome.streams = False
        if job.on_error.output is not None:
            error = {"type": failure.type, "message": failure.message}
            return Answer(await render(job.on_error.output, Scope({**names, "error": error})))
        outcome.status = "failed"
        outcome.why = f"'{job.id}' failed and '{job.on_error.to}' took over"
        return Answer(chosen=job.on_error.to)

    async def _hand_out(self, job: Job, value: Value, flowing: list[Stream]) -> None:
        """Settle the job: a plain value for all, or each reader's own share of the streams."""
        outcome, readers = self.outcomes[job.id], self._wiring.readers[job.id]
        if not flowing:
            outcome.notes += tuple(
                note for stream in (streams_in(value) if outcome.streams else ()) for note in stream.notes
            )
            outcome.end((await joined(value))[0] if outcome.streams else value)
            return
        takers = [*readers.flowing, *([RESULT] if readers.result else [])]
        ours = readers.whole or readers.ended
        for stream in flowing:
            stream.located(self._locate(job))
        shares = copies(value, len(takers) + ours, self.share)
        for stream in streams_in(shares):
            stream.located(self._locate(job))
        outcome.give(dict(zip(takers, shares, strict=False)))
        if readers.whole:
            whole, notes = await joined(shares[-1])
            outcome.notes += notes
            outcome.end(whole)
        elif ours:
            await drain(shares[-1])
            outcome.end()

    def _warn(self, job: Job, what: str, failure: AnabranchError) -> None:
        logger.warning(
            "run %s: workflow %r, job %r %s: %s", self._site.run.id, self._workflow.id, job.id, what, failure
        )


def _close_after(streams: list[Stream], inputs: AsyncExitStack) -> None:
    """Close what a job was handed once nothing it gives flows any more."""
    flowing = len(streams)

    async def one_less() -> None:
        nonlocal flowing
        flowing -= 1
        if flowing == 0:
            await inputs.aclose()

    for stream in streams:
        stream.then_close(one_less)
