"""The places that can answer the same calls, in the order in which they are asked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.upstream.ejection import UpstreamHealth
from deployments.upstream.request import Request
from deployments.upstream.spelling import Scalar


@dataclass(frozen=True, slots=True)
class Upstream:
    """One upstream: where it is, and the headers that go to it alone."""

    base_url: str
    headers: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    health: UpstreamHealth = field(default_factory=UpstreamHealth)


@dataclass(frozen=True, slots=True)
class Target:
    """One way that a call can take."""

    request: Request
    health: UpstreamHealth = field(default_factory=UpstreamHealth)
    upstream: Upstream | None = None
    guarded: bool = False
    """Whether its URL came with a request, so that private addresses are refused."""


def in_turn(targets: Sequence[Target]) -> Sequence[Target]:
    """Return those worth a try, in their order; where none is, the first is tried all the same."""
    if len(targets) == 1:
        return targets
    return [target for target in targets if target.health.ready] or targets[:1]
