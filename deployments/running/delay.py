"""A delay job and the time of day -> the job's answer, once it is time."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from zoneinfo import ZoneInfo

from deployments.running.clock import Clock
from graphs.errors import InvalidInput
from graphs.language import Scope, kind_of, render
from graphs.plan import DelayJob
from graphs.stream import Value
from graphs.units import seconds


async def delay(job: DelayJob, names: Mapping[str, Value], clock: Clock) -> Value:
    """Wait, then return the workflow's input. A time that has passed waits for nothing."""
    scope = Scope(names)
    if job.duration is not None:
        wait = _duration(await render(job.duration, scope))
    elif job.time is not None:
        wait = (_time(await render(job.time, scope), job.timezone) - clock.now()).total_seconds()
    else:
        wait = 0.0
    if wait > 0:
        await clock.sleep(wait)
    return names["input"]


def _duration(value: Value) -> float:
    try:
        amount = seconds(value)
    except ValueError as error:
        raise InvalidInput(str(error), field="duration") from error
    if isinstance(amount, int | float) and amount >= 0:
        return float(amount)
    raise InvalidInput(f"expected a duration, got {_shown(value)}; write 5s, 500ms, 2m or seconds", field="duration")


def _time(value: Value, timezone: str | None) -> datetime:
    try:
        time = value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError) as error:
        message = f"expected a time, got {_shown(value)}; write it as 2030-01-31T09:00:00"
        raise InvalidInput(message, field="time") from error
    if time.tzinfo is not None:
        return time
    return time.replace(tzinfo=UTC if timezone is None else ZoneInfo(timezone))


def _shown(value: Value) -> str:
    return repr(value) if isinstance(value, str | int | float) else kind_of(value)
