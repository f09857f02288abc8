"""One run's HTTP answer: its events in; JSON, Server-Sent Events or raw bytes out. The path of every chunk: kept short."""

from __future__ import annotations

import asyncio
import time
import zlib
from collections.abc import AsyncIterator, Callable
from datetime import UTC, datetime

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.events import Cancelled, Delta, Event, Failed, Finished, JobDone, Started
from deployments.gateway import Running
from deployments.transports import sse
from deployments.transports.responses import accepts_gzip, compressed_headers, error_data, error_response, json_response
from graphs import errors
from graphs.errors import AnabranchError
from graphs.plan import OutputKind
from graphs.stream import Batch, Note, Value, join_chunks

HEARTBEAT_AFTER = 15.0
"""Seconds of silence."""


class RunAnswer(Response):
    """Answers with the run's output. The client leaving, at any time, stops the run."""

    def __init__(
        self,
        running: Running,
        kind: OutputKind,
        *,
        output_only: bool,
        compression: bool = False,
        heartbeat_after: float = HEARTBEAT_AFTER,
    ) -> None:
        super().__init__()
        self._running = running
        self._kind = kind
        self._output_only = output_only
        self._compression = compression
        self._heartbeat_after = heartbeat_after

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        answer = asyncio.create_task(self._answer(scope, receive, send))
        left = asyncio.create_task(_client_left(receive))
        try:
            await asyncio.wait({answer, left}, return_when=asyncio.FIRST_COMPLETED)
        finally:
            left.cancel()
            if not answer.done():
                answer.cancel()
            await asyncio.wait({answer, left})
        if not answer.cancelled():
            answer.result()

    async def _answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        events = aiter(self._running)
        try:
            if not self._output_only:
                await (await self._task(events))(scope, receive, send)
                return
            first = await _first(events)
            if not isinstance(first, Delta):
                await self._plain(first)(scope, receive, send)
            elif _is_bytes(first.chunks) and self._kind.format is None and first.name is None:
                await self._raw(first, events, send)
            else:
                await self._stream(first, events, scope, send)
        finally:
            await self._running.aclose()

    def _plain(self, event: Event) -> Response:
        run_id = self._running.run.id
        match event:
            case Finished(output=output, streamed=streamed):
                return json_response("" if streamed else output, headers={"X-Run-Id": run_id})
            case Failed(error=error):
                return error_response(error, run_id)
            case Cancelled(reason=reason):
                return error_response(errors.Cancelled(reason), run_id)
            case _:
                raise AssertionError("a run's last event is its end")

    async def _task(self, events: AsyncIterator[Event]) -> Response:
        """Wait for the end and answer the task, a streamed output joined."""
        gathered: dict[str | None, list[Value]] = {}
        async for event in events:
            match event:
                case Delta(chunks=chunks, name=name):
                    gathered.setdefault(name, []).extend(chunk for chunk in chunks if not isinstance(chunk, Note))
                case Finished(output=output, streamed=streamed):
                    return self._completed(_joined(gathered) if streamed else output)
                case Failed() | Cancelled():
                    return self._plain(event)
                case Started() | JobDone():
                    pass
        raise AssertionError("a run's last event is its end")

    def _completed(self, output: Value) -> Response:
        run = self._running.run
        task = {
            "task_id": run.id,
            "workflow_id": run.workflow,
            "status": "completed",
            "output": output,
            "created_at": _iso(run.started_at),
            "completed_at": _iso(time.time()),
        }
        return json_response(task, headers={"X-Run-Id": run.id})

    async def _stream(self, first: Delta, events: AsyncIterator[Event], scope: Scope, send: Send) -> None:
        headers = [*sse.HEADERS, (b"x-run-id", self._running.run.id.encode())]
        pack: Callable[[bytes], bytes] | None = None
        if self._compression and accepts_gzip(scope):
            headers, pack = compressed_headers(headers, None), _packer()
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        wire = _Wire(send, pack, self._heartbeat_after)
        encoders: dict[str | None, sse.Encode] = {}
        try:
            event: Event = first
            while True:
                if isinstance(event, Delta):
                    encode = encoders.get(event.name)
                    if encode is None:
                        encode = encoders[event.name] = sse.encoder(self._kind.format, event.name)
                    if body := encode(event.chunks):
                        await wire.send(body)
                elif (last := self._last(event)) is not None:
                    await wire.end(last)
                    return
                event = await anext(events)
        except AnabranchError as error:  # a chunk that has no JSON form
            await wire.end(sse.error_event(error_data(error, self._running.run.id)))
        finally:
            wire.stop()

    def _last(self, event: Event) -> bytes | None:
        match event:
            case Finished():
                return sse.END
            case Failed(error=error):
                return sse.error_event(error_data(error, self._running.run.id))
            case Cancelled(reason=reason):
                return sse.error_event(error_data(errors.Cancelled(reason), self._running.run.id))
            case _:
                return None

    async def _raw(self, first: Delta, events: AsyncIterator[Event], send: Send) -> None:
        """Bytes as they come. There is no way to tell an error in them: the body is left without its end."""
        headers = [(b"content-type", b"application/octet-stream"), (b"x-run-id", self._running.run.id.encode())]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        event: Event = first
        while True:
            match event:
                case Delta(chunks=chunks):
                    body = b"".join(c if isinstance(c, bytes) else str(c).encode() for c in chunks if not isinstance(c, Note))
                    if body:
                        await send({"type": "http.response.body", "body": body, "more_body": True})
                case Finished():
                    await send({"type": "http.response.body", "body": b"", "more_body": False})
                    return
                case Failed(error=error):
                    raise error
                case Cancelled(reason=reason):
                    raise errors.Cancelled(reason)
                case Started() | JobDone():
                    pass
            event = await anext(events)


