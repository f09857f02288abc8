"""The load: a URL and a shape of load in, what a client saw of it out, as JSON; a process of its own.

    python -m bench.load URL paced --streams 128          the gaps between chunks, at 50 chunks a second a stream
    python -m bench.load URL unpaced --streams 32         chunks as fast as they come
    python -m bench.load URL first                        the time to the first chunk, one stream at a time
    python -m bench.load URL first --together 64          the same, of paced streams that start in the same instant

A line `open` and a line `shut` on stdout frame the window of the paced load, for whoever counts the server's CPU.
"""

from __future__ import annotations

import argparse
import asyncio
import gc
import json
import sys
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from statistics import median
from time import perf_counter

import uvloop

from bench.wire import MARK, BadLoad, Reader, Target

RAMP = 0.5
"""Seconds over which paced streams start, so that their chunks are spread over the interval as real ones are."""

DISCARDED = 1.0
"""Seconds after the last beginning that are not measured."""

BEGUN_WITHIN = 30.0
"""Seconds in which all paced streams must have begun: a slow system takes longer to begin them than to go on with them."""

TOGETHER_CHUNKS = 25
"""What streams that start together go on with, so that the later ones begin beside what the earlier ones say."""

LIMIT = 5.0
"""Seconds after which an unpaced load is cut short: a slow system needs no more chunks to be known as slow."""


@dataclass(frozen=True)
class Paced:
    """What a window of paced streams showed."""

    chunks: int
    wanted: float
    """The chunks that the pace asks for in the window."""
    seconds: float
    gap_p50: float
    gap_p99: float
    load_cpu: float
    """The part of a core that the load tool itself took."""

    @property
    def kept(self) -> float:
        """Return which part of the pace was kept."""
        return self.chunks / self.wanted


@dataclass(frozen=True)
class Unpaced:
    """What streams without pauses showed."""

    chunks: int
    seconds: float
    load_cpu: float

    @property
    def per_chunk(self) -> float:
        """Return seconds of wall time a chunk."""
        return self.seconds / self.chunks


@dataclass(frozen=True)
class First:
    """Seconds to the first chunk."""

    median: float
    p90: float


@dataclass
class _Window:
    open: bool = False
    chunks: int = 0
    gaps: list[float] = field(default_factory=list[float])

    def arrived(self, reader: Reader, now: float, count: int) -> None:
        if self.open:
            self.chunks += count
            self.gaps.append(now - reader.last)
            self.gaps.extend([0.0] * (count - 1))


