"""Two servers over one store in; out, what becomes of streams that are cut, of many readers, and of those at the other server."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

from bench.processes import Process
from bench.resuming_client import Event, Reading, followed, port_of, posted, started, text_of
from bench.systems import RUN, Server
from bench.wire import BadLoad

AT_ONCE = 100
CHUNKS = 60
INTERVAL = 0.02
WORDS = ("다시", "naïve", "two\nlines", "data:", "id: 7", "event: end", "", ":", "plain", "x" * 300)
"""What might be taken for something else on the wire."""

READERS_CHUNKS = 50
READERS_INTERVAL = 0.1
SETTLED = 3.0
"""Seconds after which a run that has ended is all in the store, and out of memory."""

DELAY_RUNS = 16
DELAY_INTERVAL = 0.02


@dataclass(frozen=True)
class Cut:
    """One stream that was cut: where its client was, and whether it got its text."""

    in_chunks: bool
    elsewhere: bool
    failed: str | None


async def cut_streams(servers: Sequence[Server], count: int) -> list[Cut]:
    """Cut `count` streams, each at a random byte; half by RST; a tenth is taken up at the other server."""
    chance = random.Random(10)
    places = asyncio.Semaphore(AT_ONCE)

    async def one(number: int) -> Cut:
        async with places:
            return await _cut_one(servers, random.Random(chance.random()), number)

    return await asyncio.gather(*(one(number) for number in range(count)))


async def _cut_one(servers: Sequence[Server], chance: random.Random, number: int) -> Cut:
    owner, other = (servers if number % 2 else tuple(reversed(servers)))[:2]
    there = other if number % 10 == 0 else owner
    text = "".join(f"{chance.choice(WORDS)}{place} " for place in range(CHUNKS))
    body = {**RUN, "resumable": True, "input": {"text": text, "repeat": 1, "interval": INTERVAL}}
    # Every byte of the text is at least one on the wire: the stream is longer than this.
    at = int(chance.random() * 1.3 * len(text.encode()))
    key = f"cut {number}"
    try:
        first = Reading(posted(owner.port, body, key), at, reset=number % 4 < 2)
        await first.read(port_of(owner.url))
        if not first.was_cut:
            raise BadLoad("the stream had ended before it was cut")
        events = list(first.events)
        if first.run:
            again = followed(there.port, first.run, events[-1].number if events else None)
        else:  # its client doesn't even know of the run: it asks once more, and gets the same one
            again = posted(there.port, body, key)
        events += (await Reading(again).read(port_of(there.url))).events
        got = text_of(events)
        failed = None if got == text else f"expected {text!r}, got {got!r}"
    except (BadLoad, OSError, TimeoutError) as error:
        return Cut(False, there is other, f"{type(error).__name__}: {error}")
    return Cut(bool(first.events), there is other, failed)


@dataclass(frozen=True)
class Crowd:
    """Many readers: of how many all came, and what the servers' processes took before, during and after, in bytes."""

    title: str
    readers: int
    complete: int
    before: int
    most: int
    after: int


async def crowd(servers: Sequence[Server], title: str, runs: int, readers: int, *, elsewhere: bool) -> Crowd:
    """Start runs, let each be read by so many, at its owner's or at the other server, and look at what reads."""
    owner, other = servers
    there = other if elsewhere else owner
    text = "".join(f"{place}-{'y' * 100} " for place in range(READERS_CHUNKS))
    body = {**RUN, "input": {"text": text, "repeat": 1, "interval": READERS_INTERVAL}}
    before = _sum(there.processes.resident())
    ids = [await started(owner.port, body) for _ in range(runs)]
    reading = [asyncio.create_task(_whole(there, id)) for id in ids for _ in range(readers)]
    most = before
    while not all(task.done() for task in reading):
        await asyncio.sleep(0.2)
        most = max(most, _sum(there.processes.resident()))
    complete = sum(got == text for got in await asyncio.gather(*reading))
    await asyncio.sleep(SETTLED)
    return Crowd(title, runs * readers, complete, before, most, _sum(there.processes.resident()))


async def _whole(server: Server, run: str) -> str | None:
    try:
        return text_of((await Reading(followed(server.port, run)).read(server.port)).events)
    except (BadLoad, OSError, TimeoutError):
        return None


@dataclass(frozen=True)
class Delay:
    """Seconds from a chunk's arrival at its owner's client to that at the other server's."""

    median: float
    p99: float
    worst: float
    chunks: int


async def delays(servers: Sequence[Server], seconds: float) -> Delay:
    """Read runs at both servers, and compare when the same chunk comes."""
    owner, other = servers
    text = "".join(f"{place} " for place in range(int(seconds / DELAY_INTERVAL)))
    body: dict[str, Any] = {**RUN, "resumable": True, "input": {"text": text, "repeat": 1, "interval": DELAY_INTERVAL}}
    pairs = await asyncio.gather(*(_pair(owner, other, body, number) for number in range(DELAY_RUNS)))
    late = sorted(late for pair in pairs for late in _late(*pair))
    return Delay(median(late), late[len(late) * 99 // 100], late[-1], len(late))


async def _pair(owner: Server, other: Server, body: dict[str, Any], number: int) -> tuple[list[Event], list[Event]]:
    await asyncio.sleep(number * 0.037)  # real runs don't tick together
    here = Reading(posted(owner.port, body))
    reading = asyncio.create_task(here.read(owner.port))
    await asyncio.wait([reading, asyncio.create_task(here.known.wait())], return_when=asyncio.FIRST_COMPLETED)
    there = await Reading(followed(other.port, here.run)).read(other.port)
    await reading
    return here.events, there.events


def _late(here: list[Event], there: list[Event]) -> list[float]:
    """Return by how much each chunk is later there; the first second, in which the follower joins, is left out."""
    came = {event.number: event.at for event in there}
    if text_of(here) != text_of(there):
        raise BadLoad("a follower got another text than its owner's client")
    return [came[event.number] - event.at for event in here if event.at > here[0].at + 1]


def _sum(sizes: Mapping[Process, int]) -> int:
    return sum(sizes.values())
