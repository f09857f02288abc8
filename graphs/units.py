"""Durations and sizes as people write them: `5s`, `500ms`, `1.5m`, `64MiB` -> seconds, bytes."""

from __future__ import annotations

import re
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
    if isinstance(value, bool):
        raise ValueError(f"expected {what}, got {str(value).lower()}; write {examples}")
    if not isinstance(value, str):
        return value
    try:
        return float(value)
    except ValueError:
        pass
    match = _AMOUNT.fullmatch(value)
    if match is None or match[2].lower() not in units:
        raise ValueError(f"expected {what}, got {value!r}; write {examples}")
    return float(match[1]) * units[match[2].lower()]


Duration = Annotated[float, BeforeValidator(seconds, json_schema_input_type=float | str), Field(ge=0)]
Size = Annotated[int, BeforeValidator(size, json_schema_input_type=int | str), Field(ge=0)]
