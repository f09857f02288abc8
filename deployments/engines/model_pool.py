"""A model's name -> its Engine, in a replica of several models that has room for a few of them at once."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass

from deployments.engines.engine import Engine
from graphs.errors import Unavailable

logger = logging.getLogger("anabranch.model")


@dataclass(slots=True)
class _Slot:
    loading: asyncio.Task[Engine]
    users: int = 0


class Pool:
    """Engines by name. The least recently used one is closed to make room; an engine in use stays until it is free.

    While a request waits for room, the least recently requested engine takes no new requests. Otherwise a busy engine
    would keep its slot for ever.
    """

    def __init__(self, start: Callable[[str], Awaitable[Engine]], limit: int) -> None:
        self._start = start
        self._limit = limit
        self._slots: dict[str, _Slot] = {}  # least recently requested first
        self._queue: list[object] = []
        self._changed = asyncio.Event()
        self._closed = False

    async def preload(self, names: Sequence[str]) -> None:
        """Load as many of the models as there is room for, in order."""
        for name in names[: self._limit]:
            async with self.use(name):
                pass

    @asynccontextmanager
    async def use(self, name: str) -> AsyncGenerator[Engine]:
        """Yield the engine, which is loaded first if need be. It stays loaded until the block ends."""
        slot = await self._take(name)
        try:
            # A request that is cancelled doesn't stop the loading: others may wait for the same model.
            yield await asyncio.shield(slot.loading)
        finally:
            slot.users -= 1
            self._wake()

    async def healthy(self) -> None:
        """Raise if one of the loaded engines can't answer any more."""
        for slot in list(self._slots.values()):
            if _is_loaded(slot):
                await slot.loading.result().healthy()

    async def aclose(self) -> None:
        """Close all engines."""
        self._closed = True
        slots, self._slots = list(self._slots.values()), {}
        self._wake()
        for slot in slots:
            if not slot.loading.done():
                slot.loading.cancel()
        await asyncio.gather(*(slot.loading for slot in slots), return_exceptions=True)
        for slot in slots:
            if _is_loaded(slot):
                await slot.loading.result().aclose()

    async def _take(self, name: str) -> _Slot:
        """Wait in the queue until there is room, and return the model's slot, with one user more."""
        turn = object()
        self._queue.append(turn)
        try:
            while (slot := self._admit(name, first=turn is self._queue[0])) is None:
                await self._changed.wait()
            return slot
        finally:
            self._queue.remove(turn)
            self._wake()

    def _wake(self) -> None:
        """Have each waiting request ask again whether there is room, in the order of the queue."""
        self._changed.set()
        self._changed.clear()

    def _admit(self, name: str, *, first: bool) -> _Slot | None:
        """Return the model's slot, with one user more; None while there is no room."""
        if self._closed:
            raise Unavailable("the replica is closing")
        slot = self._slots.get(name)
        if slot is None:
            full = len(self._slots) >= self._limit
            idle = (other for other, each in self._slots.items() if not each.users and each.loading.done())
            evicted = next(idle, None) if full else None
            if not first or (full and evicted is None):
                return None
            slot = self._open(name, evicted)
        elif not first and name == next(iter(self._slots)):
            return None  # the engine that is to make room for the first request
        else:
            self._slots[name] = self._slots.pop(name)
        slot.users += 1
        return slot

    def _open(self, name: str, evicted: str | None) -> _Slot:
        before = self._slots.pop(evicted) if evicted is not None else None
        loading = asyncio.create_task(self._load(name, evicted, before), name=f"load {name}")
        slot = self._slots[name] = _Slot(loading)
        loading.add_done_callback(lambda task: self._loaded(name, slot, task))
        return slot

    async def _load(self, name: str, evicted: str | None, before: _Slot | None) -> Engine:
        # The old model goes first: both together may not fit into memory.
        if before is not None and _is_loaded(before):
            logger.info("closing %s to make room for %s", evicted, name)
            await before.loading.result().aclose()
        try:
            return await self._start(name)
        except (SystemExit, KeyboardInterrupt) as exit:
            # Raised out of this task, they would end the event loop and every other call with it.
            logger.exception("loading %s would have ended the process", name)
            said = f"{type(exit).__name__}: {exit}"
            raise Unavailable(
                f"model {name!r} could not be loaded: {said}; the replica's log has the traceback"
            ) from exit

    def _loaded(self, name: str, slot: _Slot, task: asyncio.Task[Engine]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if failed and self._slots.get(name) is slot:
            del self._slots[name]
        self._wake()


def _is_loaded(slot: _Slot) -> bool:
    return slot.loading.done() and not slot.loading.cancelled() and slot.loading.exception() is None
