"""Runs of other processes that are read here: one query a tick brings what all of them have said."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deployments.gateway.entries import unpack
from deployments.gateway.log import FollowedLog
from deployments.store.rows import StoreDown
from graphs.errors import AnabranchError, NotFound, Unavailable

if TYPE_CHECKING:
    from deployments.store.store import Store

EVERY = 0.05
"""Seconds between two looks."""
LONGEST_PAUSE = 1.0
"""Seconds between two tries while the store is down."""
SAID_EVERY = 10
"""Looks after which the owners hear again that their runs are read."""
SOUGHT_EVERY = 100
"""Looks after which it is asked whether runs that said nothing meanwhile are still kept."""


class Tails:
    """Follows runs in the store, as long as they have readers."""

    def __init__(self, store: Store, every: float = EVERY) -> None:
        self._store = store
        self._every = every
        self._logs: dict[str, FollowedLog] = {}
        self._silent: dict[str, int] = {}
        """What each had said when runs were last sought."""
        self._task: asyncio.Task[None] | None = None
        self._closed = False

    @contextmanager
    def joined(self, id: str, first: int) -> Generator[FollowedLog]:
        """Open the log of a run; what comes before the number `first` is in the store already."""
        if self._closed:
            raise Unavailable("the server is stopping")
        log = self._logs.get(id)
        if log is None:
            log = self._logs[id] = FollowedLog(id, first)
        if self._task is None or self._task.done():
            self._task = asyncio.create_task(self._look())
        log.readers += 1
        try:
            yield log
        finally:
            log.readers -= 1
            if not log.readers and self._logs.get(id) is log:
                del self._logs[id]

    async def aclose(self) -> None:
        """Follow nothing more; readers are told so."""
        self._closed = True
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])
        for log in self._logs.values():
            log.fail(Unavailable("the server is stopping"))

    async def _look(self) -> None:
        pause, looks = self._every, 0
        while self._logs:
            try:
                if looks % SAID_EVERY == 0:
                    await self._store.reading(list(self._logs))
                await self._look_once()
                if looks % SOUGHT_EVERY == SOUGHT_EVERY - 1:
                    await self._seek()
                pause = self._every
            except StoreDown:  # Replicas logs it
                pause = min(2 * pause, LONGEST_PAUSE)
            looks += 1
            await asyncio.sleep(pause)

    async def _look_once(self) -> None:
        logs = dict(self._logs)
        for run, first, _, kind, body in await self._store.tail({id: log.next - 1 for id, log in logs.items()}):
            try:
                logs[run].extend(unpack(first, kind, body))
            except AnabranchError as error:
                self._break_off(run, error)
        for id, log in logs.items():
            if log.ended and self._logs.get(id) is log:
                del self._logs[id]  # its readers have it in hand

    async def _seek(self) -> None:
        """Tell the readers of a run that was forgotten that there is nothing to wait for."""
        before, self._silent = self._silent, {id: log.next for id, log in self._logs.items()}
        for id in [id for id, next in self._silent.items() if before.get(id) == next]:
            if await self._store.run(id) is None:
                self._break_off(id, NotFound(f"run {id} is no longer kept"))

    def _break_off(self, id: str, error: AnabranchError) -> None:
        if (log := self._logs.pop(id, None)) is not None:
            log.fail(error)
