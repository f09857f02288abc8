"""One job, once all it needs is there -> its answer: a value, a stream, or for a router the job it chose."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import assert_never

from deployments.runs.calls import Names, Site, call, mapped
from deployments.runs.delay import delay
from deployments.runs.for_each import for_each
from deployments.streams.inside_values import Opened
from graphs.language import Scope, render, truth
from graphs.language.nodes import Binding, Comparison, Reference
from graphs.plan import CallJob, Case, DelayJob, ForEachJob, IfJob, Job, RandomJob, SwitchJob
from graphs.stream import Value


@dataclass(frozen=True, slots=True)
class Answer:
    value: Value = None
    chosen: str | None = None
    """The job that a router, or a failure, leads to."""


async def answer(job: Job, names: Names, site: Site, opened: Opened) -> Answer:
    """Run the job once. `opened` closes the streams it opens, should they not be needed after all."""
    match job:
        case CallJob():
            value = await call(job.call, names, site, opened)
        case ForEachJob():
            value = await for_each(job, names, site, opened)
        case DelayJob():
            value = await delay(job, names, site.clock)
        case IfJob():
            return Answer(chosen=await _first_true(job, names))
        case SwitchJob():
            return Answer(chosen=await _first_equal(job, names))
        case RandomJob():
            return Answer(chosen=_at_random(job, site.chance))
        case _:
            assert_never(job)
    return Answer(await mapped(job.output, names, ("output",), value))


async def _first_true(job: IfJob, names: Names) -> str | None:
    for case in job.cases:
        if truth(await render(case.test, Scope(names))):
            return case.to
    return job.otherwise


async def _first_equal(job: SwitchJob, names: Names) -> str | None:
    value = await render(job.input, Scope(names))
    for case in job.cases:
        if await _equal(value, case, names):
            return case.to
    return job.otherwise


async def _equal(value: Value, case: Case, names: Names) -> bool:
    """Whether the case is the one, by the language's own `==`."""
    nowhere = (0, 0)
    sides = Reference("value", (), nowhere), Reference("case", (), nowhere)
    test = Binding(Comparison("==", *sides, nowhere), nowhere)
    return await render(test, Scope({"value": value, "case": await render(case.test, Scope(names))}))


def _at_random(job: RandomJob, chance: Callable[[], float]) -> str:
    point = chance() * sum(weight for _, weight in job.routes)
    for route, weight in job.routes:
        point -= weight
        if point < 0:
            return route
    return job.routes[-1][0]
