"""A delay job and the time of day -> the workflow's input, once it is time."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TypeVar

from deployments.runs.clock import Clock
from deployments.runs.errors import unfit
from graphs.language import Scope, render
from graphs.language.nodes import Template
from graphs.plan import DelayJob
from graphs.stream import Value
from graphs.units import duration, moment, zone

T = TypeVar("T")


async def delay(job: DelayJob, names: Mapping[str, Value], clock: Clock) -> Value:
    """Wait, then return the workflow's input. A time that has passed waits for nothing."""
    wait = 0.0
    if job.duration is not None:
        wait = await _read(job.duration, "duration", names, duration)
    elif job.time is not None:
        time = await _read(job.time, "time", names, moment)
        wait = (_in_zone(time, job.timezone) - clock.now()).total_seconds()
    if wait > 0:
        await clock.sleep(wait)
    return names["input"]


async def _read(template: Template, key: str, names: Mapping[str, Value], read: Callable[[Value], T]) -> T:
    value = await render(template, Scope(names))
    try:
        return read(value)
    except ValueError as error:
        raise unfit(template, key, str(error)) from error


def _in_zone(time: datetime, timezone: str | None) -> datetime:
    return time if time.tzinfo is not None else time.replace(tzinfo=zone(timezone))
