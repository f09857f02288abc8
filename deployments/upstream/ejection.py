"""How the calls to one upstream ended -> whether it is worth another: one that keeps failing is left alone for a while."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Generator
from contextlib import contextmanager

from deployments.upstream.call_failures import CallFailed

IN_A_ROW = 5
"""So many failures one after the other, and it is left alone."""
WINDOW = 20
"""Or more than half of so many."""
FIRST_REST = 30.0
"""How long it is left alone at first, in seconds; each time its trial fails, twice as long."""
LONGEST_REST = 600.0


class UpstreamHealth:
    """What is known of one upstream."""

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
        """Whether it may be called: it is well, or its rest is over and no other call is trying it."""
        return self._back_at is None or (self._clock() >= self._back_at and not self._on_trial)

    @contextmanager
    def trying(self) -> Generator[None]:
        """Surround a call; how it ends counts, but for one whose caller left."""
        trial = self.ejected and self.ready
        self._on_trial = self._on_trial or trial
        try:
            yield
        except CallFailed as failed:
            failure = failed.failure
            if failure.transient or failure.elsewhere:
                self._failed()
            elif failure.answered:
                # A refusal that is the caller's own fault is an answer all the same.
                self.well()
            raise
        finally:
            if trial:
                self._on_trial = False

    def well(self) -> None:
        """It has answered."""
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
