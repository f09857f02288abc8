"""The text of one answer, and the scores of its tokens: written in the inference thread, read in an event loop."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Sequence

from deployments.engines.engine import Ended
from deployments.engines.token_scores import TokenScore

AHEAD = 512
"""Pieces that may wait for a reader; beyond that, its row is parked."""

Item = str | Ended | Exception


class TextOutlet:
    """The reading end of one answer. Only the thread changes `written`, only the event loop changes `taken`."""

    def __init__(self, loop: asyncio.AbstractEventLoop, caught_up: Callable[[], None]) -> None:
        self.loop = loop
        self.written = 0
        self.taken = 0
        self.parked = False
        """The row waits until the reader has read on. Set by the thread."""
        self._caught_up = caught_up
        self._items: list[Item] = []
        self._scores: list[TokenScore] = []
        self._waiter: asyncio.Future[None] | None = None

    @property
    def full(self) -> bool:
        return self.written - self.taken >= AHEAD

    @property
    def roomy(self) -> bool:
        return self.written - self.taken < AHEAD // 2

    def arrive(self, item: Item, scores: Sequence[TokenScore]) -> None:
        """Take in what the thread wrote. Called in the event loop."""
        self._items.append(item)
        if scores:
            self._scores += scores
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    async def read(self) -> AsyncGenerator[str | list[TokenScore] | Ended, None]:
        """Yield text, all of it that has arrived at once, and last how it ended; or raise the answer's error.

        The scores of tokens come before their text.
        """
        while True:
            if not self._items:
                self._waiter = self.loop.create_future()
                await self._waiter
                self._waiter = None
            items, self._items = self._items, []
            last = None if isinstance(items[-1], str) else items.pop()
            if self._scores:
                scores, self._scores = self._scores, []
                yield scores
            if items:
                self.taken += len(items)
                if self.parked and self.roomy:
                    self._caught_up()
                yield "".join(item for item in items if isinstance(item, str))
            if isinstance(last, Exception):
                raise last
            if last is not None:
                yield last
                return


_Written = tuple[TextOutlet, Item, Sequence[TokenScore]]


class Deliveries:
    """What the thread has written since the last delivery, which is one call into an event loop for all rows."""

    def __init__(self) -> None:
        self._written: dict[asyncio.AbstractEventLoop, list[_Written]] = {}

    def write(self, outlet: TextOutlet, item: Item, scores: Sequence[TokenScore] = ()) -> None:
        outlet.written += isinstance(item, str)
        self._written.setdefault(outlet.loop, []).append((outlet, item, scores))

    def deliver(self) -> None:
        written, self._written = self._written, {}
        for loop, items in written.items():
            try:
                loop.call_soon_threadsafe(_arrive, items)
            except RuntimeError:
                # The event loop is closed, so its readers are gone.
                continue


def _arrive(items: list[_Written]) -> None:
    for outlet, item, scores in items:
        outlet.arrive(item, scores)
