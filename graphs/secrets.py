"""Which of a document's secrets one component knows."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator, Mapping
from collections.abc import Set as AbstractSet
from typing import Any, cast

from graphs.plan import ComponentPlan, Plan


def secrets_of(component: ComponentPlan, plan: Plan) -> frozenset[str]:
    """Return the secrets that this component knows: another's change must not restart it."""
    known = "\0".join(_texts(component))
    return frozenset(secret for secret in plan.secrets if secret in known)


def _texts(value: Any) -> Iterator[str]:
    """Yield every text in a piece of a plan."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping):
        for pair in cast("Mapping[Any, Any]", value).items():
            yield from _texts(pair)
    elif isinstance(value, list | tuple | AbstractSet):
        for item in cast("Iterable[Any]", value):
            yield from _texts(item)
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        for field in dataclasses.fields(value):
            yield from _texts(getattr(value, field.name))
    elif isinstance(value, int | float):
        yield str(value)
