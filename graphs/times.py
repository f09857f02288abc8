"""What a `delay` waits for, as people write it: durations, times, time zones; read alike before a run and in it."""

from __future__ import annotations

import sys
from datetime import UTC, datetime, tzinfo
from zoneinfo import ZoneInfo, available_timezones

from graphs.language import kind_of
from graphs.stream import Value
from graphs.suggest import closest
from graphs.units import seconds


def duration(value: Value) -> float:
    """Return a duration in seconds; raises ValueError, in words, for what is none."""
    amount = seconds(value)
    if isinstance(amount, int | float) and 0 <= amount <= sys.float_info.max:
        return float(amount)
    raise ValueError(f"expected a duration, got {_shown(value)}; write 5s, 500ms, 2m or a number of seconds")


def moment(value: Value) -> datetime:
    """Return a time, which may leave its zone open; raises ValueError, in words, for what is none."""
    try:
        return value if isinstance(value, datetime) else datetime.fromisoformat(value)
    except (TypeError, ValueError):
        raise ValueError(f"expected a time, got {_shown(value)}; write it as 2030-01-31T09:00:00") from None


def zone(name: str | None) -> tzinfo:
    """Return a time zone, UTC for none; raises ValueError, in words, for one that isn't known."""
    if name is None or name == "UTC":
        return UTC
    try:
        return ZoneInfo(name)
    except (ValueError, LookupError, OSError):  # a path, a name that isn't there, a folder of them
        near = _nearest(name)
    hint = f"did you mean '{near}'?" if near else "write it as Europe/Berlin, or leave it out for UTC"
    raise ValueError(f"unknown time zone {name!r}; {hint}")


def _nearest(name: str) -> str | None:
    """Return the zone that was probably meant, by its whole name or by its city's."""
    # Not `Etc/GMT+2`, which lies two hours west of Greenwich, nor `EST` and its like for any other three letters.
    zones = ["UTC", *sorted(each for each in available_timezones() if "/" in each and not each.startswith("Etc/"))]
    cities = {} if "/" in name else {each.rpartition("/")[2]: each for each in zones}
    return closest(name, zones) or cities.get(closest(name, cities) or "")


def _shown(value: Value) -> str:
    return repr(value) if isinstance(value, str | int | float) else kind_of(value)
