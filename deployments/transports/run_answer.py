"""The answer of one run, written while its events come: its output, its task, or its stream as server-sent events."""

from __future__ import annotations

import asyncio
import time
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import NamedTuple

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.asgi.client import Client, Cut
from deployments.asgi.errors import RUN_ID, error_json, error_response
from deployments.asgi.guards import HEAD
from deployments.asgi.json_values import json_bytes
from deployments.gateway.entries import ENDS, Entry
from deployments.gateway.running import Following, Running
from deployments.runs.events import Delta, Finished, raise_failure
from deployments.transports import sse
from deployments.transports.task_json import completed_task
from graphs.errors import AnabranchError, Cancelled, Conflict
from graphs.plan import OutputKind

HEARTBEAT_EVERY = 15.0
"""Seconds of silence after which a stream sends a heartbeat."""
PRIMING = 16
"""Chunks before the first that a reader asks for, which the encoder reads to know the state it is in: a character that bytes
left incomplete, a line end between two chunks."""


class RunAnswer(Response):
    """The answer of one run, written while its events come; a client that disconnects leaves the run to what it was told then."""

    def __init__(
        self, running: Running, output_only: bool, compression: bool, heartbeat_every: float, *, numbered: bool = False
    ) -> None:
        """With `numbered`, each event of a stream bears its number."""
        self.status_code = 200
        self.background = None
        self._running = running
        self._output_only = output_only
        self._compression = compression
        self._heartbeat_every = heartbeat_every
        self._numbered = numbered
        self._encoder: sse.Encoder | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._client = Client(scope, receive, send)
        await self._client.attend(self._write(), self._heartbeat_every)

    @property
    def _number(self) -> int | None:
        return self._running.number if self._numbered else None

    async def _write(self) -> None:
        try:
            async with aclosing(self._running):
                if self._output_only:
                    await self._write_output()
                else:
                    finished = await self._running.finish()
                    now = self._running.at if isinstance(self._running, Following) else time.time()
                    await self._write_json(completed_task(self._running.run, finished.output, now))
        except AnabranchError as error:
            await self._write_failure(error)

    async def _write_output(self) -> None:
        """Write the output while it comes. Nothing is sent before the first event that has content: it decides the format."""
        kind = self._running.kind
        async for event in self._running:
            if isinstance(event, Delta):
                encoder = self._encoder
                if encoder is None:
                    encoder = self._encoder = sse.encoder(kind, event)
                    if encoder is None:
                        continue
                body = self._with_numbers(encoder, event) if self._numbered else encoder.encode(event)
                if body:
                    if not self._client.started:
                        await self._start(encoder)
                    await self._client.write(body)
                continue
            raise_failure(event)
            if isinstance(event, Finished):
                await self._finish(event)

    def _with_numbers(self, encoder: sse.Encoder, delta: Delta) -> bytes:
        if (number := self._running.number) is None or isinstance(encoder, sse.RawBytes):
            return encoder.encode(delta)
        return sse.numbered(encoder, delta, number)

    async def _write_failure(self, error: AnabranchError) -> None:
        """Write the error: as the answer, or as the last event of an answer that has begun."""
        run_id = self._running.run.id
        unread = isinstance(self._running, Following) and not self._running.over
        if not self._client.started:
            if isinstance(error, Cancelled):
                error.status = Conflict.status  # nobody else's client but this one is there to read it
            await self._client.answer(error_response(error, run_id))
        elif unread or isinstance(self._encoder, sse.RawBytes):
            raise Cut(f"run {run_id}: {error.message}") from error
        else:
            await self._client.end(sse.error_event(error_json(error, run_id), self._number))

    async def _finish(self, finished: Finished) -> None:
        if not finished.streamed:
            await self._write_json(json_bytes(finished.output))
            return
        encoder = self._encoder or sse.TextEvents()
        if not self._client.started:
            await self._start(encoder)
        await self._client.end(encoder.end(self._number))

    async def _start(self, encoder: sse.Encoder) -> None:
        run_id = (RUN_ID.lower().encode(), self._running.run.id.encode())
        if isinstance(encoder, sse.RawBytes):
            await self._client.start(200, [*sse.RAW_HEADERS, run_id])
        else:
            headers = [*sse.HEADERS, run_id]
            await self._client.start(200, headers, heartbeat=sse.HEARTBEAT, compressed=self._compression)

    async def _write_json(self, body: bytes) -> None:
        headers = {RUN_ID: self._running.run.id}
        await self._client.answer(Response(body, headers=headers, media_type="application/json"))


