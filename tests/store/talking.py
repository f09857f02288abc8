"""Runs that say numbers, for a store to keep."""

from __future__ import annotations

import asyncio
import itertools
import json

from deployments.store.rows import ENDED, NewRun, Segment, State
from deployments.store.store import Store

HANGS = 30
"""Seconds after which a test that waits has failed."""

_ids = itertools.count()


def new_run(id: str | None = None, **more: object) -> NewRun:
    """Return a run whose log begins with number 0."""
    id = id or f"run_{next(_ids):06d}"
    given = {"workflow": "chat", "session": None, "caller": None, "created_at": 1000.0, "policy": "{}", **more}
    return NewRun(id=id, segment=Segment(id, 0, 0, 1, body(0, 0)), **given)


def body(first: int, last: int) -> bytes:
    return json.dumps(list(range(first, last + 1))).encode()


class Talk:
    """A run under way. What it says is the next number."""

    def __init__(self, run: str, store: Store) -> None:
        self.run = run
        self.taken = 0
        self.last = 0
        self.safe = 0
        self.is_safe = asyncio.Event()
        self._store = store
        self._state = State("pending")

    def say(self, numbers: int = 1, status: str = "streaming", output: str | None = None) -> None:
        """Say so many numbers, the last of them with this status."""
        self.last += numbers
        self._state = State(status, 2000.0 + self.last if status in ENDED else None, output)
        self.is_safe.clear()
        self._store.mark(self)

    def take(self) -> tuple[Segment, State] | None:
        if self.taken == self.last:
            return None
        first, self.taken = self.taken + 1, self.last
        return Segment(self.run, first, self.last, 1, body(first, self.last)), self._state

    def written(self, last: int) -> None:
        self.safe = last
        if last == self.last:
            self.is_safe.set()

    async def kept(self) -> None:
        """Wait until all it said is in the store."""
        async with asyncio.timeout(HANGS):
            await self.is_safe.wait()


class Opening:
    """The stores of a test; two on one database are two replicas."""

    def __init__(self) -> None:
        self._stores: list[Store] = []

    async def __call__(self, url: str, every: float = 0.01) -> Store:
        store = await Store.open(url, every=every)
        assert store is not None
        self._stores.append(store)
        return store

    async def aclose(self) -> None:
        for store in self._stores:
            await store.aclose()


async def started(store: Store, id: str | None = None, **more: object) -> Talk:
    """Return a run that was accepted."""
    run = new_run(id, **more)
    assert await store.accept(run) is None
    return Talk(run.id, store)


async def ended(
    store: Store, id: str | None = None, status: str = "completed", numbers: int = 1, **more: object
) -> Talk:
    """Return a run that has ended."""
    talk = await started(store, id, **more)
    talk.say(numbers, status)
    await store.flush()
    return talk
