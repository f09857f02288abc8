"""The two ends of one stream on a connection: chunks put into an Outlet come out of an Inlet, no faster than it is read.

Flow is bounded in bytes, as ARCHITECTURE.md says; even a chunk larger than the window passes.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable
from typing import Protocol

from deployments.channel.frames import CREDIT, END, ERR, OPEN, RESET, BadFrame, decode_number, encode_number
from deployments.streams.codec import Left, Lost, decode, decode_error, encode, encode_error
from graphs.errors import AnabranchError, ComponentFailed
from graphs.stream import Batch, Chunk

WINDOW = 256 * 1024
HALF = WINDOW // 2
COST = 64
"""What a chunk costs beside its bytes: even empty ones are not free."""
WHOLE = b"whole"
"""The body of an OPEN whose one chunk is the whole answer, too large for the call's own return."""
BURST = 32
"""Chunks a producer may put before the other tasks of its loop, and the socket, get their turn."""


class Carrier(Protocol):
    """What an end asks of its connection."""

    paused: bool

    def send(self, kind: int, stream: int, body: bytes = b"") -> None: ...
    def flush(self) -> None: ...
    def forget(self, stream: int) -> None: ...


class End:
    """One end of a stream, and what it waits for."""

    def __init__(self, id: int) -> None:
        self.id = id
        self._news: asyncio.Future[None] | None = None

    def news(self) -> asyncio.Future[None]:
        """Return what is awaited until `wake`."""
        self._news = asyncio.get_running_loop().create_future()
        return self._news

    def wake(self) -> None:
        """Let what waits look again."""
        news, self._news = self._news, None
        if news is not None and not news.done():
            news.set_result(None)


class Inlet(End):
    """The reading end of a stream, for one reader at a time."""

    def __init__(self, id: int) -> None:
        super().__init__(id)
        self.count = 0
        """Chunks received."""
        self.whole = False
        """The one chunk that comes is the whole answer."""
        self._carrier: Carrier | None = None
        self._ready: Batch = []
        self._ready_cost = 0
        self._taken = 0
        """Cost of what was read and not yet given back as credit."""
        self._under_way = 0
        """Cost of what the outlet has sent and not got back: never more than it may."""
        self._ended = False
        self.error: BaseException | None = None
        """What the stream failed with."""

    @property
    def bound(self) -> bool:
        """Whether a connection carries this stream."""
        return self._carrier is not None

    @property
    def over(self) -> bool:
        """Whether nothing more can come."""
        return self._ended or self.error is not None

    def bind(self, carrier: Carrier) -> None:
        """Let `carrier` deliver."""
        self._carrier = carrier
        self.wake()

    async def opened(self) -> None:
        """Wait until the stream is bound to a connection, or over."""
        while not (self.bound or self.over):
            await self.news()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield everything that is there, as often as there is something; raise what the stream failed with."""
        while (batch := self.take()) is not None:
            if batch:
                yield batch
            else:
                await self.news()

    def take(self) -> Batch | None:
        """Return what is there, maybe nothing yet; None at the end. Raise what the stream failed with."""
        if self._ready:
            batch, self._ready = self._ready, []
            self._give_back()
            return batch
        if self.error is not None:
            raise self.error
        return None if self._ended else []

    def deliver(self, kind: int, body: bytes) -> None:
        """Take a chunk's frame."""
        cost = len(body) + COST
        if self._under_way >= HALF and self._under_way + cost > WINDOW:
            raise BadFrame(f"{cost} bytes more than stream {self.id} has credit for")
        try:
            chunk = decode(kind, body)
        except ComponentFailed as error:
            self._refuse(error)
            return
        self._under_way += cost
        self._ready_cost += cost
        self.count += 1
        self._ready.append(chunk)
        if self._news is not None:
            self.wake()

    def end(self, body: bytes) -> None:
        """Take the END frame."""
        count = decode_number(body)
        if count == self.count:
            self._ended = True
        else:
            self.error = Lost(f"the stream ended after {count} chunks, and {self.count} of them arrived")
        self._leave()

    def err(self, body: bytes) -> None:
        """Take the ERR frame."""
        self.fail(decode_error(body))

    def fail(self, error: BaseException) -> None:
        """End the stream with an error, read after what has arrived; the first end counts."""
        if not self.over:
            self.error = error
            self._leave()

    def close(self) -> None:
        """Stop reading: the producer is asked to stop."""
        self._ready, self._ready_cost = [], 0
        self._refuse(Left())

    def want(self) -> None:
        """Ask for a stream that the peer offers: its first credit starts it."""
        if self._carrier is not None:
            self._carrier.send(CREDIT, self.id, encode_number(WINDOW))

    def _refuse(self, error: BaseException) -> None:
        """End the stream from the reader's side: its producer is asked to stop."""
        if not self.over:
            if self._carrier is not None:
                self._carrier.send(RESET, self.id)
                self._carrier.flush()
            self.fail(error)

    def _give_back(self) -> None:
        self._taken += self._ready_cost
        self._ready_cost = 0
        if self._taken >= HALF and self._carrier is not None:
            if not self.over:
                self._carrier.send(CREDIT, self.id, encode_number(self._taken))
            self._under_way -= self._taken
            self._taken = 0

    def _leave(self) -> None:
        if self._carrier is not None:
            self._carrier.forget(self.id)
        self.wake()


