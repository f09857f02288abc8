"""One answer's way from the inference thread to its reader: written there, read in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable

from deployments.engines.engine import Ended

AHEAD = 512
"""Pieces that a reader may be behind; beyond it, its row waits."""

Item = str | Ended | Exception


class Outlet:
    """A reader's end. `written` is changed by the thread alone and `taken` by the reader's loop alone."""

    def __init__(self, loop: asyncio.AbstractEventLoop, caught_up: Callable[[], None]) -> None:
        self.loop = loop
        self.written = 0
        self.taken = 0
        self.parked = False
        """Set by the thread: its row waits for the reader."""
        self._caught_up = caught_up
        self._items: list[Item] = []
        self._waiter: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        return self.written - self.taken >= AHEAD

    @property
    def roomy(self) -> bool:
        return self.written - self.taken < AHEAD // 2

    def arrive(self, item: Item) -> None:
        """Take in what the thread wrote; called in the loop."""
        self._items.append(item)
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> AsyncGenerator[str | Ended, None]:
        """Yield the text, all that is there at once, then how it ended; raise what made it fail."""
        while True:
            if not self._items:
                self._waiter = self.loop.create_future()
                await self._waiter
                self._waiter = None
            items, self._items = self._items, []
            last = None if isinstance(items[-1], str) else items.pop()
            if items:
                self._take(len(items))
                yield "".join(item for item in items if isinstance(item, str))
            if isinstance(last, Exception):
                raise last
            if last is not None:
                yield last
                return

    def _take(self, count: int) -> None:
        self.taken += count
        if self.parked and self.roomy:
            self._caught_up()


class Post:
    """What the thread has written since the last delivery: one call into an event loop for all rows."""

    def __init__(self) -> None:
        self._written: dict[asyncio.AbstractEventLoop, list[tuple[Outlet, Item]]] = {}

    def write(self, outlet: Outlet, item: Item) -> None:
        outlet.written += isinstance(item, str)
        self._written.setdefault(outlet.loop, []).append((outlet, item))

    def deliver(self) -> None:
        written, self._written = self._written, {}
        for loop, items in written.items():
            try:
                loop.call_soon_threadsafe(_arrive, items)
            except RuntimeError:
                # The loop is closed, and its readers are gone with it.
                continue


def _arrive(items: list[tuple[Outlet, Item]]) -> None:
    for outlet, item in items:
        outlet.arrive(item)
