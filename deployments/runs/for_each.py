"""A for-each job -> every item's output in order: a list of them, or a stream."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from dataclasses import dataclass

from deployments.runs.calls import call
from deployments.runs.errors import unfit
from deployments.runs.site import Names, Site
from deployments.streams.inside_values import Opened, joined, mapped
from deployments.streams.tasks import only_known_errors, task_group
from graphs.errors import AnabranchError
from graphs.language import Scope, kind_of, render, truth
from graphs.plan import ForEachJob
from graphs.stream import Batch, Note, Stream, Value, is_empty, join_chunks, whole_size

One = Callable[[int, Value, Opened], Awaitable[Value]]
"""Gives the output of one item."""


async def for_each(job: ForEachJob, names: Names, site: Site, opened: Opened) -> Value:
    """Call the component for every item, a bounded number at the same time."""
    items = _items(job, await render(job.items, Scope(names)))

    async def one(index: int, item: Value, opened: Opened) -> Value:
        seen = {**names, "item": item, "index": index}
        return await mapped(job.item_output, seen, ("output",), await call(job.call, seen, site, opened))

    if job.streaming is None or not truth(await render(job.streaming, Scope(names))):
        return await _list(items, one, job.max_concurrent_count, site.run.id)
    stream = _InTurn(items, one, job.max_concurrent_count, site).stream
    opened.add(stream)
    return stream


def _items(job: ForEachJob, value: Value) -> AsyncGenerator[Value, None]:
    """Yield the items; those of a stream are read no faster than they are called for."""
    if isinstance(value, Stream):
        return value.__aiter__()
    if not isinstance(value, list | tuple):
        raise unfit(job.items, "input", f"expected a list of items, got {kind_of(value)}; write [first, second]")

    async def listed() -> AsyncGenerator[Value, None]:
        for item in value:
            yield item

    return listed()


async def _list(items: AsyncGenerator[Value, None], one: One, limit: int, run_id: str) -> list[Value]:
    slots = asyncio.Semaphore(limit)

    async def whole(index: int, item: Value) -> Value:
        try:
            with only_known_errors(run_id):
                async with Opened() as opened:
                    value = await one(index, item, opened)
                    return (await joined(value))[0] if opened.streams else value
        finally:
            slots.release()

    tasks: list[asyncio.Task[Value]] = []
    async with task_group() as group, aclosing(items):
        await slots.acquire()
        async for item in items:
            tasks.append(group.create_task(whole(len(tasks), item)))
            await slots.acquire()
    return [task.result() for task in tasks]


class _Lane:
    """The output of one item, on its way to its turn."""

    def __init__(self) -> None:
        self.batches: deque[Batch] = deque()
        self.room = asyncio.Event()
        self.ended = False
        self.plain = False


class _InTurn:
    """Runs up to `limit` items at once and gives their chunks item by item.

    An item keeps its slot until its last chunk was taken, so that what is kept is bounded: `limit` times the run's
    `look_ahead`.
    """

    def __init__(self, items: AsyncGenerator[Value, None], one: One, limit: int, site: Site) -> None:
        self._items, self._one, self._run_id = items, one, site.run.id
        self._look_ahead = site.limits.look_ahead
        self._slots = asyncio.Semaphore(limit)
        self._lanes: deque[_Lane] = deque()
        self._changed = asyncio.Event()
        self._over = False
        self._error: AnabranchError | None = None
        self._task = site.spawn(self._call_all())
        self.stream = ItemStream(self._in_turn(), self._close)

    async def _call_all(self) -> None:
        try:
            with only_known_errors(self._run_id):
                async with task_group() as group, aclosing(self._items):
                    await self._slots.acquire()
                    index = 0
                    async for item in self._items:
                        lane = _Lane()
                        self._lanes.append(lane)
                        group.create_task(self._fill(lane, index, item))
                        index += 1
                        await self._slots.acquire()
        except AnabranchError as error:
            self._error = error
        finally:
            self._over = True
            self._changed.set()

    async def _fill(self, lane: _Lane, index: int, item: Value) -> None:
        with only_known_errors(self._run_id):
            async with Opened() as opened:
                value = await self._one(index, item, opened)
                if isinstance(value, Stream):
                    async with aclosing(value.batches()) as batches:
                        async for batch in batches:
                            await self._add(lane, batch)
                else:
                    lane.plain = True
                    await self._add(lane, [(await joined(value))[0] if opened.streams else value])
        lane.ended = True
        self._changed.set()

    async def _add(self, lane: _Lane, batch: Batch) -> None:
        lane.batches.append(batch)
        self._changed.set()
        while len(lane.batches) >= self._look_ahead:
            lane.room.clear()
            await lane.room.wait()

    async def _in_turn(self) -> AsyncIterator[Batch]:
        while True:
            if self._error is not None:
                raise self._error
            lane = self._lanes[0] if self._lanes else None
            if lane is not None and lane.batches:
                batch = lane.batches.popleft()
                lane.room.set()
                yield batch
            elif lane is not None and lane.ended:
                self._lanes.popleft()
                self._slots.release()
                yield [ItemEnd(lane.plain)]
            elif self._over:
                return
            else:
                self._changed.clear()
                await self._changed.wait()

    async def _close(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@dataclass(frozen=True, slots=True)
class ItemEnd:
    """Follows the chunks of an item; `plain` when the item was one value and no stream."""

    plain: bool


class ItemStream(Stream):
    """Several items' outputs, one after the other; joined, it is the list of them. Its source marks where each ends; a reader of chunks never sees the marks."""

    def marked(self) -> AsyncGenerator[Batch, None]:
        """Yield the chunks and the marks."""
        return super().batches()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield chunks as they come, those ready together in one list."""
        async with aclosing(self.marked()) as marked:
            async for batch in marked:
                chunks = [chunk for chunk in batch if not isinstance(chunk, ItemEnd) and not is_empty(chunk)]
                if chunks:
                    yield chunks

    async def join(self) -> Value:
        """Read to the end and return the list of whole items. Idempotent."""
        if self._whole is None:
            self._whole = (await self._items(),)
        return self._whole[0]

    async def _items(self) -> list[Value]:
        items: list[Value] = []
        chunks: Batch = []
        size = 0
        async with aclosing(self.marked()) as marked:
            async for batch in marked:
                size = whole_size(size, batch)
                for chunk in batch:
                    if isinstance(chunk, Note):
                        self.notes.append(chunk)
                    elif isinstance(chunk, ItemEnd):
                        items.append(chunks[0] if chunk.plain else join_chunks(chunks))
                        chunks = []
                    else:
                        chunks.append(chunk)
        return items
