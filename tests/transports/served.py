"""A gateway over a hand-made plan and a component under a test's control, behind a real server on 127.0.0.1."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import uvicorn
from aiohttp import ClientResponse, ClientSession
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.dev.uvicorn_internals import WebSockets
from deployments.gateway.gateway import Gateway
from deployments.runs.events import Invocation
from deployments.transports.app import build_app
from graphs.plan import Controller, Model, Options, OutputKind, Plan, Store, WorkflowPlan
from graphs.stream import Batch, Stream, Value
from tests.runs.builders import job, workflow

DEADLINE = 10.0
"""For events that must come; nothing waits this long unless it is broken."""

Invoke = Callable[[Invocation], Awaitable[Value]]


class Feed:
    """A component's stream: gives what it is told to, and tells when it is read and when it is closed."""

    def __init__(self, *chunks: Value, ends: bool = True) -> None:
        self.asked = asyncio.Event()
        self.closed = asyncio.Event()
        self._pieces: asyncio.Queue[Batch | BaseException | None] = asyncio.Queue()
        for chunk in chunks:
            self.give(chunk)
        if chunks and ends:
            self.end()

    def give(self, *batch: Value) -> None:
        self._pieces.put_nowait(list(batch))

    def end(self) -> None:
        self._pieces.put_nowait(None)

    def fail(self, error: BaseException) -> None:
        self._pieces.put_nowait(error)

    async def __call__(self, invocation: Invocation) -> Stream:
        async def close() -> None:
            self.closed.set()

        return Stream(self._batches(), close)

    async def _batches(self) -> AsyncIterator[Batch]:
        while True:
            self.asked.set()
            piece = await self._pieces.get()
            if piece is None:
                return
            if isinstance(piece, BaseException):
                raise piece
            yield piece


class Feeds:
    """A component whose every call is a feed of its own, named by the input."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = {}
        self.called: list[str] = []

    def __getitem__(self, name: str) -> Feed:
        return self._feeds.setdefault(name, Feed())

    async def __call__(self, invocation: Invocation) -> Stream:
        self.called.append(invocation.input)
        return await self[invocation.input](invocation)


def answering(value: Value) -> Invoke:
    """A component that answers at once."""

    async def invoke(invocation: Invocation) -> Value:
        if isinstance(value, BaseException):
            raise value
        return invocation.input if value is ... else value

    return invoke


def one(kind: OutputKind | None = None, id: str = "story", **fields: Any) -> WorkflowPlan:
    """A workflow of one job, whose output is the component's."""
    return replace(workflow(job("a", "${input}"), id=id), output_kind=kind or OutputKind(), **fields)


def plan(*workflows: WorkflowPlan, default: bool = True, **controller: Any) -> Plan:
    served = Controller(None, None, None, (), False, 1 << 20, None, Options(), Store(None))
    chosen = workflows or (one(),)
    known = {each.id: each for each in chosen}
    models = {id: Model(id, {"chat": id, "completion": id}, is_component=False) for id in known}
    return Plan(replace(served, **controller), {}, known, chosen[0].id if default else None, models=models)


@asynccontextmanager
async def replicas(
    invoke: Invoke, at: Path | str, /, *workflows: WorkflowPlan, count: int = 2, **controller: Any
) -> AsyncIterator[list[Gateway]]:
    """Some gateways of one plan over one store, as the ingress has replicas; closed at the end, as a shut-down does it."""
    url = at if isinstance(at, str) else f"sqlite:///{at}"
    served = plan(*workflows, **{"store": Store(url), **controller})
    gateways = [Gateway(served, invoke) for _ in range(count)]
    try:
        async with asyncio.timeout(2 * DEADLINE):
            yield gateways
    finally:
        async with asyncio.timeout(DEADLINE):
            for each in gateways:
                await each.aclose()


def app(invoke: Invoke, *workflows: WorkflowPlan, **options: Any) -> ASGIApp:
    return build_app(Gateway(plan(*workflows, **options), invoke))


@asynccontextmanager
async def serving(served: ASGIApp, within: float | None = 2 * DEADLINE) -> AsyncIterator[str]:
    """Serve an application in this very loop, for so many seconds at most; yields its address."""
    async with serving_all(served, within=within) as (address,):
        yield address


@asynccontextmanager
async def serving_all(*served: ASGIApp, within: float | None = 2 * DEADLINE) -> AsyncIterator[list[str]]:
    """Serve several applications, each at an address of its own; the first one's life is the server's."""
    listening = [socket.create_server(("127.0.0.1", 0)) for _ in served]
    ports = [each.getsockname()[1] for each in listening]

    async def app(scope: Scope, receive: Receive, send: Send) -> None:
        index = 0 if scope["type"] == "lifespan" else ports.index(scope["server"][1])
        await served[index](scope, receive, send)

    only = served[0] if len(served) == 1 else app
    config = uvicorn.Config(only, log_config=None, ws=WebSockets, http="httptools", timeout_graceful_shutdown=2)
    config.load()
    server = uvicorn.Server(config)
    server.lifespan = config.lifespan_class(config)
    await server.startup(sockets=listening)
    try:
        async with asyncio.timeout(within):
            yield [f"http://127.0.0.1:{port}" for port in ports]
    finally:
        await server.shutdown(sockets=listening)


class Wire:
    """A client that sees every byte."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.reader, self.writer = reader, writer

    async def ask(self, body: Any, *headers: str, path: str = "/workflows/runs", method: str = "POST") -> None:
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        lines = [f"{method} {path} HTTP/1.1", "Host: test", f"Content-Length: {len(data)}", *headers, "", ""]
        await self.send("\r\n".join(lines).encode() + data)

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await self.writer.drain()

    async def until(self, end: bytes) -> bytes:
        return await self.reader.readuntil(end)

    async def rest(self) -> bytes:
        """What comes until the server closes."""
        return await self.reader.read()

    async def head(self) -> tuple[int, dict[str, str]]:
        first, *lines = (await self.until(b"\r\n\r\n")).decode().strip().split("\r\n")
        headers = {name.lower(): value for name, value in (line.split(": ", 1) for line in lines)}
        return int(first.split()[1]), headers

    async def chunk(self) -> bytes:
        """One piece of a chunked body; empty at its end."""
        size = int(await self.until(b"\r\n"), 16)
        return (await self.reader.readexactly(size + 2))[:-2]

    async def leave(self) -> None:
        self.writer.close()
        with suppress(ConnectionError):
            await self.writer.wait_closed()


@asynccontextmanager
async def connected(address: str) -> AsyncIterator[Wire]:
    host, port = address.removeprefix("http://").split(":")
    wire = Wire(*await asyncio.open_connection(host, int(port)))
    try:
        yield wire
    finally:
        await wire.leave()


async def soon(event: asyncio.Event) -> None:
    """Wait for what must happen."""
    async with asyncio.timeout(DEADLINE):
        await event.wait()


async def asked(
    method: str,
    path: str,
    *,
    invoke: Any = None,
    headers: Mapping[str, str] = {},
    options: Mapping[str, Any] = {},
    **body: Any,
) -> tuple[ClientResponse, bytes]:
    async with (
        serving(app(invoke or answering(...), **options)) as address,
        ClientSession(auto_decompress=False) as session,
        session.request(method, address + path, headers=headers, **body) as response,
    ):
        return response, await response.read()
