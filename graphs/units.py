"""Durations, sizes, times and time zones as people write them: `5s`, `64MiB`, `2030-01-31T09:00` in; seconds, bytes and datetimes out."""

from __future__ import annotations

import re
import sys
from datetime import UTC, datetime, tzinfo
from math import isfinite, nan
from typing import Annotated, Any
from zoneinfo import ZoneInfo, available_timezones

from pydantic import BeforeValidator, Field

from graphs.language import kind_of
from graphs.stream import Value
from graphs.suggest import closest

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)


def seconds(value: Any) -> Any:
    """Return a duration in seconds; pydantic judges anything that isn't text."""
    return _amount(value, SECONDS, "a duration", "5s, 500ms, 2m or a number of seconds")


def size(value: Any) -> Any:
    """Return a size in bytes; pydantic judges anything that isn't text."""
    amount = _amount(value, BYTES, "a size", "512MiB, 4GB or a number of bytes")
    return int(amount) if isinstance(amount, float) else amount


def _amount(value: Any, units: dict[str, float] | dict[str, int], what: str, examples: str) -> Any:
    amount = _read(value, units) if isinstance(value, str) else value
    if isinstance(value, bool) or (isinstance(amount, float) and not isfinite(amount)):
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise ValueError(f"expected {what}, got {shown}; write {examples}")
    return amount


def _read(text: str, units: dict[str, float] | dict[str, int]) -> float:
    """Return the amount that a text means, NaN if it means none."""
    try:
        return float(text)
    except ValueError:
        match = _AMOUNT.fullmatch(text)
    if match is None or match[2].lower() not in units:
        return nan
    return float(match[1]) * units[match[2].lower()]


Duration = Annotated[float, BeforeValidator(seconds, json_schema_input_type=float | str), Field(ge=0)]
Timeout = Annotated[Duration, Field(gt=0)]
Size = Annotated[int, BeforeValidator(size, json_schema_input_type=int | str), Field(ge=0)]


def duration(value: Value) -> float:
    """Return a duration in seconds; raises ValueError, in words, for anything else."""
    amount = seconds(value)
    if isinstance(amount, int | float) and 0 <= amount <= sys.float_info.max:
        return float(amount)
    raise ValueError(f"expected a duration, got {_shown(value)}; write 5s, 500ms, 2m or a number of seconds")


def moment(value: Value) -> datetime:
    """Return a time, which may leave its zone open; raises ValueError, in words, for anything else."""
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
    """Return the zone that was probably meant, by its whole name or by the name of its city."""
    # Not `Etc/GMT+2`, which lies two hours west of Greenwich, nor `EST` and its like for any other three letters.
    zones = ["UTC", *sorted(each for each in available_timezones() if "/" in each and not each.startswith("Etc/"))]
    cities = {} if "/" in name else {each.rpartition("/")[2]: each for each in zones}
    return closest(name, zones) or cities.get(closest(name, cities) or "")


def _shown(value: Value) -> str:
    return repr(value) if isinstance(value, str | int | float) else kind_of(value)
