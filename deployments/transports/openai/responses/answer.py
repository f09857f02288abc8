"""The answer of a response over HTTP: its events as server-sent events, or the whole of it."""

from __future__ import annotations

from collections.abc import Iterable
from contextlib import aclosing

from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.asgi.client import Client, Cut
from deployments.asgi.errors import answer_of
from deployments.asgi.json_values import json_bytes, utf8
from deployments.transports import sse
from deployments.transports.openai.errors import RUN_HEADERS
from deployments.transports.openai.responses.encoder import Event
from deployments.transports.openai.responses.run import ResponseRun
from graphs.errors import AnabranchError


class ResponseAnswer(Response):
    """Reads a response for a client. When that disconnects, the run is left to what it was told then."""

    def __init__(
        self, run: ResponseRun, *, stream: bool, compression: bool, heartbeat_every: float, after: int = -1
    ) -> None:
        """`after` is the number of the last event that the client has seen."""
        self.status_code = 200
        self.background = None
        self._run, self._stream, self._after = run, stream, after
        self._compression, self._heartbeat_every = compression, heartbeat_every

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        self._scope = scope
        self._client = Client(scope, receive, send)
        await self._client.attend(self._write(), self._heartbeat_every)

    async def _write(self) -> None:
        run_id = self._run.about.run
        try:
            if self._stream:
                await self._write_events()
            else:
                await self._client.answer(response_answer(self._run, await self._run.whole()))
        except AnabranchError as error:
            if self._client.started:
                # Of the reading, not of the run: the client is to come back, and hears then what is the matter.
                raise Cut(f"run {run_id}: {error.message}") from error
            await self._client.answer(answer_of(self._scope, error, run_id))

    async def _write_events(self) -> None:
        async with aclosing(self._run.events(self._after)) as events:
            async for some in events:
                if not self._client.started:
                    await self._start()
                await self._client.write(_sse(some))
        if not self._client.started:
            await self._start()
        await self._client.end()

    async def _start(self) -> None:
        named = [(name.lower().encode(), self._run.about.run.encode()) for name in RUN_HEADERS]
        headers = [*sse.HEADERS, *named]
        await self._client.start(200, headers, heartbeat=sse.HEARTBEAT, compressed=self._compression)


def response_answer(run: ResponseRun, response: dict[str, object]) -> Response:
    """Return the answer that is a response."""
    return Response(
        json_bytes(response), headers=dict.fromkeys(RUN_HEADERS, run.about.run), media_type="application/json"
    )


def _sse(events: Iterable[Event]) -> bytes:
    return utf8("".join(f"event: {event.type}\ndata: {event.text}\n\n" for event in events))
