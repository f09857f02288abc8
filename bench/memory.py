"""anabranch with two components in; out, whether memory stays flat and a reader that stops stops its producer.

    python -m bench.memory [KEY]      another system on Ray can be told by its key

Chunks are a kilobyte each, so that whatever keeps them shows: 100 000 of them are 100 MB.
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from time import perf_counter

import uvloop

from bench.processes import Process, Processes
from bench.systems import ANABRANCH_TWO, SYSTEMS, NotStarted, Server, serving
from bench.wire import BadLoad, Reader, Target

CHUNKS = 100_000
WORD = "x" * 1023 + " "
WITHIN = 300.0

FLAT = 8 * 2**20
"""What a process may grow by and still be called flat: buffers and an allocator's slack, not a tenth of the stream."""

STILL = 2**19
"""Growth in bytes not worth a row."""

QUIET = 0.05
"""Parts of a core that a stopped producer may take."""

FILLED_WITHIN = 20.0

INTERVAL = 0.02

KEPT = 0.9
"""Which part of its pace a stream must keep beside a reader that stands still."""


@dataclass
class Growth:
    """The resident bytes of one process over a stream."""

    start: int
    peak: int
    end: int = 0


async def check(server: Server) -> bool:
    """Print both tables; true when all held."""
    await _read(server, CHUNKS // 5)  # so that buffers and arenas have their size before it counts
    server.processes.find()
    flat = await _memory(server)
    stopped = await _stopped_reader(server)
    return flat and stopped


async def _memory(server: Server) -> bool:
    growth = {process: Growth(size, size) for process, size in server.processes.resident().items()}
    reading = asyncio.create_task(_read(server, CHUNKS))
    began = perf_counter()
    while not reading.done():
        for process, size in server.processes.resident().items():
            if process in growth:
                growth[process].peak = max(growth[process].peak, size)
        await asyncio.wait([reading], timeout=0.1)
    count = reading.result()
    for process, size in server.processes.resident().items():
        if process in growth:
            growth[process].end = size
    print(f"{count} chunks of 1 kB through two components in {perf_counter() - began:.1f} s, MB resident:\n")
    print("| process | start | most | end | flat |\n| --- | ---: | ---: | ---: | --- |")
    moved = {process: sizes for process, sizes in growth.items() if sizes.peak - sizes.start > STILL}
    for process, sizes in sorted(moved.items(), key=lambda item: item[1].start - item[1].peak):
        print(_growth_row(process, sizes))
    print(f"\nThe other {len(growth) - len(moved)} processes grew by less than {STILL / 2**20:g} MB.")
    flat = all(sizes.peak - sizes.start <= FLAT for sizes in growth.values())
    print()
    _tell(f"every process's memory stays flat (within {FLAT >> 20} MB)", flat)
    print()
    return flat


async def _stopped_reader(server: Server) -> bool:
    """Stop reading one stream beside another: the one's producer falls silent, the other keeps its pace, nothing grows."""
    neighbour = Reader(_target(server, "token ", 100_000, INTERVAL), lambda *_: None)
    reader = Reader(_target(server, WORD, 100 * CHUNKS, 0.0), lambda *_: None)
    try:
        await neighbour.start()
        await asyncio.sleep(1.0)
        before = await _cpu(server.processes)
        await reader.start()
        await asyncio.sleep(0.5)
        running = await _cpu(server.processes)
        reader.pause()
        await _until_quiet(server.processes, before + QUIET)
        sizes, passed = server.processes.resident(), neighbour.chunks
        began = perf_counter()
        stopped = await _cpu(server.processes)
        kept = (neighbour.chunks - passed) * INTERVAL / (perf_counter() - began)
        grown = max(size - sizes.get(process, size) for process, size in server.processes.resident().items())
        read = reader.chunks
        reader.resume()
        await asyncio.sleep(0.5)
        read, failed = reader.chunks - read, reader.failed
        reader.close()
        await asyncio.sleep(1.0)
        left = await _cpu(server.processes)
    finally:
        neighbour.close()
        reader.close()
    print(
        "A reader beside a paced one; cores that the server takes before it comes, while it reads, "
        f"while it stands still, and once it has left: {before:.2f}, {running:.2f}, {stopped:.2f}, {left:.2f}\n"
    )
    claims = [
        ("a reader that stops reading stops the producer", running - before > QUIET >= stopped - before),
        (f"meanwhile no process grows (most: {grown / 2**20:.1f} MB)", grown <= FLAT),
        (f"and the stream beside it keeps its pace ({kept:.0%})", kept >= KEPT),
        (f"reading on goes on ({read} chunks)", read > 0 and not failed),
        ("leaving stops the producer", left - before <= QUIET),
    ]
    held = [_tell(claim, held) for claim, held in claims]  # each is told, whatever came before
    return all(held)


async def _until_quiet(processes: Processes, cores: float) -> None:
    """Give what flows time to fill the sockets on its way: the kernel alone keeps megabytes."""
    deadline = perf_counter() + FILLED_WITHIN
    while await _cpu(processes, 0.5) > cores and perf_counter() < deadline:
        pass


async def _cpu(processes: Processes, seconds: float = 2.0) -> float:
    cpu, began = processes.cpu(), perf_counter()
    await asyncio.sleep(seconds)
    return (processes.cpu() - cpu) / (perf_counter() - began)


async def _read(server: Server, chunks: int) -> int:
    reader = Reader(_target(server, WORD, chunks, 0.0), lambda *_: None)
    await reader.start()
    try:
        await asyncio.wait_for(reader.ended, WITHIN)
    finally:
        reader.close()
    if reader.chunks != chunks:
        raise BadLoad(f"a stream of {chunks} chunks ended after {reader.chunks}")
    return reader.chunks


def _target(server: Server, text: str, repeat: int, interval: float) -> Target:
    return Target.post(server.url, server.system.envelope, {"text": text, "repeat": repeat, "interval": interval})


def _growth_row(process: Process, sizes: Growth) -> str:
    start, peak, end = (f"{size / 2**20:.1f}" for size in (sizes.start, sizes.peak, sizes.end))
    return (
        f"| `{process.name}` | {start} | {peak} | {end} | {'yes' if sizes.peak - sizes.start <= FLAT else '**no**'} |"
    )


def _tell(claim: str, held: bool) -> bool:
    print(f"- {'met' if held else '**not met**'}: {claim}")
    return held


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve the system, check it; 1 when something didn't hold."""
    on_ray = {system.key: system for system in SYSTEMS if system.on_ray}
    parser = argparse.ArgumentParser(
        prog="python -m bench.memory", description="Memory and backpressure of two components."
    )
    parser.add_argument("key", nargs="?", choices=on_ray, default=ANABRANCH_TWO.key, help="which system (anabranch-2)")
    system = on_ray[parser.parse_args(arguments).key]
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with serving(system) as server:
            return 0 if uvloop.run(check(server)) else 1
    except (NotStarted, BadLoad, OSError, TimeoutError) as error:
        sys.exit(f"{system.title} was not measured: {str(error) or type(error).__name__}")


if __name__ == "__main__":
    sys.exit(main())
