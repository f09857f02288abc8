"""Several models by name in one replica, no more of them loaded than there is room for: a name in, its Engine out."""

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
class _Place:
    loading: asyncio.Task[Engine]
    users: int = 0


@dataclass(slots=True)
class _Waiter:
    name: str
    place: asyncio.Future[_Place]


class Pool:
    """Engines by name. The one unused the longest makes room for another; one in use stays until its users have left.

    While somebody waits for room, the engine that was asked for the longest ago takes no new users: else a busy one
    would keep its place for ever.
    """

    def __init__(self, start: Callable[[str], Awaitable[Engine]], limit: int) -> None:
        self._start = start
        self._limit = limit
        self._places: dict[str, _Place] = {}  # the one asked for the longest ago first
        self._line: deque[_Waiter] = deque()
        self._leaving: str | None = None
        self._closed = False

    async def preload(self, names: Sequence[str]) -> None:
        """Load as many as there is room for, in order."""
        for name in names[: self._limit]:
            async with self.use(name):
                pass

    @asynccontextmanager
    async def use(self, name: str) -> AsyncGenerator[Engine]:
        """Give the engine, loaded now if it isn't; it stays for as long as this lasts."""
        place = await self._take(name)
        try:
            # Who leaves doesn't stop the loading: others may wait for the same one.
            yield await asyncio.shield(place.loading)
        finally:
            place.users -= 1
            self._seat()

    async def healthy(self) -> None:
        """Raise when one of the loaded can't answer any more."""
        for place in list(self._places.values()):
            if _is_loaded(place):
                await place.loading.result().healthy()

    async def aclose(self) -> None:
        """Let go of all of them."""
        self._closed = True
        places, self._places = list(self._places.values()), {}
        for waiter in self._line:
            if not waiter.place.done():
                waiter.place.set_exception(Unavailable("the replica is closing"))
        self._line.clear()
        for place in places:
            if not place.loading.done():
                place.loading.cancel()
        await asyncio.gather(*(place.loading for place in places), return_exceptions=True)
        for place in places:
            if _is_loaded(place):
                await place.loading.result().aclose()

    async def _take(self, name: str) -> _Place:
        if self._closed:
            raise Unavailable("the replica is closing")
        if not self._line and (place := self._admit(name)) is not None:
            return place
        waiter = _Waiter(name, asyncio.get_running_loop().create_future())
        self._line.append(waiter)
        self._seat()
        try:
            return await waiter.place
        except asyncio.CancelledError:
            if not waiter.place.cancelled() and waiter.place.exception() is None:
                waiter.place.result().users -= 1  # left in the moment it was given its place
            self._seat()
            raise

    def _seat(self) -> None:
        """Give those in line what there is by now."""
        self._leaving = None
        if not self._line:
            return
        self._line = deque(waiter for waiter in self._line if not waiter.place.done())  # some have left
        while self._line and (place := self._admit(self._line[0].name)) is not None:
            self._line.popleft().place.set_result(place)
        if not self._line:
            return
        self._leaving = next(iter(self._places), None)
        for waiter in list(self._line):
            if waiter.name in self._places and (place := self._admit(waiter.name)) is not None:
                self._line.remove(waiter)
                waiter.place.set_result(place)

    def _admit(self, name: str) -> _Place | None:
        """Return the place of this name, with one user more; None while there is none to be had."""
        place = self._places.get(name)
        if place is None:
            evicted = None
            if len(self._places) >= self._limit:
                idle = (other for other, each in self._places.items() if not each.users and each.loading.done())
                evicted = next(idle, None)
                if evicted is None:
                    return None
            place = self._open(name, evicted)
        elif name == self._leaving:
            return None
        else:
            self._places[name] = self._places.pop(name)
        place.users += 1
        return place

    def _open(self, name: str, evicted: str | None) -> _Place:
        before = self._places.pop(evicted) if evicted is not None else None
        loading = asyncio.create_task(self._load(name, evicted, before), name=f"load {name}")
        place = self._places[name] = _Place(loading)
        loading.add_done_callback(lambda task: self._loaded(name, place, task))
        return place

    async def _load(self, name: str, evicted: str | None, before: _Place | None) -> Engine:
        # First the old one goes: both together may be more than the memory holds.
        if before is not None and _is_loaded(before):
            logger.info("letting go of %s to make room for %s", evicted, name)
            await before.loading.result().aclose()
        try:
            return await self._start(name)
        except (SystemExit, KeyboardInterrupt) as exit:
            # Out of this task they would end the loop, and every other call with it.
            logger.exception("loading %s would have ended the process", name)
            said = f"{type(exit).__name__}: {exit}"
            raise Unavailable(f"model {name!r} could not be loaded: {said}; the replica's log says where") from exit

    def _loaded(self, name: str, place: _Place, task: asyncio.Task[Engine]) -> None:
        failed = task.cancelled() or task.exception() is not None
        if failed and self._places.get(name) is place:
            del self._places[name]
        self._seat()


def _is_loaded(place: _Place) -> bool:
    return place.loading.done() and not place.loading.cancelled() and place.loading.exception() is None
