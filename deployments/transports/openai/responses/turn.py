"""What a socket on `/v1/responses` tells the route beside it, and hears from it, of one of its turns."""

from __future__ import annotations

from dataclasses import dataclass

from deployments.transports.openai.responses.run import ResponseRun
from deployments.transports.openai.responses.stored import Remembered

TURN = "anabranch.turn"
"""The key in the scope of a request that is a turn of a socket."""


@dataclass(slots=True)
class Turn:
    """One turn."""

    remembered: Remembered
    """Responses that may be continued though they aren't stored."""
    run: ResponseRun | None = None
    """What answers it, once that has begun."""
