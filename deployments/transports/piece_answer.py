"""The answer of one or more runs in the words of a vendor's API: encoded piece by piece while they come, or folded."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import aclosing
from typing import ClassVar, NamedTuple

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.asgi.client import Client, Cut
from deployments.asgi.errors import RUN_ID, answer_of
from deployments.asgi.json_values import json_bytes
from deployments.conversations.pieces import Piece
from deployments.conversations.reading import Reading
from deployments.gateway.running import Following, Running
from deployments.runs.events import Delta, Finished, raise_failure
from deployments.transports import sse
from graphs.errors import AnabranchError
from graphs.stream import Value


class Encoder(ABC):
    """Writes the pieces of one or more answers, the choices, in a vendor's words; for a whole answer it only folds them."""

    heartbeat: ClassVar[bytes] = sse.HEARTBEAT
    """What a stream says in silence."""
    run_headers: ClassVar[tuple[str, ...]] = (RUN_ID,)
    """The headers that have the id of the run, of the first where there are several."""

    @abstractmethod
    def encode(self, choice: int, pieces: Sequence[Piece]) -> bytes:
        """Return the events of the next pieces; the first call also gives what comes before them."""

    @abstractmethod
    def end(self) -> bytes:
        """Return what follows when all choices have ended."""

    @abstractmethod
    def error(self, error: AnabranchError) -> bytes:
        """Return the last event of a stream that failed."""

    @abstractmethod
    def add(self, choice: int, pieces: Sequence[Piece]) -> None:
        """Take the next pieces of an answer that isn't streamed."""

    @abstractmethod
    def whole(self) -> Value:
        """Return the answer that the pieces made."""


class Choice(NamedTuple):
    """A run, and what reads its pieces."""

    running: Running
    reading: Reading


class PieceAnswer(Response):
    """An answer at a vendor's API. When the client disconnects, its runs are left to what they were told then."""

    def __init__(
        self, choices: Sequence[Choice], encoder: Encoder, *, stream: bool, compression: bool, heartbeat_every: float
    ) -> None:
        self.status_code = 200
        self.background = None
        self._choices, self._encoder = choices, encoder
        self._stream, self._compression, self._heartbeat_every = stream, compression, heartbeat_every
        self._lock = asyncio.Lock()
        self._unread = False
        """Whether what failed is the reading of a kept run, not the run."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._client = Client(scope, receive, send)
        await self._client.attend(self._write(), self._heartbeat_every)

    @property
    def _run_id(self) -> str:
        return self._choices[0].running.run.id

    @property
    def _named(self) -> dict[str, str]:
        return dict.fromkeys(self._encoder.run_headers, self._run_id)

    async def _write(self) -> None:
        try:
            if len(self._choices) == 1:
                await self._read(0, self._choices[0])
            else:
                await self._read_all()
            await self._finish()
        except AnabranchError as error:
            await self._write_failure(error)

    async def _read_all(self) -> None:
        """Read all choices side by side; the first failure ends the others, and is the answer's."""
        try:
            async with asyncio.TaskGroup() as group:
                for index, choice in enumerate(self._choices):
                    group.create_task(self._read(index, choice))
        except* AnabranchError as failures:
            raise failures.exceptions[0] from None

    async def _read(self, index: int, choice: Choice) -> None:
        running, reading = choice
        try:
            async with aclosing(running):
                async for event in running:
                    if type(event) is Delta:
                        pieces = reading.read(event)
                        if pieces:
                            await self._take(index, pieces)
                        continue
                    raise_failure(event)
                    if isinstance(event, Finished):
                        await self._take(index, reading.end(event))
        except AnabranchError:
            self._unread = self._unread or (isinstance(running, Following) and not running.over)
            raise

    async def _take(self, index: int, pieces: Sequence[Piece]) -> None:
        if not self._stream:
            self._encoder.add(index, pieces)
        elif len(self._choices) == 1:
            await self._send(self._encoder.encode(index, pieces))
        else:
            async with self._lock:
                await self._send(self._encoder.encode(index, pieces))

    async def _send(self, body: bytes) -> None:
        if not self._client.started:
            named = [(name.lower().encode(), id.encode()) for name, id in self._named.items()]
            headers = [*sse.HEADERS, *named]
            await self._client.start(200, headers, heartbeat=self._encoder.heartbeat, compressed=self._compression)
        if body:
            await self._client.write(body)

    async def _finish(self) -> None:
        if self._stream:
            await self._client.end(self._encoder.end())
            return
        body = json_bytes(self._encoder.whole())
        await self._client.answer(Response(body, headers=self._named, media_type="application/json"))

    async def _write_failure(self, error: AnabranchError) -> None:
        """Write the error: as the answer, or as the last event of an answer that has begun."""
        if not self._client.started:
            await self._client.answer(answer_of(self._scope, error, self._run_id))
        elif self._unread:
            raise Cut(f"run {self._run_id}: {error.message}") from error
        else:
            await self._client.end(self._encoder.error(error))
