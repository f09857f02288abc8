"""Runs of other processes that are read here: one query a tick brings what all of them have said."""

from __future__ import annotations

import asyncio
from collections.abc import Generator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from deployments.gateway.entries import unpack
from deployments.gateway.log import FollowedLog
from deployments.store.rows import StoreDown
from graphs.errors import AnabranchError

if TYPE_CHECKING:
    from deployments.store.store import Store

EVERY = 0.05
"""Seconds between two looks."""
LONGEST_PAUSE = 1.0
"""Seconds between two tries while the store is down."""
SAID_EVERY = 10
"""Looks after which the owners hear again that their runs are read."""


class Tails:
    """Follows runs in the store, as long as they have readers."""

    def __init__(self, store: Store, every: float = EVERY) -> None:
        self._store = store
        self._every = every
        self._logs: dict[str, FollowedLog] = {}
        self._task: asyncio.Task[None] | None = None

    @contextmanager
    def joined(self, id: str, first: int) -> Generator[FollowedLog]:
        """Open the log of a run; what comes before the number `first` is in the store already."""
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
        """Follow nothing more."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait([self._task])

    async def _look(self) -> None:
        pause, looks = self._every, 0
        while self._logs:
            try:
                if looks % SAID_EVERY == 0:
                    await self._store.reading(list(self._logs))
                await self._look_once()
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
                logs[run].fail(error)
        for id, log in logs.items():
            if (log.ended or log.error is not None) and self._logs.get(id) is log:
                del self._logs[id]  # its readers have it in hand
