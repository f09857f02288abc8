"""The run of an answer in; its messages out, in order, each when the broker has the one before."""

from __future__ import annotations

import logging
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing
from typing import Any

from deployments.asgi.json_values import utf8
from deployments.bridges.mqtt.connection import Outgoing
from deployments.bridges.mqtt.link import Link
from deployments.bridges.mqtt.payloads import JSON, TEXT, Address, chunk, failure
from deployments.bridges.mqtt.window import TooLong
from deployments.conversations.pieces import Answer, Piece, as_delta
from deployments.conversations.reading import Reading
from deployments.gateway.running import Running
from deployments.runs.events import Delta, Finished, raise_failure
from graphs.errors import AnabranchError, ComponentFailed, TooLarge

logger = logging.getLogger("anabranch.mqtt")

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
            async with aclosing(self._pieces()) as all:
                async for pieces in all:
                    answer.add(pieces)
            text = utf8(answer.text)
            if len(text) > self._most:
                raise _too_large(len(text))
            message = self._outgoing(text, TEXT)
        except AnabranchError as error:
            message = self._outgoing(failure(self._address, error))
        try:
            await self._link.publish(message, patient=True)
        except TooLong:
            error = _too_large(len(message.payload))
            await self._link.publish(self._outgoing(failure(self._address, error)), patient=True)

    async def streamed(self, after: int = -1) -> None:
        """Send what follows a number of the answer, in messages that are numbered from 0; the last one says how it ended.

        A number always stands for the same piece: what is told again, after a restart too, can be told from what is new.
        """
        self._seq = 0
        try:
            await self._link.publish_all(self._messages(after))
        except TooLong:
            error = {"error": _too_large(self._most).message}
            await self._link.publish(self._outgoing(chunk(self._address, self._seq, error)), patient=True)

    async def _messages(self, after: int) -> AsyncGenerator[Outgoing]:
        async with aclosing(self._said()) as all:
            async for said in all:
                if self._seq > after:
                    yield self._outgoing(chunk(self._address, self._seq, said))
                self._seq += 1

    async def _said(self) -> AsyncGenerator[dict[str, Any]]:
        """Yield what the messages say, the end last."""
        longest = (self._most - ENVELOPE) // LONGEST_CHARACTER
        try:
            async with aclosing(self._pieces()) as all:
                async for pieces in all:
                    for said in filter(None, map(as_delta, pieces)):
                        name, value = next(iter(said.items()))
                        if isinstance(value, str) and len(value) > longest:
                            for start in range(0, len(value), longest):
                                yield {name: value[start : start + longest]}
                        else:
                            yield said
        except AnabranchError as error:
            yield {"error": error.message}
        else:
            yield {"done": True, "sessionId": self._running.run.context.session_id}

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

    def _outgoing(self, payload: bytes, content_type: str = JSON) -> Outgoing:
        return Outgoing(self._address.topic, payload, content_type, self._address.correlation)


def _too_large(size: int) -> TooLarge:
    return TooLarge(f"the answer is too large for one message ({size} bytes); ask with stream: true")
