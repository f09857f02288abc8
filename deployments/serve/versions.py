"""Give a Serve deployment a version made of what it runs, so that a redeployment restarts only what changed.

Ray decides by comparing versions, deployment by deployment; ARCHITECTURE.md says what it does without.
"""

from __future__ import annotations

import dataclasses
import hashlib
from collections.abc import Mapping
from collections.abc import Set as AbstractSet
from importlib.metadata import version
from typing import Any

from ray.serve import Application

from deployments.serve.ray_internals import pin_version


def pin(application: Application, *parts: object) -> Application:
    """Pin the version of the application's own deployment to a digest of `parts`, whose repr is their value, and of the product's version."""
    text = "\n".join((version("anabranch"), *map(repr, parts)))
    return pin_version(application, hashlib.sha256(text.encode()).hexdigest()[:16])


def stable(value: Any) -> Any:
    """Return a plan as data whose repr is the same in every process, as that of a set of texts isn't."""
    match value:
        case AbstractSet():
            return sorted(map(repr, value))
        case Mapping():
            return {key: stable(item) for key, item in value.items()}
        case list() | tuple():
            return [stable(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = dataclasses.fields(value)
            return [type(value).__name__, *(stable(getattr(value, field.name)) for field in fields)]
        case _:
            return value