class How(NamedTuple):
    """How a log is written."""

    compression: bool
    heartbeat_every: float
    real_pace: bool = False


class LogAnswer(Response, ABC):
    """What a kept run says after a number, as server-sent events with their numbers; 204 if it has said all before."""

    def __init__(self, running: Following, after: int, how: How) -> None:
        """`running` is read from some entries before the number on, which are not sent."""
        self.status_code = 200
        self.background = None
        self.running, self.after = running, after
        self._how = how

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if HEAD in scope:
            await self.running.aclose()
            await Response(headers=self._named, media_type="text/event-stream")(scope, receive, send)
            return
        self._client = Client(scope, receive, send)
        await self._client.attend(self._write(), self._how.heartbeat_every)

    @property
    def _named(self) -> dict[str, str]:
        return {RUN_ID: self.running.run.id}

    async def _write(self) -> None:
        run_id = self.running.run.id
        try:
            async with aclosing(self.running.entries()) as entries:
                if not self.running.info.ended:
                    await self._start()
                async for entry in self._paced(entries):
                    await self._write_entry(entry)
            if not self._client.started:
                await self._client.answer(Response(status_code=204, headers=self._named))
            else:
                await self._client.end()
        except AnabranchError as error:
            if self._client.started:
                # Of the reading, not of the run: the client is to come back, and hears then what is the matter.
                raise Cut(f"run {run_id}: {error.message}") from error
            await self._client.answer(error_response(error, run_id))

    async def _paced(self, entries: AsyncIterator[Entry]) -> AsyncIterator[Entry]:
        """Yield the entries; at their own pace, where that is asked for."""
        clock, behind = asyncio.get_running_loop().time, None
        async for entry in entries:
            if self._how.real_pace and entry.last > self.after:
                behind = clock() - entry.at if behind is None else behind
                await asyncio.sleep(entry.at + behind - clock())
            yield entry

    async def _write_entry(self, entry: Entry) -> None:
        body = self.encode(entry)
        if body:
            if not self._client.started:
                await self._start()
            await self._client.write(body)

    async def _start(self) -> None:
        headers = [*sse.HEADERS, (RUN_ID.lower().encode(), self.running.run.id.encode())]
        await self._client.start(200, headers, heartbeat=sse.HEARTBEAT, compressed=self._how.compression)

    @abstractmethod
    def encode(self, entry: Entry) -> bytes:
        """Return the events of an entry; nothing for one that isn't asked for."""


class OutputOfLog(LogAnswer):
    """The output of a kept run, as the request that started it got it, but always as server-sent events."""

    _encoder: sse.Encoder | None = None

    def encode(self, entry: Entry) -> bytes:
        if isinstance(entry.event, Delta):
            encoder = self._encoder = self._encoder or _encoder(
                self.running.kind, self.running.info.format, entry.event
            )
            known = entry.first <= self.after
            if known and encoder is not None:
                encoder.encode(entry.event)
            return b"" if known or encoder is None else sse.numbered(encoder, entry.event, entry.first)
        if entry.first <= self.after or not isinstance(entry.event, ENDS):
            return b""
        try:
            raise_failure(entry.event)
        except AnabranchError as error:
            return sse.error_event(error_json(error, self.running.run.id), entry.first)
        assert isinstance(entry.event, Finished)
        return self._end(entry.event, entry.first)

    def _end(self, finished: Finished, number: int) -> bytes:
        encoder = (
            self._encoder or _encoder(self.running.kind, self.running.info.format, Delta([""])) or sse.TextEvents()
        )
        whole = b""
        if not finished.streamed and self.after < number - 1:
            # The number before the end's is that of the end of a job, which this stream doesn't show.
            whole = sse.marked(encoder.encode(Delta([finished.output])), number - 1)
        return whole + encoder.end(number)


def _encoder(kind: OutputKind, format: str | None, first: Delta) -> sse.Encoder | None:
    """Return the encoder of a stream whose first chunk was of this format; bytes are base64 here."""
    if format == "named" or (format == "bytes" and kind.format is None):
        return sse.JsonEvents()
    encoder = sse.TextEvents() if format == "text" and kind.format is None else sse.encoder(kind, first)
    return sse.JsonEvents() if isinstance(encoder, sse.RawBytes) else encoder
