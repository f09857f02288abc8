"""The turns of sessions, from the view of one process: each waits until those before it are settled, and is settled itself."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Coroutine, Iterable
from typing import TYPE_CHECKING, Any, NamedTuple

from deployments.gateway.kept import Kept
from deployments.store.rows import OpenTurn, SessionKey, Settled, StoreDown
from graphs.errors import AnabranchError, Cancelled

if TYPE_CHECKING:
    from deployments.store.store import Store

logger = logging.getLogger("anabranch.sessions")

EVERY = 0.05
"""Seconds between two looks at what other processes have settled."""
LONGEST_PAUSE = 1.0
"""Seconds between two tries while the store is down."""
GRACE = 10
"""Looks for which the owner of a run that has ended may settle its turn, before another process does."""

CLOSING = 3.0
"""Seconds for which a process that stops settles its turns; others settle the rest."""

Fold = Callable[[str], Awaitable[Settled]]
"""Gives what is remembered of a turn, by the log of its run."""


class _Waiting(NamedTuple):
    key: SessionKey
    number: int
    first: asyncio.Future[None]


class Turns:
    """A turn is open until it is settled: until what was answered, and how it ended, stands in its row.

    The first open turn of a session is the one under way. Its process settles it at the end of its run, and tells the next one if
    it waits here; those that wait elsewhere look at the store, with one query a tick for all their sessions. Whatever happens to a
    process, the log of the run says what was answered: any other settles the turn in its place.
    """

    def __init__(self, kept: Kept, fold: Fold) -> None:
        self._kept, self._fold = kept, fold
        self._waiting: dict[str, _Waiting] = {}
        """By the run."""
        self._ended: list[str] = []
        """Runs of this process whose turns are to be settled."""
        self._late: dict[str, int] = {}
        """For how many looks a run that has ended was seen open."""
        self._looking: asyncio.Task[None] | None = None
        self._settling: asyncio.Task[None] | None = None

    async def wait(self, run: str, key: SessionKey, number: int) -> None:
        """Wait until the turn is the first one that is open; raise Cancelled if it is forgotten meanwhile."""
        waiting = _Waiting(key, number, asyncio.get_running_loop().create_future())
        self._waiting[run] = waiting
        self._looking = _running(self._looking, self._look)
        try:
            await waiting.first
        finally:
            del self._waiting[run]

    def ended(self, run: str) -> None:
        """Hear that a run of this process has ended, and settle its turn."""
        self._ended.append(run)
        self._settling = _running(self._settling, self._settle_ended)

    async def settle(self, runs: Collection[str]) -> None:
        """Remember how turns ended; their runs have."""
        if not runs:
            return
        settled = await asyncio.gather(*map(self._fold, runs))
        self._see(await (await self._store()).sessions.settle(settled))

    async def aclose(self) -> None:
        """Settle the turns of this process; look no more."""
        tasks = [task for task in (self._looking, self._settling) if task is not None]
        if not tasks:
            return
        # Nothing waits any more, so that both end by themselves: a query that is cut would leave its connection open.
        _, late = await asyncio.wait(tasks, timeout=CLOSING)
        for task in late:
            task.cancel()
            await asyncio.wait([task])

    async def _settle_ended(self) -> None:
        while self._ended:
            runs, self._ended = self._ended, []
            try:
                await self.settle(runs)
            except StoreDown as down:
                # Whoever needs the turn next settles it.
                logger.warning("%d turns of sessions aren't settled yet: %s", len(runs), down)

    async def _look(self) -> None:
        pause = EVERY
        while self._waiting:
            try:
                await self._look_once()
                pause = EVERY
            except StoreDown:  # Replicas logs it
                pause = min(2 * pause, LONGEST_PAUSE)
            except Exception:
                # The one broad case: a fault of ours must not leave every turn of this process waiting.
                logger.exception("turns of sessions: internal error")
                pause = LONGEST_PAUSE
            await asyncio.sleep(pause)

    async def _look_once(self) -> None:
        asked = dict(self._waiting)
        found = await (await self._store()).sessions.firsts({each.key for each in asked.values()})
        self._see(found)
        firsts = {each.key: each.number for each in found}
        for waiting in asked.values():
            if waiting.number < firsts.get(waiting.key, waiting.number + 1) and not waiting.first.done():
                waiting.first.set_exception(Cancelled("its session was cleared or deleted"))
        self._late = {each.run: self._late.get(each.run, 0) + 1 for each in found if each.ended}
        await self.settle([run for run, looks in self._late.items() if looks > GRACE])

    def _see(self, firsts: Iterable[OpenTurn]) -> None:
        """Let the turns begin that are the first ones of their sessions."""
        for each in firsts:
            waiting = self._waiting.get(each.run)
            if waiting is not None and not waiting.first.done():
                waiting.first.set_result(None)

    async def _store(self) -> Store:
        store = await self._kept.store(create=True)
        assert store is not None, "it was made"
        return store


async def stopped(kept: Kept, runs: Iterable[str]) -> None:
    """Stop runs, wherever they run, and wait for their ends."""
    for result in await asyncio.gather(*map(kept.cancel, runs), return_exceptions=True):
        if isinstance(result, BaseException) and not isinstance(result, AnabranchError):
            raise result


def _running(task: asyncio.Task[None] | None, work: Callable[[], Coroutine[Any, Any, None]]) -> asyncio.Task[None]:
    """Return the task, begun anew if it has ended."""
    return asyncio.create_task(work()) if task is None or task.done() else task
