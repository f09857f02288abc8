"""The upstreams that can answer the same calls: the targets that a call tries in order, and which upstreams keep failing."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field

from deployments.upstream.bodies import Scalar
from deployments.upstream.request import Request
from deployments.upstream.upstream_errors import CallFailed

IN_A_ROW = 5
"""This many failures in a row eject an upstream."""
WINDOW = 20
"""More than half of this many recent calls failing ejects it too."""
FIRST_REST = 30.0
"""How long it is left alone at first, in seconds; twice as long after each failed trial."""
LONGEST_REST = 600.0


class UpstreamHealth:
    """The recent calls of one upstream, and whether it is ejected."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._recent: deque[bool] = deque(maxlen=WINDOW)
        self._in_a_row = 0
        self._rest = FIRST_REST
        self._back_at: float | None = None
        self._on_trial = False

    @property
    def ejected(self) -> bool:
        return self._back_at is not None

    @property
    def ready(self) -> bool:
        """Whether it may be called: it isn't ejected, or its rest is over and no other call is trying it."""
        return self._back_at is None or (self._clock() >= self._back_at and not self._on_trial)

    @contextmanager
    def trying(self) -> Generator[None]:
        """Surround a call. Its failure counts, unless the call was cancelled."""
        trial = self.ejected and self.ready
        self._on_trial = self._on_trial or trial
        try:
            yield
        except CallFailed as failed:
            failure = failed.failure
            if failure.transient or failure.elsewhere:
                self._failed()
            elif failure.answered:
                # An error status that is the caller's fault is still an answer.
                self.well()
            raise
        finally:
            if trial:
                self._on_trial = False

    def well(self) -> None:
        """Record an answer."""
        self._recent.append(True)
        self._in_a_row = 0
        if self.ejected:
            self._back_at = None
            self._rest = FIRST_REST
            self._recent.clear()

    def _failed(self) -> None:
        self._recent.append(False)
        self._in_a_row += 1
        if self._back_at is not None:
            if self._clock() >= self._back_at:
                self._rest = min(self._rest * 2, LONGEST_REST)
                self._back_at = self._clock() + self._rest
        elif self._in_a_row >= IN_A_ROW or self._recent.count(False) > WINDOW / 2:
            self._back_at = self._clock() + self._rest


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