class Outlet(End):
    """The writing end of a stream."""

    def __init__(self, id: int, carrier: Carrier) -> None:
        super().__init__(id)
        self.count = 0
        """Chunks sent."""
        self.on_stop: Callable[[], object] | None = None
        """Called once, when the reader leaves or the connection is lost."""
        self._carrier = carrier
        self._under_way = 0
        self._burst = BURST
        self._held: tuple[int, bytes] | None = None
        """A chunk that waits for credit."""
        self.stopped: Exception | None = None
        """Why no more chunks are taken: Left, or Lost."""
        self._over = False

    def open(self, whole: bool = False) -> None:
        """Announce the stream; the frame leaves with what follows. `whole`: it is one chunk, and that no stream."""
        self._carrier.send(OPEN, self.id, WHOLE if whole else b"")

    def put(self, chunk: Chunk) -> bool:
        """Send a chunk. False: `room` must be awaited before the next."""
        if self.stopped is not None:
            raise self.stopped
        kind, body = encode(chunk)
        cost = len(body) + COST
        if self._under_way >= HALF and self._under_way + cost > WINDOW:
            self._held = (kind, body)
            return False
        self._send(kind, body, cost)
        self._burst -= 1
        return self._burst > 0 and not self._carrier.paused

    async def room(self) -> None:
        """Wait until the next chunk may be put."""
        while True:
            if self.stopped is not None:
                raise self.stopped
            if self._held is not None:
                kind, body = self._held
                cost = len(body) + COST
                if self._under_way < HALF or self._under_way + cost <= WINDOW:
                    self._held = None
                    self._send(kind, body, cost)
            if self._held is None and not self._carrier.paused:
                break
            await self.news()
        if self._burst <= 0:
            await asyncio.sleep(0)
        self._burst = BURST

    def finish(self) -> None:
        """Say that the stream is complete."""
        self._end(END, encode_number(self.count))

    def fail(self, error: AnabranchError) -> None:
        """Say that the stream failed."""
        self._end(ERR, encode_error(error))

    def credit(self, body: bytes) -> None:
        """Take a CREDIT frame."""
        self._under_way = max(0, self._under_way - decode_number(body))
        self.wake()

    def stop(self, reason: Exception) -> None:
        """Take no more chunks: the reader left, or the connection is lost."""
        if self.stopped is None and not self._over:
            self.stopped = reason
            self._carrier.forget(self.id)
            self.wake()
            if self.on_stop is not None:
                self.on_stop()

    def _send(self, kind: int, body: bytes, cost: int) -> None:
        self._carrier.send(kind, self.id, body)
        self._under_way += cost
        self.count += 1
        if self.count == 1:
            self._carrier.flush()  # the first chunk waits for nothing, not even the end of this turn

    def _end(self, kind: int, body: bytes) -> None:
        if self.stopped is None and not self._over:
            self._over = True
            self._carrier.send(kind, self.id, body)
            self._carrier.forget(self.id)