class _Wire:
    """Sends the body's pieces, and a heartbeat whenever nothing was sent for a while; one timer, never one a chunk."""

    def __init__(self, send: Send, pack: Callable[[bytes], bytes] | None, heartbeat_after: float) -> None:
        self._send = send
        self._pack = pack
        self._every = heartbeat_after
        self._loop = asyncio.get_running_loop()
        self._last = self._loop.time()
        self._sending = False
        self._beat: asyncio.Task[None] | None = None
        self._timer = self._loop.call_later(self._every, self._on_time)

    async def send(self, body: bytes) -> None:
        if self._beat is not None:
            await asyncio.wait([self._beat])
            self._beat = None
        self._sending = True
        await self._send({"type": "http.response.body", "body": self._packed(body), "more_body": True})
        self._sending = False
        self._last = self._loop.time()

    async def end(self, body: bytes) -> None:
        await self.send(body)
        await self._send({"type": "http.response.body", "body": b"", "more_body": False})

    def stop(self) -> None:
        self._timer.cancel()
        if self._beat is not None:
            self._beat.cancel()

    def _packed(self, body: bytes) -> bytes:
        return body if self._pack is None else self._pack(body)

    def _on_time(self) -> None:
        due = self._last + self._every - self._loop.time()
        if due <= 0 and not self._sending:
            self._beat = self._loop.create_task(
                self._send({"type": "http.response.body", "body": self._packed(sse.HEARTBEAT), "more_body": True})
            )
            self._last = self._loop.time()
        self._timer = self._loop.call_later(due if due > 0 else self._every, self._on_time)


def _packer() -> Callable[[bytes], bytes]:
    stream = zlib.compressobj(5, zlib.DEFLATED, 31)
    return lambda body: stream.compress(body) + stream.flush(zlib.Z_SYNC_FLUSH)


async def _first(events: AsyncIterator[Event]) -> Event:
    """Return the event that decides the answer: the first chunk that says something, or the end."""
    async for event in events:
        if isinstance(event, Delta) and all(isinstance(chunk, Note) for chunk in event.chunks):
            continue
        if not isinstance(event, Started | JobDone):
            return event
    raise AssertionError("a run's last event is its end")


async def _client_left(receive: Receive) -> None:
    while (await receive())["type"] != "http.disconnect":
        pass


def _is_bytes(chunks: Batch) -> bool:
    return any(isinstance(chunk, bytes) for chunk in chunks)


def _joined(gathered: dict[str | None, list[Value]]) -> Value:
    if set(gathered) <= {None}:
        return join_chunks(gathered.get(None, []))
    return {name: join_chunks(chunks) for name, chunks in gathered.items() if name is not None}


def _iso(timestamp: float) -> str:
    return datetime.fromtimestamp(timestamp, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
