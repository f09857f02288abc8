"""The upstreams that can answer the same calls, and the targets that a call tries in order."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from deployments.upstream.ejection import UpstreamHealth
from deployments.upstream.request import Request
from deployments.upstream.spelling import Scalar


@dataclass(frozen=True, slots=True)
class Upstream:
    """One API server: its base URL, and the headers that are sent to it."""

    base_url: str
    headers: Mapping[str, Scalar] = field(default_factory=dict[str, Scalar])
    health: UpstreamHealth = field(default_factory=UpstreamHealth)


@dataclass(frozen=True, slots=True)
class Target:
    """A request to one of the upstreams that can answer a call."""

    request: Request
    health: UpstreamHealth = field(default_factory=UpstreamHealth)
    upstream: Upstream | None = None
    guarded: bool = False
    """Whether the URL came with a client's request, so that private addresses are refused."""


def in_turn(targets: Sequence[Target]) -> Sequence[Target]:
    """Return the targets whose upstreams are ready, in order; the first alone if none is."""
    if len(targets) == 1:
        return targets
    return [target for target in targets if target.health.ready] or targets[:1]