async def paced(target: Target, streams: int, interval: float, seconds: float) -> Paced:
    """Open the streams, let them settle, and watch them for `seconds`; then leave."""
    window = _Window()
    readers: list[Reader] = []
    try:
        for _ in range(streams):
            readers.append(await Reader(target, window.arrived).start())
            await asyncio.sleep(RAMP / streams)
        await _begun(readers)
        await _watch(readers, DISCARDED)
        cpu = time.process_time()
        started = perf_counter()
        window.open = True
        print("open", flush=True)
        await _watch(readers, seconds)
        window.open = False
        print("shut", flush=True)
        elapsed = perf_counter() - started
        cpu = time.process_time() - cpu
    finally:
        for reader in readers:
            reader.close()
    gaps = sorted(window.gaps)
    if not gaps:
        raise BadLoad(f"no chunk came in {seconds:g} seconds")
    return Paced(
        chunks=window.chunks,
        wanted=streams * elapsed / interval,
        seconds=elapsed,
        gap_p50=gaps[len(gaps) // 2],
        gap_p99=gaps[len(gaps) * 99 // 100],
        load_cpu=cpu / elapsed,
    )


async def unpaced(target: Target, streams: int, chunks: int) -> Unpaced:
    """Read streams of `chunks` chunks side by side to their ends; time runs from the first connection to the last chunk."""
    cpu = time.process_time()
    started = perf_counter()
    readers = [Reader(target, lambda *_: None) for _ in range(streams)]
    await asyncio.gather(*(reader.start() for reader in readers))
    ended = [reader.ended for reader in readers]
    await asyncio.wait(ended, timeout=LIMIT, return_when=asyncio.FIRST_EXCEPTION)
    cpu = time.process_time() - cpu
    for reader in readers:
        if reader.ended.done() and reader.ended.exception() is None and reader.chunks != chunks:
            raise BadLoad(f"a stream of {chunks} chunks ended after {reader.chunks}")
        if reader.ended.done():
            reader.ended.result()
        reader.close()
    elapsed = max(reader.last for reader in readers) - started
    return Unpaced(chunks=sum(reader.chunks for reader in readers), seconds=elapsed, load_cpu=cpu / elapsed)


async def first(target: Target, requests: int, together: int = 1) -> First:
    """Measure each request from before its connection is made, as a client feels it; so many at once, and all to their ends."""
    times: list[float] = []
    for _ in range(requests):
        readers = [Reader(target, lambda *_: None) for _ in range(together)]
        await asyncio.gather(*(reader.start() for reader in readers))
        async with asyncio.timeout(LIMIT):
            await asyncio.gather(*(reader.ended for reader in readers))
        times += [reader.first - reader.sent for reader in readers]
    times.sort()
    return First(median=median(times), p90=times[len(times) * 9 // 10])


async def _begun(readers: Sequence[Reader]) -> None:
    deadline = perf_counter() + BEGUN_WITHIN
    while silent := sum(not reader.first for reader in readers):
        if perf_counter() > deadline:
            raise BadLoad(f"{silent} of {len(readers)} streams said nothing for {BEGUN_WITHIN:g} seconds")
        await _watch(readers, 0.05)


async def _watch(readers: Sequence[Reader], seconds: float) -> None:
    """Let `seconds` pass; a stream that ends meanwhile is a failure."""
    done, _ = await asyncio.wait(
        [reader.ended for reader in readers], timeout=seconds, return_when=asyncio.FIRST_COMPLETED
    )
    for ended in done:
        ended.result()
        raise BadLoad("a stream ended before the window did")


def main(arguments: Sequence[str] | None = None) -> None:
    """Run one load and print what it showed."""
    options = _parse(arguments)
    ask = {"text": "token ", "repeat": options.chunks, "interval": 0.0}
    if options.mode == "paced":
        # Longer than the window: it is the load that leaves.
        lasting = RAMP + DISCARDED + options.seconds
        ask |= {"interval": options.interval, "repeat": int((lasting + 60) / options.interval)}
    elif options.mode == "first":
        ask |= {"repeat": 1} if options.together == 1 else {"repeat": TOGETHER_CHUNKS, "interval": options.interval}
    target = Target.post(options.url, json.loads(options.envelope), ask, options.mark.encode())
    gc.disable()
    try:
        if options.mode == "paced":
            result = uvloop.run(paced(target, options.streams, options.interval, options.seconds))
        elif options.mode == "unpaced":
            result = uvloop.run(unpaced(target, options.streams, options.chunks))
        else:
            result = uvloop.run(first(target, options.requests, options.together))
    except (BadLoad, OSError, TimeoutError) as error:
        sys.exit(f"{options.mode}: {str(error) or type(error).__name__}")
    print(json.dumps(asdict(result)), flush=True)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.load", description="Load a server with streams, and time them."
    )
    parser.add_argument("url")
    parser.add_argument("mode", choices=["paced", "unpaced", "first"])
    parser.add_argument(
        "--envelope", default="{}", help="JSON to send the fields in, as its `input`; else they are the body"
    )
    parser.add_argument("--mark", default=MARK.decode(), help="what stands once in every chunk, and nowhere else")
    parser.add_argument("--streams", type=int, default=128)
    parser.add_argument("--interval", type=float, default=0.02, help="paced: seconds between the chunks of a stream")
    parser.add_argument("--seconds", type=float, default=10.0, help="paced: how long to watch")
    parser.add_argument("--chunks", type=int, default=2000, help="unpaced: chunks of each stream")
    parser.add_argument("--requests", type=int, default=50, help="first: how many, one after the other")
    parser.add_argument("--together", type=int, default=1, help="first: so many streams each time")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    main()
