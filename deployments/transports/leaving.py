"""What a request says of a kept run whose last reader leaves: `cancel`, `continue`, or `{detach: 60s}`, checked."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import BeforeValidator, Field

from deployments.gateway.keeper import OnDisconnect
from graphs.language import kind_of
from graphs.units import seconds


def _policy(value: Any) -> Any:
    match value:
        case None | "cancel" | "continue":
            return value
        case {"detach": time, **rest} if not rest:
            detached = seconds(time)
            if isinstance(detached, int | float) and detached >= 1:
                return float(detached)
            raise ValueError(
                f'expected detach to be a duration of at least 1 s, got {time!r}; write {{"detach": "60s"}}'
            )
        case _:
            shown = f"'{value}'" if isinstance(value, str) else kind_of(value)
            raise ValueError(f'expected cancel, continue or {{"detach": "60s"}}, got {shown}')


Leaving = Annotated[
    OnDisconnect | None,
    BeforeValidator(_policy, json_schema_input_type=str | dict[str, str | float] | None),
    Field(
        description="what happens to a kept run when its last reader leaves: `cancel`, `continue`, or `{detach: 60s}`: it is "
        "cancelled when it has had no reader for that long"
    ),
]
