"""Read one header of a request or of an answer, as ASGI has them: Starlette's mapping costs a request as much as a layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any


def header(message: Mapping[str, Any], name: bytes) -> str | None:
    """Return the first header of this name in a scope, or in the start of an answer; None if there is none.

    ASGI has the names of a request's headers in lower case.
    """
    for key, value in message.get("headers", ()):
        if key == name:
            return value.decode("latin-1")
    return None
