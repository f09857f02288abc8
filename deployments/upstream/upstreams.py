"""The places that can answer the same calls, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.upstream.ejection import Health
from deployments.upstream.request import Request
from deployments.upstream.spelling import Scalar


@dataclass(frozen=True, slots=True)
class Place:
    """One upstream: where it is, and the headers that go to it alone."""

    base_url: str
    headers: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    health: Health = field(default_factory=Health)


@dataclass(frozen=True, slots=True)
class Route:
    """One way that a call can take."""

    request: Request
    health: Health = field(default_factory=Health)
    place: Place | None = None
    guarded: bool = False
    """Whether its URL came with a request, so that private addresses are refused."""


def in_turn(routes: Sequence[Route]) -> Sequence[Route]:
    """Return those worth a try, in their order; where none is, the first is tried all the same."""
    if len(routes) == 1:
        return routes
    return [route for route in routes if route.health.ready] or routes[:1]
