"""Streams that are open and say nothing, through `anabranch serve`; out, what each takes, and whether others get through.

python -m bench.idle [--streams N]
"""

from __future__ import annotations

import argparse
import asyncio
import resource
import signal
import sys
from collections.abc import Mapping, Sequence
from time import perf_counter

import uvloop

from bench.load import LIMIT, First, first
from bench.processes import Process
from bench.systems import NotStarted, Server, serving
from bench.upstream import ANABRANCH, UPSTREAM, Log, before
from bench.wire import BadLoad, Reader, Target

STREAMS = 1000
AT_ONCE = 50
"""Opened side by side; thousands that come in the same instant are another question."""

PER_STREAM = 256 * 2**10
"""The most bytes a stream may take in all processes of the server together."""

AGAIN = 0.25
"""Which part of the first wave's growth the second may add: more would be a leak."""

REQUESTS = 20
SETTLED = 2.0
GONE_WITHIN = 10.0

SILENT = {"repeat": 2, "interval": 0, "at": 2}
"""OpenAI's first chunk, which holds no text, a word, and then nothing more until the client leaves."""

BRIEF = {"repeat": 1, "interval": 0}


async def check(server: Server, upstream: Server, streams: int) -> bool:
    """Print what was found; true when all targets are met."""
    silent = _target(server, SILENT)
    brief = _target(server, BRIEF)
    async with Log(upstream) as log:
        await first(brief, REQUESTS)
        await _wave(server, silent, brief, log, AT_ONCE)  # so that pools and arenas have their size before it counts
        alone = await first(brief, REQUESTS)
        server.processes.find()
        start = server.processes.resident()
        open_sizes, beside, left = await _wave(server, silent, brief, log, streams)
        closed = server.processes.resident()
        again, _, _ = await _wave(server, silent, brief, log, streams)
    per_stream = _growth(start, open_sizes) / streams
    print(f"{streams} streams, each open and silent after one chunk; MB resident:\n")
    print(
        "| process | before | open | closed | open again | KiB a stream |\n| --- | ---: | ---: | ---: | ---: | ---: |"
    )
    for row in _rows(start, open_sizes, closed, again, streams):
        print(row)
    added = _growth(open_sizes, again) / max(1.0, _growth(start, open_sizes))
    print()
    taken = (
        f"an idle stream takes {per_stream / 1024:.1f} KiB in all processes together, at most {PER_STREAM >> 10}",
        per_stream <= PER_STREAM,
    )
    beside_them = (
        f"new requests are answered beside them: first chunk after {beside.median * 1e3:.1f} ms "
        f"(p90 {beside.p90 * 1e3:.1f}); {alone.median * 1e3:.1f} with none open"
    )
    answered = (beside_them, True)  # one that wasn't would have ended the bench
    gone = (
        f"once their clients leave, the upstream is rid of all of them after {left:.2f} s, within {GONE_WITHIN:g} s",
        left <= GONE_WITHIN,
    )
    leak = (f"opened again they add {added:.0%} of what they took, at most {AGAIN:.0%}", added <= AGAIN)
    claims = (taken, answered, gone, leak)
    for claim, held in claims:
        print(f"- {'met' if held else '**not met**'}: {claim}")
    return all(held for _, held in claims)


async def _wave(
    server: Server, silent: Target, brief: Target, log: Log, streams: int
) -> tuple[Mapping[Process, int], First, float]:
    """Open the streams, look, and close them.

    Returns the sizes while they were open, what brief requests beside them felt, and the seconds until the upstream
    was rid of all of them.
    """
    await log.forget()
    readers: list[Reader] = []
    try:
        for begin in range(0, streams, AT_ONCE):
            readers += await _open(silent, min(AT_ONCE, streams - begin))
        await asyncio.sleep(SETTLED)
        sizes = server.processes.resident()
        beside = await first(brief, REQUESTS)
        for reader in readers:
            if reader.ended.done():
                reader.ended.result()
                raise BadLoad("a stream ended that should have stayed open")
    finally:
        began = perf_counter()
        for reader in readers:
            reader.close()
    await log.calls(left=streams)
    took = perf_counter() - began
    await asyncio.sleep(SETTLED)
    return sizes, beside, took


async def _open(target: Target, count: int) -> list[Reader]:
    """Return readers that have their first chunk."""
    spoke = asyncio.Event()
    waiting = count

    def arrived(*_: object) -> None:
        nonlocal waiting
        waiting -= 1
        if waiting == 0:
            spoke.set()

    readers = [Reader(target, arrived) for _ in range(count)]
    await asyncio.gather(*(reader.start() for reader in readers))
    try:
        await asyncio.wait_for(spoke.wait(), LIMIT)
    except TimeoutError:
        for reader in readers:
            if reader.failed:
                reader.ended.result()
        raise BadLoad(f"{waiting} of {count} streams had no chunk after {LIMIT:g} s") from None
    return readers


def _target(server: Server, fields: Mapping[str, float]) -> Target:
    return Target.post(server.url, server.system.envelope, dict(fields))


def _growth(start: Mapping[Process, int], end: Mapping[Process, int]) -> int:
    return sum(end[process] - size for process, size in start.items() if process in end)


def _rows(
    start: Mapping[Process, int],
    open_sizes: Mapping[Process, int],
    closed: Mapping[Process, int],
    again: Mapping[Process, int],
    streams: int,
) -> list[str]:
    rows: list[tuple[float, str]] = []
    others = 0.0
    for process, size in start.items():
        grown = (open_sizes.get(process, size) - size) / streams / 1024
        if grown < 1:
            others += grown
            continue
        sizes = (size, open_sizes.get(process, 0), closed.get(process, 0), again.get(process, 0))
        megabytes = " | ".join(f"{each / 2**20:.1f}" for each in sizes)
        rows.append((-grown, f"| `{process.name}` | {megabytes} | {grown:.1f} |"))
    return [*(row for _, row in sorted(rows)), f"| all others | | | | | {others:.1f} |"]


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, open, look; 1 when a target is missed."""
    parser = argparse.ArgumentParser(prog="python -m bench.idle", description="What an open, silent stream takes.")
    parser.add_argument("--streams", type=int, default=STREAMS, help=f"how many ({STREAMS})")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    _take_descriptors()
    try:
        with serving(UPSTREAM) as upstream, serving(before(upstream, ANABRANCH)) as server:
            return 0 if uvloop.run(check(server, upstream, options.streams)) else 1
    except (NotStarted, BadLoad, OSError, TimeoutError) as error:
        sys.exit(f"not measured: {str(error) or type(error).__name__}")


def _take_descriptors() -> None:
    """A stream is a socket here, four in the server, and one at the upstream; all of them inherit this limit."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))


if __name__ == "__main__":
    sys.exit(main())
