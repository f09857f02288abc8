"""One job, once all it needs is there -> a value or a stream; of a router, the job it chose."""

from __future__ import annotations

from collections.abc import Callable
from typing import assert_never

from deployments.runs.calls import call, mapped
from deployments.runs.delay import delay
from deployments.runs.for_each import for_each
from deployments.runs.site import Names, Site
from deployments.streams.inside_values import Opened
from graphs.language import Scope, render, truth
from graphs.language.nodes import Binding, Comparison, Reference
from graphs.plan import CallJob, Case, DelayJob, ForEachJob, IfJob, Job, RandomJob, SwitchJob
from graphs.stream import Value

_NOWHERE = (0, 0)
_SIDES = Reference("value", (), _NOWHERE), Reference("case", (), _NOWHERE)
_IS_EQUAL = Binding(Comparison("==", *_SIDES, _NOWHERE), _NOWHERE)
"""How a `switch` compares: by the language's own `==`."""


async def answer(job: Job, names: Names, site: Site, opened: Opened) -> tuple[Value, str | None]:
    """Run the job once and return its value, or for a router null and the job it chose, if any.

    `names` are what its templates may read. The streams that it opens are added to `opened`.
    """
    match job:
        case CallJob():
            value = await call(job.call, names, site, opened)
        case ForEachJob():
            value = await for_each(job, names, site, opened)
        case DelayJob():
            value = await delay(job, names, site.clock)
        case IfJob():
            return None, await _first_true(job, names)
        case SwitchJob():
            return None, await _first_equal(job, names)
        case RandomJob():
            return None, _at_random(job, site.chance)
        case _:
            assert_never(job)
    return await mapped(job.output, names, ("output",), value), None


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
    return await render(_IS_EQUAL, Scope({"value": value, "case": await render(case.test, Scope(names))}))


def _at_random(job: RandomJob, chance: Callable[[], float]) -> str:
    point = chance() * sum(weight for _, weight in job.routes)
    for route, weight in job.routes:
        point -= weight
        if point < 0:
            return route
    return job.routes[-1][0]
