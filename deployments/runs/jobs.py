"""One job, once all it needs is there -> a value or a stream; of a router, the job it chose."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar, assert_never

from deployments.runs.calls import call
from deployments.runs.errors import unfit
from deployments.runs.for_each import for_each
from deployments.runs.site import Clock, Names, Site
from deployments.streams.inside_values import Opened, mapped
from graphs.language import Scope, render, truth
from graphs.language.nodes import Binding, Comparison, Reference, Template
from graphs.plan import CallJob, DelayJob, ForEachJob, IfJob, Job, RandomJob, SwitchJob
from graphs.stream import Value
from graphs.units import duration, moment, zone

T = TypeVar("T")

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
            value = await _delay(job, names, site.clock)
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
        sides = {"value": value, "case": await render(case.test, Scope(names))}
        if await render(_IS_EQUAL, Scope(sides)):
            return case.to
    return job.otherwise


def _at_random(job: RandomJob, chance: Callable[[], float]) -> str:
    point = chance() * sum(weight for _, weight in job.routes)
    for route, weight in job.routes:
        point -= weight
        if point < 0:
            return route
    return job.routes[-1][0]


async def _delay(job: DelayJob, names: Names, clock: Clock) -> Value:
    """Wait, then return the workflow's input. A time that has passed waits for nothing."""
    wait = 0.0
    if job.duration is not None:
        wait = await _read(job.duration, "duration", names, duration)
    elif job.time is not None:
        time = await _read(job.time, "time", names, moment)
        time = time if time.tzinfo is not None else time.replace(tzinfo=zone(job.timezone))
        wait = (time - clock.now()).total_seconds()
    if wait > 0:
        await clock.sleep(wait)
    return names["input"]


async def _read(template: Template, key: str, names: Names, read: Callable[[Value], T]) -> T:
    value = await render(template, Scope(names))
    try:
        return read(value)
    except ValueError as error:
        raise unfit(template, key, str(error)) from error
