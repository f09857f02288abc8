"""A model's name -> its Engine, in a replica of several models that has room for a few of them at once."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
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
        self._queue: deque[tuple[str, asyncio.Future[_Slot]]] = deque()
        self._emptying: str | None = None
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
            self._admit_waiting()

    async def healthy(self) -> None:
        """Raise if one of the loaded engines can't answer any more."""
        for slot in list(self._slots.values()):
            if _is_loaded(slot):
                await slot.loading.result().healthy()

    async def aclose(self) -> None:
        """Close all engines."""
        self._closed = True
        slots, self._slots = list(self._slots.values()), {}
        for _, waiting in self._queue:
            if not waiting.done():
                waiting.set_exception(Unavailable("the replica is closing"))
        self._queue.clear()
        for slot in slots:
            if not slot.loading.done():
                slot.loading.cancel()
        await asyncio.gather(*(slot.loading for slot in slots), return_exceptions=True)
        for slot in slots:
            if _is_loaded(slot):
                await slot.loading.result().aclose()

    async def _take(self, name: str) -> _Slot:
        if self._closed:
            raise Unavailable("the replica is closing")
        if not self._queue and (slot := self._admit(name)) is not None:
            return slot
        waiting: asyncio.Future[_Slot] = asyncio.get_running_loop().create_future()
        self._queue.append((name, waiting))
        self._admit_waiting()
        try:
            return await waiting
        except asyncio.CancelledError:
            if not waiting.cancelled() and waiting.exception() is None:
                waiting.result().users -= 1  # cancelled in the moment it was given its slot
            self._admit_waiting()
            raise

    def _admit_waiting(self) -> None:
        """Give waiting requests the slots that are free by now."""
        self._emptying = None
        self._queue = deque(each for each in self._queue if not each[1].done())  # some were cancelled
        while self._queue and (slot := self._admit(self._queue[0][0])) is not None:
            self._queue.popleft()[1].set_result(slot)
        if not self._queue:
            return
        self._emptying = next(iter(self._slots), None)
        for name, waiting in tuple(self._queue):
            if name in self._slots and (slot := self._admit(name)) is not None:
                self._queue.remove((name, waiting))
                waiting.set_result(slot)

    def _admit(self, name: str) -> _Slot | None:
        """Return the model's slot, with one user more; None while there is no room."""
        slot = self._slots.get(name)
        if slot is None:
            evicted = None
            if len(self._slots) >= self._limit:
                idle = (other for other, each in self._slots.items() if not each.users and each.loading.done())
                evicted = next(idle, None)
                if evicted is None:
                    return None
            slot = self._open(name, evicted)
        elif name == self._emptying:
            return None
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
        self._admit_waiting()


def _is_loaded(slot: _Slot) -> bool:
    return slot.loading.done() and not slot.loading.cancelled() and slot.loading.exception() is None
