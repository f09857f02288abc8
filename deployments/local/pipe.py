"""The chunks of one answer within a process: a component puts them in, the run reads what is ready.

It holds as much as a stream between two replicas may have under way, and gives the chunks as the channel would give them.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Any

from deployments.streams.codec import MAX_CHUNK, Left, decode, encode
from graphs.errors import AnabranchError
from graphs.stream import Batch, Chunk

WINDOW = 256 * 1024
"""Bytes that may wait for the reader. A larger chunk passes alone."""
COST = 64
"""What a chunk costs beside its bytes."""
_TEXT = frozenset({str})
_TEXT_OR_NULL = frozenset({str, type(None)})
BURST = 32
"""Chunks a component may put before the other tasks of the loop get their turn."""


class Pipe:
    """A sink for the component, and a source for one reader."""

    def __init__(self) -> None:
        self.count = 0
        self.on_stop: Callable[[], object] | None = None
        self.stopped: Exception | None = None
        self.opened = False
        """Whether a stream has begun."""
        self._ready: Batch = []
        self._cost = 0
        self._burst = BURST
        self._error: AnabranchError | None = None
        self._ended = False
        self._reader: asyncio.Future[None] | None = None
        self._writer: asyncio.Future[None] | None = None

    # --- the component's side ----------------------------------------------------------------------------------------

    def open(self) -> Pipe:
        """Begin a stream."""
        self.opened = True
        return self

    def put(self, chunk: Chunk) -> bool:
        """Hand a chunk over. False: `room` must be awaited before the next."""
        if self.stopped is not None:
            raise self.stopped
        if type(chunk) is str and len(chunk) <= MAX_CHUNK // 4:
            size = len(chunk)
        elif type(chunk) is dict and _is_flat(chunk) and (size := _size(chunk)) <= MAX_CHUNK // 4:
            chunk = chunk.copy()
        else:
            # As the channel does it: what can't travel fails here too, and what the component changes later doesn't change.
            kind, body = encode(chunk)
            chunk, size = decode(kind, body), len(body)
        self._ready.append(chunk)
        self._cost += size + COST
        self.count += 1
        self._burst -= 1
        self._wake_reader()
        return self._burst > 0 and self._cost < WINDOW

    async def room(self) -> None:
        """Wait until the next chunk may be put."""
        while self._cost >= WINDOW and self.stopped is None:
            self._writer = asyncio.get_running_loop().create_future()
            await self._writer
        if self.stopped is not None:
            raise self.stopped
        if self._burst <= 0:
            await asyncio.sleep(0)
        self._burst = BURST

    def finish(self) -> None:
        """Say that the stream is complete; said again, wake the reader again."""
        self._ended = self._ended or self._error is None
        self._wake_reader()

    def fail(self, error: AnabranchError) -> None:
        """End the stream with an error, which is read after what has come; the first end counts. No more can be put."""
        if not self.over:
            self._error = error
            self._stop()
        self._wake_reader()

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self._ended or self._error is not None

    # --- the reader's side -------------------------------------------------------------------------------------------

    def take(self) -> Batch | None:
        """Return what is there, maybe nothing yet; None at the end. Raise what the stream failed with."""
        if self._ready:
            batch, self._ready, self._cost = self._ready, [], 0
            if self._writer is not None:
                _wake(self._writer)
            return batch
        if self._error is not None:
            raise self._error
        return None if self._ended else []

    def news(self) -> asyncio.Future[None]:
        """Return what is awaited until there is something to take, or an end."""
        self._reader = asyncio.get_running_loop().create_future()
        return self._reader

    def close(self) -> None:
        """Stop reading: the component can put no more. Its call is for the reader to stop."""
        self._ready, self._cost = [], 0
        self._stop()

    def _stop(self) -> None:
        self.stopped = self.stopped or Left()
        if self._writer is not None:
            _wake(self._writer)

    def _wake_reader(self) -> None:
        reader, self._reader = self._reader, None
        if reader is not None:
            _wake(reader)


def _is_flat(chunk: dict[Any, Any]) -> bool:
    """Return whether a mapping, like most of OpenAI's deltas, has only text or null in it: JSON and back would be a copy of it."""
    return _TEXT_OR_NULL.issuperset(map(type, chunk.values())) and _TEXT.issuperset(map(type, chunk))


def _size(chunk: dict[str, str | None]) -> int:
    return sum(map(len, chunk)) + sum(len(value) for value in chunk.values() if value)


def _wake(waiting: asyncio.Future[None]) -> None:
    if not waiting.done():
        waiting.set_result(None)
