"""What the processes that share a store owe each other: signs of life, the ends of runs whose owner died, stops, and sweeping."""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING

from deployments.gateway.entries import last_segment
from deployments.store.rows import StoreDown
from graphs.errors import RunLost
from graphs.plan import Store as StorePlan

if TYPE_CHECKING:
    from deployments.store.store import Store

logger = logging.getLogger("anabranch.runs")

EVERY = 0.5
"""Seconds between two looks at the others."""
WRITE_EVERY, WRITE_OFTEN = 0.25, 0.05
"""Seconds between two writes of what runs say; while runs of this process are read elsewhere. A write costs as much as several
chunks of every run."""
READ_FOR = 2.0
"""Seconds after the last sign of a reader elsewhere."""
PATIENCE = 6.0
"""Seconds without a sign of life after which an owner is taken for dead, on the clock of the process that looks."""
SWEEP_EVERY = 60.0


class Replicas:
    """Looks after the store while it is open. `stop` stops a run of this process; `busy` says whether it has any; `before_sweep`
    is awaited before runs are deleted."""

    def __init__(
        self,
        store: Store,
        plan: StorePlan,
        stop: Callable[[str], None],
        busy: Callable[[], bool],
        before_sweep: Callable[[float], Awaitable[None]],
        *,
        every: float = EVERY,
        patience: float = PATIENCE,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._store, self._plan, self._stop, self._busy = store, plan, stop, busy
        self._before_sweep = before_sweep
        self._every, self._patience, self._clock = every, patience, clock
        self._began = time.time(), clock()
        self._seen: dict[str, tuple[int, float]] = {}
        """The count of every other owner, and since when it stands there."""
        self._reads: dict[str, int] = {}
        self._read_at = -READ_FOR
        """When a run of this process was last seen to be read elsewhere."""
        self._trouble: str | None = None
        self._looked = clock()
        self._swept = clock()
        self._task = asyncio.create_task(self._watch())

    async def aclose(self) -> None:
        """Look no more."""
        self._task.cancel()
        await asyncio.wait([self._task])

    async def _watch(self) -> None:
        while True:
            await asyncio.sleep(self._every)
            trouble = None
            try:
                await self._look()
            except StoreDown as down:
                self._seen.clear()  # the others can't give signs either
                trouble = down.message
            if trouble != self._trouble:
                self._trouble = trouble
                logger.warning("the store of runs is back" if trouble is None else trouble)

    async def _look(self) -> None:
        if self._busy():
            await self._store.beat()
            await self._serve_others()
        await self._bury()
        if self._clock() - self._swept > SWEEP_EVERY:
            await self._sweep()

    async def _serve_others(self) -> None:
        """Stop what other processes ask to stop, and write faster while they read."""
        wanted = await self._store.wanted()
        for run, stop, _ in wanted:
            if stop:
                self._stop(run)
        reads = {run: count for run, _, count in wanted}
        if any(self._reads.get(run) != count for run, count in reads.items()):
            self._read_at = self._clock()
        self._reads = reads
        self._store.write_every(WRITE_OFTEN if self._clock() - self._read_at < READ_FOR else WRITE_EVERY)

    async def _bury(self) -> None:
        """End the runs of owners that have given no sign of life for too long, while this process looked without a break."""
        beats = await self._store.beats()
        now = self._clock()
        if now - self._looked > self._patience / 2:
            self._seen.clear()  # this process was held up, and maybe all of them
        self._looked = now
        others = {owner: beat for owner, beat in beats.items() if owner != self._store.owner}
        self._seen = {
            owner: seen if (seen := self._seen.get(owner)) is not None and seen[0] == beat else (beat, now)
            for owner, beat in others.items()
        }
        for owner, (beat, since) in self._seen.items():
            if now - since < self._patience:
                continue
            error = RunLost("the replica that ran it died")
            ended = await self._store.bury(owner, beat, *last_segment(error, self._now()))
            if ended:
                logger.warning("the replica %s died; its runs have failed: %s", owner, ", ".join(ended))

    async def _sweep(self) -> None:
        """Delete what is too old, or too much, in small steps."""
        self._swept = self._clock()
        now = self._now()
        await self._before_sweep(now)
        older = now - self._plan.keep_for
        step = self._store.sweep
        while await step(older_than=older, max_size=self._plan.max_size):
            pass

    def _now(self) -> float:
        """Return the time of day, by a clock that never jumps: else one jump would make everything too old."""
        return self._began[0] + self._clock() - self._began[1]
