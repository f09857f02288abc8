"""A Stream -> as many as there are readers: read once, as fast as the fastest reader, kept only for the slowest."""

from __future__ import annotations

import asyncio
from collections import deque
from collections.abc import Callable, Coroutine
from contextlib import aclosing
from typing import Any

from deployments.streams.tasks import only_known_errors
from graphs.errors import AnabranchError, TooLarge
from graphs.stream import Batch, Stream, batch_size

Spawn = Callable[[Coroutine[Any, Any, None]], "asyncio.Task[None]"]
"""Starts a task that lives no longer than the run."""


class Share:
    """A stream that is read once, and given to each of its readers.

    A reader that falls more than `limit` bytes behind the fastest fails the stream: if the others waited for it, they
    might wait for ever. Where no reader depends on another, `patient` makes the others wait instead.
    """

    def __init__(self, source: Stream, readers: int, spawn: Spawn, run_id: str, patient: bool, limit: int) -> None:
        self.ended = False
        self.error: AnabranchError | None = None
        self.wanted = asyncio.Event()
        self.room = asyncio.Event()
        """Set whenever a reader has taken something, or left."""
        self._patient, self._limit = patient, limit
        self._source = source
        self._run_id = run_id
        self._forks = [_Fork(self) for _ in range(readers)]
        self._open = readers
        # Not read by the readers in turn: one of them leaving in the middle of a read would end it for the others.
        self._pump = spawn(self._read())
        self.streams = [type(source)(fork, fork.close) for fork in self._forks]

    async def leave(self) -> None:
        """Count one reader less; the last to leave closes the source."""
        self._open -= 1
        if self._open == 0:
            self._pump.cancel()
            await asyncio.wait([self._pump])
            await self._source.aclose()

    async def _read(self) -> None:
        try:
            with only_known_errors(self._run_id):
                async with aclosing(self._source.marked()) as batches:
                    await self.wanted.wait()
                    async for batch in batches:
                        self.wanted.clear()
                        self._hand_out(batch)
                        while self._patient and any(fork.kept > self._limit for fork in self._forks):
                            self.room.clear()
                            await self.room.wait()
                        await self.wanted.wait()
        except AnabranchError as error:
            self.error = error
        finally:
            self.ended = True
            for fork in self._forks:
                fork.news.set()

    def _hand_out(self, batch: Batch) -> None:
        size = batch_size(batch)
        for fork in self._forks:
            fork.add(batch, size)
            if fork.kept > self._limit and not self._patient:
                raise TooLarge(
                    f"several jobs read this stream, and one is more than {self._limit >> 20} MiB behind the fastest"
                )


class _Fork:
    """One reader's place: the batches it hasn't read yet."""

    def __init__(self, share: Share) -> None:
        self.news = asyncio.Event()
        self.kept = 0
        self._share = share
        self._unread: deque[tuple[Batch, int]] = deque()
        self._closed = False

    def add(self, batch: Batch, size: int) -> None:
        if not self._closed:
            self._unread.append((batch, size))
            self.kept += size
            self.news.set()

    def __aiter__(self) -> _Fork:
        return self

    async def __anext__(self) -> Batch:
        while not self._unread:
            if self._closed or self._share.ended:
                if self._share.error is not None and not self._closed:
                    raise self._share.error
                raise StopAsyncIteration
            self.news.clear()
            self._share.wanted.set()
            await self.news.wait()
        batch, size = self._unread.popleft()
        self.kept -= size
        self._share.room.set()
        return batch

    async def close(self) -> None:
        if not self._closed:
            self._closed = True
            self._unread.clear()
            self.kept = 0
            self.news.set()
            self._share.room.set()
            await self._share.leave()
