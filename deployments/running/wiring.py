"""A workflow -> who reads whose output, and how: settled before its first job starts."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphs.language import references
from graphs.plan import Job, WorkflowPlan

ROUTERS = frozenset({"if", "switch", "random-router"})
"""Kinds of job that choose, and give no output."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a job waits for: where it takes a stream as it flows, where it needs the whole, where only the end counts."""

    flowing: frozenset[str]
    whole: frozenset[str]
    ended: frozenset[str]


@dataclass(frozen=True, slots=True)
class Readers:
    """Who reads a job's output."""

    flowing: tuple[str, ...]
    whole: bool
    """Some job needs it whole."""
    ended: bool
    """Some job waits for its end."""
    result: bool
    """The workflow's result may be made of it."""

    @property
    def only_whole(self) -> bool:
        """Whether nobody could take it as a stream."""
        return self.whole and not self.flowing and not self.result


@dataclass(frozen=True, slots=True)
class Wiring:
    inputs: Mapping[str, Inputs]
    readers: Mapping[str, Readers]
    finals: tuple[str, ...]
    """Jobs whose output is the workflow's `output` if they run and no later one does: the last first."""
    needs_final: bool
    """Whether the workflow's result reads `output`."""


def wire(workflow: WorkflowPlan) -> Wiring:
    """Return who reads whose output."""
    inputs = {job.id: _inputs(job) for job in workflow.jobs.values()}
    fed = frozenset[str]().union(*(job.feeds_from for job in workflow.jobs.values()))
    finals = tuple(job.id for job in workflow.jobs.values() if job.id not in fed and job.kind not in ROUTERS)[::-1]
    needs_final = workflow.output is None or any(each.name == "output" for each in references(workflow.output))
    return Wiring(
        inputs=inputs,
        readers={id: _readers(id, inputs, id in finals or id in workflow.reads) for id in workflow.jobs},
        finals=finals,
        needs_final=needs_final,
    )


def _inputs(job: Job) -> Inputs:
    # What an attempt has read of a stream is gone for the next one.
    flowing = job.flows if job.retry.max_attempts <= 1 else frozenset[str]()
    whole = (job.whole | job.flows) - flowing
    return Inputs(flowing, whole, job.feeds_from - flowing - whole)


def _readers(id: str, inputs: Mapping[str, Inputs], result: bool) -> Readers:
    return Readers(
        flowing=tuple(job for job, each in inputs.items() if id in each.flowing),
        whole=any(id in each.whole for each in inputs.values()),
        ended=any(id in each.ended for each in inputs.values()),
        result=result,
    )
