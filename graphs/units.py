"""Durations and sizes as people write them: `5s`, `500ms`, `1.5m`, `64MiB` -> seconds, bytes."""

from __future__ import annotations

import re
from math import isfinite, nan
from typing import Annotated, Any

from pydantic import BeforeValidator, Field

SECONDS = {"ms": 0.001, "s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
BYTES = {
    "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "tb": 10**12,
    "k": 2**10, "m": 2**20, "g": 2**30, "t": 2**40,
    "kib": 2**10, "mib": 2**20, "gib": 2**30, "tib": 2**40,
}  # fmt: skip

_AMOUNT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-z]+)\s*", re.IGNORECASE)


def seconds(value: Any) -> Any:
    """Return a duration in seconds; anything that isn't text is left for pydantic to judge."""
    return _amount(value, SECONDS, "a duration", "5s, 500ms, 2m or a number of seconds")


def size(value: Any) -> Any:
    """Return a size in bytes; anything that isn't text is left for pydantic to judge."""
    amount = _amount(value, BYTES, "a size", "512MiB, 4GB or a number of bytes")
    return int(amount) if isinstance(amount, float) else amount


def _amount(value: Any, units: dict[str, float] | dict[str, int], what: str, examples: str) -> Any:
    amount = _read(value, units) if isinstance(value, str) else value
    if isinstance(value, bool) or (isinstance(amount, float) and not isfinite(amount)):
        shown = str(value).lower() if isinstance(value, bool) else repr(value)
        raise ValueError(f"expected {what}, got {shown}; write {examples}")
    return amount


def _read(text: str, units: dict[str, float] | dict[str, int]) -> float:
    """Return the amount that a text tells; of one that tells none, a NaN."""
    try:
        return float(text)
    except ValueError:
        match = _AMOUNT.fullmatch(text)
    if match is None or match[2].lower() not in units:
        return nan
    return float(match[1]) * units[match[2].lower()]


Duration = Annotated[float, BeforeValidator(seconds, json_schema_input_type=float | str), Field(ge=0)]
Size = Annotated[int, BeforeValidator(size, json_schema_input_type=int | str), Field(ge=0)]
