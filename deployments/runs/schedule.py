"""The jobs of one workflow -> their outcomes: each job runs as soon as all it needs has settled."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping
from contextlib import AsyncExitStack
from functools import partial

from deployments.runs.attempts import Attempts, TimeLimit
from deployments.runs.errors import located
from deployments.runs.events import JobDone
from deployments.runs.observing import Observed
from deployments.runs.outcome import Outcome
from deployments.runs.site import Names, Site
from deployments.streams.inside_values import apart, close_all, copies, drain, joined, streams_in
from deployments.streams.tasks import only_known_errors
from graphs.errors import AnabranchError
from graphs.language import Scope, render, truth
from graphs.plan import Inputs, Job, WorkflowPlan
from graphs.stream import Stream, Value

Locate = Callable[[AnabranchError], AnabranchError]

RESULT = ""
"""The workflow's result, as a reader of outputs; no job's id is empty."""


class Schedule:
    """Runs jobs, each in a task of the run's.

    `tell` takes what happens to jobs, `fail` the error that ends the run; `locate` gives what passes a job's streams'
    errors on. `kept` closes what jobs opened when the run ends. `observed` tells what they do.
    """

    def __init__(
        self,
        workflow: WorkflowPlan,
        site: Site,
        tell: Callable[[JobDone], None],
        fail: Callable[[AnabranchError], None],
        locate: Callable[[Job], Locate],
        kept: AsyncExitStack,
        observed: Observed,
    ) -> None:
        self.outcomes = {id: Outcome() for id in workflow.jobs}
        self.unsettled = len(workflow.jobs)
        self._workflow, self._wiring, self._site = workflow, workflow.wiring, site
        self._tell, self._fail, self._locate, self._kept, self._observed = tell, fail, locate, kept, observed

    async def run_job(self, job: Job) -> None:
        """Run the job once its needs have settled, and settle it; if it fails, so does the run."""
        try:
            with only_known_errors(self._site.run.id):
                await self._settle(job)
        except AnabranchError as error:
            self._tell(JobDone(job.id, "failed"))
            failure = located(error, self._workflow.id, job)
            self._observed.failed(job, failure)
            self._fail(failure)
            return
        self.unsettled -= 1
        self._tell(JobDone(job.id, self.outcomes[job.id].status))

    def scope(self, outputs: Mapping[str, Value]) -> dict[str, Value]:
        """Return the names that every template of the workflow sees, `outputs` being those of its jobs."""
        run = self._site.run
        return {
            "input": run.input,
            "jobs": {id: {"output": value} for id, value in outputs.items()},
            **run.context.names(),
        }

    async def _settle(self, job: Job) -> None:
        inputs, outcome = self._wiring.inputs[job.id], self.outcomes[job.id]
        outputs = await self._outputs_for(job, inputs)
        names = self.scope(outputs)
        handed = [stream for id in inputs.flowing for stream in streams_in(outputs[id])]
        limit: TimeLimit | None = None
        flowing: list[Stream] = []

        async def release() -> None:
            if limit is not None:
                limit.stop()
            if handed:
                await close_all(handed)

        try:
            why = await self._why_skipped(job, names)
            if why is not None:
                outcome.status, outcome.why = "skipped", why
                outcome.end()
                self._observed.skipped(job, why)
                return
            self._observed.started(job)
            limit = self._time_limit(job)
            answer = await Attempts(job, self._workflow.id, self._wiring, self._site, self._kept).answer(names, limit)
            value = answer.value
            if answer.streams:
                value = apart(value, self._site.share)
                flowing = [stream for stream in streams_in(value) if stream.joined is None]
        finally:
            if not flowing:
                await release()
        if flowing and (handed or limit is not None):
            if limit is not None:
                self._kept.callback(limit.stop)  # a stream that is never read is never closed
            _after(flowing, release)
        outcome.chosen, outcome.streams, outcome.notes = answer.chosen, answer.streams, answer.notes
        if answer.failure is not None:
            self._take_over(job, answer.failure)
        await self._hand_out(job, value, flowing)

    def _time_limit(self, job: Job) -> TimeLimit | None:
        if job.timeout is None:
            return None
        return TimeLimit(job.timeout, self._site.clock, lambda late: self._fail(located(late, self._workflow.id, job)))

    async def _outputs_for(self, job: Job, inputs: Inputs) -> dict[str, Value]:
        """Wait until all that the job needs has settled, and return the outputs it reads."""
        for id in job.needs:
            outcome = self.outcomes[id]
            await (outcome.ended if id in inputs.whole or id in inputs.ended else outcome.settled).wait()
        return {
            id: self.outcomes[id].take(job.id) if id in inputs.flowing else self.outcomes[id].value for id in job.needs
        }

    async def _why_skipped(self, job: Job, names: Names) -> str | None:
        if job.routed_by and not any(self.outcomes[router].chosen == job.id for router in job.routed_by):
            return f"'{job.id}' was skipped because no way led to it"
        if job.condition is not None and not truth(await render(job.condition, Scope(names))):
            return f"'{job.id}' was skipped because {job.condition_text or 'its condition'} is false"
        return None

    def _take_over(self, job: Job, failure: AnabranchError) -> None:
        outcome = self.outcomes[job.id]
        outcome.status = "failed"
        outcome.why = f"'{outcome.chosen}' took over from '{job.id}'"
        outcome.failure = located(failure, self._workflow.id, job)

    async def _hand_out(self, job: Job, value: Value, flowing: list[Stream]) -> None:
        """Settle the job: a plain value for all, or each reader's own share of the streams."""
        outcome, readers = self.outcomes[job.id], self._wiring.readers[job.id]
        if not flowing:
            if outcome.streams:
                outcome.notes += tuple(note for stream in streams_in(value) for note in stream.notes)
                value = (await joined(value))[0]
            outcome.end(value)
            self._observed.ended(job, outcome)
            return
        if self._site.observer is not None:
            value = self._observed.chunks(job, value)
            flowing = streams_in(value)
            _after(flowing, partial(self._observed.streams_ended, job))
        takers = [*readers.flowing, *([RESULT] if readers.result else [])]
        ours = readers.whole or readers.ended
        locate = self._locate(job)
        for stream in flowing:
            stream.located(locate)
        shares = copies(value, len(takers) + ours, self._site.share)
        for stream in streams_in(shares):
            stream.located(locate)
        outcome.give(dict(zip(takers, shares, strict=False)))
        if readers.whole:
            whole, notes = await joined(shares[-1])
            outcome.notes += notes
            outcome.end(whole)
        elif ours:
            await drain(shares[-1])
            outcome.end()


def _after(streams: list[Stream], end: Callable[[], Awaitable[None]]) -> None:
    """Have `end` awaited once the last of the streams has ended, or is closed."""
    flowing = len(streams)

    async def one_less() -> None:
        nonlocal flowing
        flowing -= 1
        if flowing == 0:
            await end()

    for stream in streams:
        stream.then_close(one_less)
