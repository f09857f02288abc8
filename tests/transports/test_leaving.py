"""Clients that leave, that stop reading, and that wait in silence."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from fastapi import FastAPI

from deployments.gateway.gateway import Gateway
from deployments.runs.events import Invocation
from deployments.transports import runs
from graphs.plan import OutputKind
from graphs.stream import Batch, Stream
from tests.transports.served import Feed, app, connected, one, plan, serving, soon

TEXT = OutputKind("text", "sse-text")
STREAMED = {"output_only": True}
WAITED = {"output_only": False}


@pytest.mark.parametrize("body", [STREAMED, WAITED])
async def test_leaving_before_the_component_answers_cancels_its_call(body: dict[str, Any]) -> None:
    called, cancelled = asyncio.Event(), asyncio.Event()

    async def invoke(invocation: Invocation) -> Any:
        called.set()
        try:
            await asyncio.Event().wait()
        finally:
            cancelled.set()

    async with serving(app(invoke)) as address, connected(address) as wire:
        await wire.ask(body)
        await soon(called)
        await wire.leave()
        await soon(cancelled)


@pytest.mark.parametrize("body", [STREAMED, WAITED])
async def test_leaving_before_the_first_chunk_closes_the_stream(body: dict[str, Any]) -> None:
    feed = Feed()
    async with serving(app(feed, one(TEXT))) as address, connected(address) as wire:
        await wire.ask(body)
        await soon(feed.asked)
        await wire.leave()
        await soon(feed.closed)


async def test_leaving_in_the_middle_closes_the_stream() -> None:
    feed = Feed("one", ends=False)
    async with serving(app(feed, one(TEXT))) as address, connected(address) as wire:
        await wire.ask(STREAMED)
        await wire.head()
        await wire.chunk()
        await wire.leave()
        await soon(feed.closed)


async def test_leaving_while_a_task_is_joined_closes_the_stream() -> None:
    feed = Feed("one", ends=False)
    async with serving(app(feed, one(TEXT))) as address, connected(address) as wire:
        await wire.ask(WAITED)
        await soon(feed.asked)
        await wire.leave()
        await soon(feed.closed)


async def test_a_reader_that_stops_stops_the_producer_until_it_reads_again() -> None:
    produced = 0
    more = asyncio.Event()

    async def batches() -> AsyncIterator[Batch]:
        nonlocal produced
        while True:
            produced += 64 * 1024
            more.set()
            yield ["x" * 64 * 1024]

    async def invoke(invocation: Invocation) -> Stream:
        return Stream(batches())

    async with serving(app(invoke, one(TEXT))) as address, connected(address) as wire:
        wire.writer.transport.pause_reading()  # type: ignore[attr-defined]
        await wire.ask(STREAMED)
        await soon(more)
        stalled, turns = produced, 0
        while turns < 300:
            await asyncio.sleep(0)
            turns = turns + 1 if produced == stalled else 0
            stalled = produced
        assert stalled < 32 << 20
        more.clear()
        wire.writer.transport.resume_reading()  # type: ignore[attr-defined]
        while not more.is_set():
            assert await wire.reader.read(1 << 20)


async def test_silence_is_broken_by_comments_and_by_nothing_else() -> None:
    feed = Feed("one", ends=False)
    api = FastAPI()
    api.include_router(runs.routes(Gateway(plan(one(TEXT)), feed), heartbeat_every=0.02))
    async with serving(api) as address, connected(address) as wire:
        await wire.ask(STREAMED)
        await wire.head()
        assert await wire.chunk() == b"data: one\n\n"
        assert [await wire.chunk(), await wire.chunk()] == [b":\n\n", b":\n\n"]
        feed.give("two")
        feed.end()
        rest = [chunk async for chunk in _chunks(wire)]
        assert [chunk for chunk in rest if chunk != b":\n\n"] == [b"data: two\n\n", b"event: end\ndata:\n\n"]


async def test_bytes_have_no_heartbeat() -> None:
    feed = Feed(b"\xff", ends=False)
    api = FastAPI()
    api.include_router(runs.routes(Gateway(plan(), feed), heartbeat_every=0.005))
    async with serving(api) as address, connected(address) as wire, connected(address) as other:
        await wire.ask(STREAMED)
        await wire.head()
        await wire.chunk()
        for _ in range(5):
            await other.ask({}, path="/nowhere")
            await other.until(b"}")
        feed.give(b"\xfe")
        assert await wire.chunk() == b"\xfe"


async def _chunks(wire: Any) -> AsyncIterator[bytes]:
    while chunk := await wire.chunk():
        yield chunk
