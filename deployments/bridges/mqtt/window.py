"""Messages in; each sent in order, several on their way at once, and again what a lost connection leaves open."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import AsyncGenerator

from deployments.bridges.mqtt.connection import Connection, Outgoing, Receipt, Taken

WINDOW = 16
"""Messages of one answer that are on their way at once."""
UNREAD_PAUSE, LONGEST_UNREAD_PAUSE = 0.1, 2.0
"""Seconds between two tries to publish what nobody reads yet: after a broker's restart its clients come back one by one."""


class Undelivered(Exception):
    """The broker takes the message from nobody, or to nobody; the message says why in one line."""


class TooLong(Undelivered):
    """The broker takes no message of this size."""


class Unread:
    """How long it has been that nobody reads a topic."""

    def __init__(self, longest: float) -> None:
        self._longest = longest
        self.is_read()

    def is_read(self) -> None:
        """Begin anew."""
        self._pause, self._until = UNREAD_PAUSE, time.monotonic() + self._longest

    async def pause(self, topic: str) -> None:
        """Wait before the next try; raise Undelivered after the last."""
        if time.monotonic() > self._until:
            raise Undelivered(f"nobody reads {topic}")
        await asyncio.sleep(self._pause)
        self._pause = min(2 * self._pause, LONGEST_UNREAD_PAUSE)


class Window:
    """Messages on their way: those that were read and aren't acknowledged."""

    def __init__(self, messages: AsyncGenerator[Outgoing]) -> None:
        self._messages = messages
        self._open: deque[Outgoing] = deque()
        self._reading: asyncio.Future[Outgoing | None] | None = None
        self._ended = False

    @property
    def is_empty(self) -> bool:
        """Whether all were read and acknowledged."""
        return self._ended and not self._open

    @property
    def first(self) -> Outgoing:
        return self._open[0]

    async def aclose(self) -> None:
        """Read no more."""
        if self._reading is not None:
            self._reading.cancel()
            await asyncio.wait([self._reading])
        await self._messages.aclose()

    async def send(self, connection: Connection, unread: Unread | None) -> Taken:
        """Send all, over one connection; return what keeps it from that, or SENT. `unread` None takes no notice of readers."""
        sent: deque[asyncio.Future[Receipt]] = deque()
        while not self.is_empty:
            while len(sent) < len(self._open):
                message = self._open[len(sent)]
                if not connection.fits(message):
                    raise TooLong(f"the broker takes no message of {message.size} bytes")
                sent.append(connection.publish(message))
            if self._reading is None and not self._ended and len(self._open) < WINDOW:
                self._reading = asyncio.ensure_future(anext(self._messages, None))
            if not await connection.progress(sent[0] if sent else None, self._reading):
                return Taken.LOST
            if self._reading is not None and self._reading.done():
                self._take(self._reading.result())
            while sent and sent[0].done():
                if not self._taken(sent.popleft().result(), unread):
                    return Taken.UNREAD
        return Taken.SENT

    def _taken(self, receipt: Receipt, unread: Unread | None) -> bool:
        """Hear what the broker says of the first message; return whether that is done with."""
        if receipt.taken is Taken.DROPPED:
            raise Undelivered(f"the broker drops what is published on {self.first.topic}: {receipt.why}")
        if unread is not None:
            if receipt.taken is Taken.UNREAD:
                return False
            unread.is_read()
        self._open.popleft()
        return True

    def _take(self, message: Outgoing | None) -> None:
        self._reading = None
        if message is None:
            self._ended = True
        else:
            self._open.append(message)
