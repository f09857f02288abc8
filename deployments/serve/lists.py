"""The way around the channel: chunks leave a worker as lists over the handle's own stream, as many as are ready.

Ray takes what a generator yields without asking whether anybody reads it, so the reader says how far it is, through a
small actor of its own, and the worker stays no more than a few lists ahead.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Any

import ray
from ray.exceptions import RayActorError
from ray.util.scheduling_strategies import NodeAffinitySchedulingStrategy

from deployments.answering.answerer import Answerer, Sink
from deployments.answering.messages import Erred, Question, Reply
from deployments.channel.flow import COST
from deployments.streams.codec import decode, encode
from graphs.errors import AnabranchError, Unavailable
from graphs.stream import Batch, Chunk

LIST_SIZE = 64 * 1024
"""What a list may hold, in bytes, before the producer waits for it to leave."""
BURST = 256
"""Chunks put before the other tasks of the loop get their turn."""
AHEAD = 8
"""Lists under way that the reader has not taken."""
STEP = AHEAD // 2
"""The reader tells how far it is every so many lists."""

NOT_COUNTED = "the actor that counts which chunks were read has died; ask again"

Item = Batch | Reply
"""Lists of chunks, then one reply."""


class Basket:
    """A sink that gathers what is ready until it is taken."""

    def __init__(self) -> None:
        self.count = 0
        self.on_stop: Callable[[], object] | None = None
        self.stopped: Exception | None = None
        self._ready: Batch = []
        self._size = 0
        self._burst = BURST
        self._filled = asyncio.Event()
        self._emptied = asyncio.Event()

    def put(self, chunk: Chunk) -> bool:
        """Add a chunk, as the channel would give it. False: `room` must be awaited before the next."""
        if type(chunk) is str or type(chunk) is bytes:
            size = len(chunk)
        else:
            kind, body = encode(chunk)
            chunk, size = decode(kind, body), len(body)
        self._ready.append(chunk)
        self._filled.set()
        self.count += 1
        self._burst -= 1
        self._size += COST + size
        return self._burst > 0 and self._size < LIST_SIZE

    async def room(self) -> None:
        """Wait until the next chunk may be put."""
        while self._size >= LIST_SIZE:
            self._emptied.clear()
            await self._emptied.wait()
        await asyncio.sleep(0)
        self._burst = BURST

    def finish(self) -> None:
        """Nothing to say: the reply follows the last list."""

    def fail(self, error: AnabranchError) -> None:
        """Nothing to say: the reply follows the last list."""

    async def filled(self) -> None:
        """Wait until there is something to take."""
        await self._filled.wait()

    def take(self) -> Batch:
        """Return what is there; maybe nothing."""
        batch, self._ready, self._size = self._ready, [], 0
        self._filled.clear()
        self._emptied.set()
        return batch


class Progress:
    """How many lists the readers of one replica have taken, by stream. Runs as an actor of that replica's own."""

    def __init__(self) -> None:
        self._taken: dict[int, int] = {}
        self._news: dict[int, asyncio.Event] = {}

    async def open(self, stream: int) -> None:
        """Begin to count."""
        self._taken[stream] = 0
        self._news[stream] = asyncio.Event()

    async def took(self, stream: int, lists: int) -> None:
        """The reader has taken so many."""
        if stream in self._taken:
            self._taken[stream] = lists
            self._news[stream].set()

    async def reached(self, stream: int, lists: int) -> bool:
        """Wait until so many were taken; False when the reader has left."""
        while stream in self._taken and self._taken[stream] < lists:
            self._news[stream].clear()
            await self._news[stream].wait()
        return stream in self._taken

    async def close(self, stream: int) -> None:
        """Count no more, and let nobody wait."""
        self._taken.pop(stream, None)
        news = self._news.pop(stream, None)
        if news is not None:
            news.set()


def start_progress() -> Any:
    """Return the handle of a Progress that lives as long as this process, and where it does."""
    actor: Any = ray.remote(Progress)
    here = NodeAffinitySchedulingStrategy(ray.get_runtime_context().get_node_id(), soft=True)
    return actor.options(num_cpus=0, max_concurrency=10_000, scheduling_strategy=here).remote()


async def answer_in_lists(
    answerer: Answerer, question: Question, progress: Any, stream: int
) -> AsyncGenerator[Item, None]:
    """Yield the answer's chunks in lists, then the reply. Closing this stops the component."""
    basket = Basket()
    sink: Sink = basket
    work = asyncio.create_task(answerer.answer(question, lambda: sink))
    sent = 0
    try:
        while not work.done():
            news = asyncio.ensure_future(basket.filled())
            try:
                await asyncio.wait([work, news], return_when=asyncio.FIRST_COMPLETED)
            finally:
                news.cancel()
            try:
                if sent >= AHEAD and not await progress.reached.remote(stream, sent - AHEAD + STEP):
                    return
            except RayActorError:
                yield Erred(Unavailable(NOT_COUNTED).to_data())
                return
            if batch := basket.take():
                yield batch
                sent += 1
        if batch := basket.take():
            yield batch
        yield work.result()
    finally:
        if not work.done():
            work.cancel()
            await asyncio.wait([work])
