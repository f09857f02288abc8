"""How one job settled: what it gave, and each reader's share of it; and why none of a workflow's jobs gave a result."""

from __future__ import annotations

import asyncio
from collections.abc import Collection, Iterable, Mapping
from typing import Literal

from graphs.errors import AnabranchError, NoResult
from graphs.plan import Router, WorkflowPlan
from graphs.stream import Note, Value


class Outcome:
    """How one job settled, and what it gave to each reader."""

    def __init__(self) -> None:
        self.settled = asyncio.Event()
        """Its output is there, though it may be a stream that has only begun."""
        self.ended = asyncio.Event()
        """Its stream was read to the end too, where a job waits for that."""
        self.status: Literal["completed", "skipped", "failed"] = "completed"
        self.why = ""
        """Why it gives nothing, in the words of a message."""
        self.failure: AnabranchError | None = None
        """What it failed with, where another job took over."""
        self.chosen: str | None = None
        """The job that it leads to, as a router, or as a job that failed."""
        self.value: Value = None
        self.streams = False
        """Whether there are streams in its output."""
        self.notes: tuple[Note, ...] = ()
        self._shares: dict[str, Value] = {}

    def completed(self) -> bool:
        """Return whether it has settled and given an output."""
        return self.settled.is_set() and self.status == "completed"

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
        """Return the reader's own share of the streams, or the value that all readers have."""
        return self._shares.get(reader, self.value)


def why_no_result(workflow: WorkflowPlan, outcomes: Mapping[str, Outcome], asked: Collection[str]) -> AnabranchError:
    """Return the error of a run in which none of the jobs in `asked`, all that could give the result, gave an output.

    Where one of them failed and another took over, it is that failure: the client that asked is not to blame.
    """
    jobs = [id for id in workflow.jobs if id in asked]
    for id in jobs:
        failure = outcomes[id].failure
        if failure is not None:
            return failure.saying(f"{failure.message}; {_after_failure(id, jobs, outcomes)}", failure.details)
    unread = _ran_unread(workflow, outcomes) if workflow.wiring.needs_final else {}
    reasons = [outcomes[id].why for id in jobs] or ["no job gives an output"]
    reasons += [f"'{id}' ran, but is not the result because '{waiting}' waits for it" for id, waiting in unread.items()]
    hint = "write a condition that holds, or give the workflow an output"
    if unread:
        hint = f"write `output: {_reading(unread)}` on the workflow"
    return NoResult(f"workflow '{workflow.id}' has no result: {', '.join(reasons)}; {hint}", workflow=workflow.id)


def _after_failure(failed: str, jobs: list[str], outcomes: Mapping[str, Outcome]) -> str:
    instead = outcomes[failed].chosen
    why = f"the workflow's output does not read it; write ${{jobs.{instead}.output}} there"
    if instead in jobs:
        why = ", ".join(outcomes[id].why for id in jobs if id != failed)
    return f"'{instead}' took over, but {why}"


def _ran_unread(workflow: WorkflowPlan, outcomes: Mapping[str, Outcome]) -> dict[str, str]:
    """Return the jobs that gave an output for others alone, none of which did; and for each the first of those others."""
    waiting = {
        id: [job.id for job in workflow.jobs.values() if id in job.feeds_from]
        for id, job in workflow.jobs.items()
        if not isinstance(job, Router) and outcomes[id].completed()
    }
    return {id: jobs[0] for id, jobs in waiting.items() if jobs and not any(outcomes[job].completed() for job in jobs)}


def _reading(jobs: Iterable[str]) -> str:
    first, *rest = jobs
    otherwise = f" | {_reading(rest)}" if rest else ""
    return f"${{jobs.{first}.output{otherwise}}}"
