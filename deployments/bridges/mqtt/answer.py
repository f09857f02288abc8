"""The run of an answer in; its messages out, in order, each when the broker has the one before."""

from __future__ import annotations

import asyncio
import logging
from collections import deque
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any

from deployments.asgi.json_values import utf8
from deployments.bridges.mqtt.connection import Outgoing
from deployments.bridges.mqtt.link import Link, TooLong
from deployments.bridges.mqtt.payloads import JSON, TEXT, Address, chunk, failure
from deployments.conversations.pieces import Answer, Piece, as_delta
from deployments.conversations.reading import Reading
from deployments.gateway.running import Running
from deployments.runs.events import Delta, Finished, raise_failure
from graphs.errors import AnabranchError, ComponentFailed, TooLarge

logger = logging.getLogger("anabranch.mqtt")

MOST_WAITING = 64 * 1024
"""Characters of a streamed answer that wait for the broker; the rest stays in the log of its run."""
TEXTS = ("content", "reasoning_content", "refusal")
"""What several pieces of make one."""
ENVELOPE = 2048
"""Bytes of a message that aren't its text, at most."""
LONGEST_CHARACTER = 6
"""Bytes of a character in JSON, at most."""


class Sending:
    """An answer on its way to its client."""

    def __init__(self, running: Running, reading: Reading, address: Address, link: Link, most: int) -> None:
        """`most` is how many bytes a message may have."""
        self._running, self._reading = running, reading
        self._address, self._link, self._most = address, link, most

    async def whole(self) -> None:
        """Send the answer as one text, once it is whole."""
        answer = Answer()
        try:
            async for pieces in self._pieces():
                answer.add(pieces)
        except AnabranchError as error:
            await self._publish(failure(self._address, error))
            return
        text = utf8(answer.text)
        if len(text) > self._most or not await self._publish(text, TEXT):
            await self._publish(failure(self._address, _too_large(len(text))))

    async def streamed(self) -> None:
        """Send the answer in messages that are numbered from 0; the last one says how it ended.

        What comes while the broker hasn't acknowledged a message goes into the next one.
        """
        waiting = _Waiting((self._most - ENVELOPE) // LONGEST_CHARACTER)
        reading = asyncio.create_task(self._read(waiting))
        try:
            seq, is_end = 0, False
            while not is_end:
                said, is_end = await waiting.next()
                if not await self._publish(chunk(self._address, seq, said)):
                    await self._publish(chunk(self._address, seq, {"error": _too_large(self._most).message}))
                    return
                seq += 1
        finally:
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self, waiting: _Waiting) -> None:
        try:
            async for pieces in self._pieces():
                for piece in pieces:
                    if (said := as_delta(piece)) is not None:
                        await waiting.put(said)
            waiting.end({"done": True, "sessionId": self._running.run.context.session_id})
        except AnabranchError as error:
            waiting.end({"error": error.message})

    async def _pieces(self) -> AsyncGenerator[Sequence[Piece]]:
        """Yield the pieces of the answer; raise its failure."""
        try:
            async with aclosing(self._running):
                async for event in self._running:
                    raise_failure(event)
                    if isinstance(event, Delta):
                        yield self._reading.read(event)
                    elif isinstance(event, Finished):
                        yield self._reading.end(event)
        except AnabranchError:
            raise
        except Exception:
            # The one broad case: whatever happens, the client hears of it.
            logger.exception("run %s: its answer can't be read", self._running.run.id)
            raise ComponentFailed("internal error") from None

    async def _publish(self, payload: bytes, content_type: str = JSON) -> bool:
        """Publish a message; return whether the broker takes one of its size."""
        try:
            message = Outgoing(self._address.topic, payload, content_type, self._address.correlation)
            await self._link.publish(message, patient=True)
        except TooLong:
            return False
        return True


@dataclass
class _Text:
    """Pieces of text that go together."""

    name: str
    pieces: list[str]
    length: int


class _Waiting:
    """What has been said and not sent: pieces of text join, up to a length; reading waits while there is too much."""

    def __init__(self, longest: int) -> None:
        self._longest = longest
        self._said: deque[_Text | dict[str, Any]] = deque()
        self._length = 0
        self._ended = False
        self._news, self._room = asyncio.Event(), asyncio.Event()

    async def put(self, said: dict[str, Any]) -> None:
        """Add what a piece says."""
        while self._length > MOST_WAITING:
            self._room.clear()
            await self._room.wait()
        name, value = next(iter(said.items()))
        if name not in TEXTS:
            self._said.append(said)
        else:
            for start in range(0, len(value), self._longest):
                self._put_text(name, value[start : start + self._longest])
        self._news.set()

    def end(self, said: dict[str, Any]) -> None:
        """Add the last of all."""
        self._said.append(said)
        self._ended = True
        self._news.set()

    async def next(self) -> tuple[dict[str, Any], bool]:
        """Return what is to be sent next, and whether it is the last."""
        while not self._said:
            self._news.clear()
            await self._news.wait()
        first = self._said.popleft()
        if isinstance(first, dict):
            return first, self._ended and not self._said
        self._length -= first.length
        self._room.set()
        return {first.name: "".join(first.pieces)}, False

    def _put_text(self, name: str, text: str) -> None:
        last = self._said[-1] if self._said else None
        if isinstance(last, _Text) and last.name == name and last.length + len(text) <= self._longest:
            last.pieces.append(text)
            last.length += len(text)
        else:
            self._said.append(_Text(name, [text], len(text)))
        self._length += len(text)


def _too_large(size: int) -> TooLarge:
    return TooLarge(f"the answer is too large for one message ({size} bytes); ask with stream: true")
