"""Answers that come when all is there: a server and a way to ask it in, the CPU of a request out."""

from __future__ import annotations

import asyncio
import time
from dataclasses import asdict, dataclass

import aiohttp

from bench.doors_ways import Way
from bench.systems import START_WITHIN, Server
from bench.wire import BadLoad

TIMEOUT = aiohttp.ClientTimeout(total=START_WITHIN)
AT_ONCE = 16
WORDS = 50
"""In each answer."""


@dataclass(frozen=True)
class Whole:
    """What was measured of one start of one row."""

    cpu: float
    """Seconds a request, of all the server's processes; what they take idle is in it."""
    per_second: float

    def as_json(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


async def measure_whole(server: Server, way: Way, requests: int) -> Whole:
    """Send so many requests over connections that stay open, after a tenth of them that isn't counted."""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        await _send(session, server, way, requests // 10)
        server.processes.find()
        cpu, began = server.processes.cpu(), time.monotonic()
        await _send(session, server, way, requests)
        took = time.monotonic() - began
        return Whole((server.processes.cpu() - cpu) / requests, requests / took)


async def wake(server: Server, way: Way) -> None:
    """Wait for one whole answer: a server may load what it needs with the first request."""
    async with aiohttp.ClientSession(timeout=TIMEOUT) as session:
        await _send(session, server, way, 1)


async def _send(session: aiohttp.ClientSession, server: Server, way: Way, requests: int) -> None:
    fields = {"repeat": WORDS, "interval": 0.0}
    body, url = {**(way.whole or {}), "input": fields}, way.of(server).url.format_map(fields)
    left = iter(range(requests))

    async def send() -> None:
        for _ in left:
            async with session.post(url, json=body) as answer:
                said = await answer.text()
            if answer.status != 200 or said.count("time") < WORDS // 4:
                raise BadLoad(f"expected 200 and {WORDS} words, got {answer.status}: {said[:500]}")

    await asyncio.gather(*(send() for _ in range(AT_ONCE)))
