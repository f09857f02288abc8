"""The vendors' APIs in front of anabranch, beside `/workflows/runs` and LiteLLM's proxy; out, two tables and which goals are met.

    python -m bench.doors [--quick] [--rounds N] [--only KEY…]

All have the same upstream behind them, and are asked for the same words by the same load tool.
"""

# ruff: noqa: RUF001  (ratios have their own sign)

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

import aiohttp

from bench.doors_ways import DOORS, IN_ONE_PROCESS, ON_SERVE, PLAIN, WAYS, Way
from bench.doors_whole import AT_ONCE, WORDS, Whole, measure_whole, wake
from bench.measure import FULL, QUICK, Lengths, LoadFailed, Sample, measure
from bench.peers import litellm
from bench.systems import NotStarted, Server, System, serving
from bench.table import BUSY, KEPT, medians
from bench.upstream import LITELLM, UPSTREAM, before
from bench.wire import BadLoad

CHUNKS = 1000
LITELLMS = 200
"""Of each unpaced stream: few enough that none is cut off. A LiteLLM that has more to do than it can reads the streams of clients
that have left, and what is measured next would pay for that."""
REQUESTS = 1000
SETTLED = 0.15
"""Of a core: who takes less has nothing left to do."""
SETTLED_WITHIN = 60.0

BESIDE_RUNS = 1.3
"""Times the CPU of a chunk of `/workflows/runs` that one of a door may take."""
BESIDE_LITELLM = 1 / 3

STREAMED = (
    "", "CPU µs/chunk", "× runs", "× LiteLLM", "idle CPU %", "pace kept %", "gap p50 ms", "gap p99 ms", "first chunk ms",
    "unpaced chunks/s", "memory MiB",
)  # fmt: skip
AT_THE_END = ("", "CPU µs/request", "× runs", "× LiteLLM", "requests/s")


@dataclass(frozen=True)
class Streamed(Sample):
    """What was measured of one start of one row."""

    streams: int
    memory: float
    """Bytes of all the server's processes after the load; a page that several share is divided among them."""

    @property
    def busy(self) -> float:
        """Return the CPU of a chunk without what is taken idle."""
        return self.cpu_per_chunk - self.idle / (self.streams * 50 * self.kept)


@dataclass(frozen=True)
class Row:
    """A system and a way to ask it in."""

    system: System
    way: Way

    @property
    def title(self) -> str:
        return f"{self.system.title}: {self.way.title}" if self.way.title else self.system.title

    @property
    def plain(self) -> Row:
        """Return the row that it is judged beside."""
        return Row(self.system, PLAIN)


BEHIND_LITELLM = Row(LITELLM, WAYS[LITELLM][0])


class Results:
    """The samples of every row, in the order of the tables."""

    def __init__(self, systems: Sequence[System]) -> None:
        rows = [Row(system, way) for system in systems for way in WAYS[system]]
        self.streamed: Mapping[Row, list[Streamed]] = {row: [] for row in rows}
        self.whole: Mapping[Row, list[Whole]] = {row: [] for row in rows if row.way.whole is not None}


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds; 1 when something couldn't be measured or a goal is missed."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    systems = [system for system in WAYS if not options.only or system.key in options.only]
    results = Results(systems)
    try:
        if LITELLM in systems:
            litellm.ENVIRONMENT.install()
        for number in range(1 if options.quick else options.rounds):
            # There and back, so that what drifts falls on all alike.
            with serving(UPSTREAM) as upstream:
                for system in systems if number % 2 == 0 else reversed(systems):
                    _measure(upstream, system, results, number, options)
    except (NotStarted, LoadFailed, BadLoad, aiohttp.ClientError, OSError, TimeoutError) as error:
        sys.exit(f"not measured: {str(error) or type(error).__name__}")
    print(f"{_streamed_table(results)}\n\n{_notes(results)}\n\n{_whole_table(results)}\n")
    print(f"Whole answers of {WORDS} words, {AT_ONCE} requests at once.\n")
    return 0 if _judge(results) else 1


def _measure(upstream: Server, system: System, results: Results, number: int, options: argparse.Namespace) -> None:
    """Measure one system in all its ways, in turn at the same server."""
    print(f"{system.title} …", end=" ", file=sys.stderr, flush=True)
    began = time.monotonic()
    if system is UPSTREAM:
        _measure_ways(upstream, system, results, number, options)
    else:
        with serving(before(upstream, system)) as server:
            _measure_ways(server, system, results, number, options)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


def _measure_ways(server: Server, system: System, results: Results, number: int, options: argparse.Namespace) -> None:
    lengths = replace(QUICK if options.quick else FULL, chunks=CHUNKS)
    if system is LITELLM:
        lengths = replace(lengths, chunks=LITELLMS, warm=LITELLMS)
    rows = [Row(system, way) for way in WAYS[system]]
    asyncio.run(wake(server, rows[0].way))
    for row in rows if number % 2 == 0 else reversed(rows):
        results.streamed[row].append(_measure_row(server, row.way, lengths, options.streams))
        _settle(server)
    for row in rows if number % 2 == 0 else reversed(rows):
        if row in results.whole:
            requests = REQUESTS // 5 if options.quick else REQUESTS
            results.whole[row].append(asyncio.run(measure_whole(server, row.way, requests)))


def _measure_row(server: Server, way: Way, lengths: Lengths, streams: int) -> Streamed:
    sample = measure(way.of(server), lengths, streams)
    return Streamed(**sample.as_json(), streams=streams, memory=sum(server.processes.proportional().values()))


def _settle(server: Server) -> None:
    """Wait until the server is done with the load that has left."""
    deadline = time.monotonic() + SETTLED_WITHIN
    taken = SETTLED
    while taken >= SETTLED:
        if time.monotonic() > deadline:
            raise LoadFailed(f"{server.system.title} was busy {SETTLED_WITHIN:g} seconds after its clients had left")
        cpu, began = server.processes.cpu(), time.monotonic()
        time.sleep(0.5)
        taken = (server.processes.cpu() - cpu) / (time.monotonic() - began)


# --- what is told ----------------------------------------------------------------------------------------------------


def _streamed_table(results: Results) -> str:
    figures = {row: medians(samples) for row, samples in results.streamed.items()}
    return _table(STREAMED, [_streamed_row(row, own, figures) for row, own in figures.items()])


def _streamed_row(row: Row, own: Streamed, figures: Mapping[Row, Streamed]) -> tuple[str, ...]:
    plain, peer = figures.get(row.plain), figures.get(BEHIND_LITELLM)
    return (
        row.title,
        f"{own.cpu_per_chunk * 1e6:.0f}",
        f"{own.busy / plain.busy:.2f}" if plain else "–",
        f"{own.busy / peer.busy:.2f}" if peer else "–",
        f"{own.idle * 100:.0f}",
        f"{own.kept * 100:.0f}",
        f"{own.gap_p50 * 1e3:.1f}",
        f"{own.gap_p99 * 1e3:.1f}",
        f"{own.first * 1e3:.1f}",
        f"{1 / own.unpaced:.0f}",
        f"{own.memory / 2**20:.0f}",
    )


def _whole_table(results: Results) -> str:
    figures = {row: medians(samples) for row, samples in results.whole.items()}
    plain, peer = {row: figures.get(row.plain) for row in figures}, figures.get(BEHIND_LITELLM)
    rows = [
        (
            row.title,
            f"{own.cpu * 1e6:.0f}",
            f"{own.cpu / beside.cpu:.2f}" if (beside := plain[row]) else "–",
            f"{own.cpu / peer.cpu:.2f}" if peer else "–",
            f"{own.per_second:.0f}",
        )
        for row, own in figures.items()
    ]
    return _table(AT_THE_END, rows)


def _table(headings: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = [headings, ("---", *("---:" for _ in headings[1:])), *rows]
    return "\n".join(f"| {' | '.join(line)} |" for line in lines)


def _notes(results: Results) -> str:
    samples = [sample for rounds in results.streamed.values() for sample in rounds]
    rounds = max(map(len, results.streamed.values()))
    lines = [
        f"Median of {rounds} rounds, " if rounds > 1 else "One round, ",
        f"{samples[0].streams:.0f} streams paced at 50 chunks a second. CPU is that of all processes of the row's own server, with what ",
        "it takes idle; the ratios are without that. The upstream's is in its own row alone. ",
        f"The load tool took at most {max(sample.load_cpu for sample in samples):.0%} of a core, paced.",
    ]
    late = [row.title for row, rounds in results.streamed.items() if medians(rounds).kept < KEPT]
    if late:
        lines.append(f" Overloaded, so that the other figures flatter it: {', '.join(late)}.")
    # What the upstream takes counts as others' while something stands before it; read directly, it is the server.
    direct = [sample for row, rounds in results.streamed.items() if row.system is UPSTREAM for sample in rounds]
    upstream = max((sample.cpu_per_chunk * sample.streams * 50 for sample in direct), default=None)
    if upstream is not None and max(sample.others for sample in samples) - upstream > BUSY:
        lines.append("\n\n**The machine was busy with something else: trust none of these figures.**")
    return "".join(lines)


def _judge(results: Results) -> bool:
    """Print each goal, met or not."""
    judged = [Row(system, door) for system in (IN_ONE_PROCESS, ON_SERVE) for door in DOORS]
    judged = [row for row in judged if row in results.streamed]
    held = [_judge_beside(row, row.plain, BESIDE_RUNS, results) for row in judged]
    if BEHIND_LITELLM in results.streamed:
        held += [_judge_beside(row, BEHIND_LITELLM, BESIDE_LITELLM, results) for row in judged]
    return all(held)


def _judge_beside(row: Row, beside: Row, most: float, results: Results) -> bool:
    own, other = results.streamed[row], results.streamed[beside]
    ratio = medians(own).busy / medians(other).busy
    each = ", ".join(f"{a.busy / b.busy:.2f}" for a, b in zip(own, other, strict=True))
    held = round(ratio, 2) <= round(most, 2)
    print(
        f"- {'met' if held else '**not met**'}: {row.title}: a chunk takes {ratio:.2f}× the CPU of one of "
        f"{beside.title} ({each}); at most {most:.2g}×"
    )
    return held


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.doors", description="The vendors' APIs beside /workflows/runs and LiteLLM's proxy."
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does it run, and is it roughly right")
    parser.add_argument("--rounds", type=int, default=3, help="how often each is started and measured (3)")
    parser.add_argument("--streams", type=int, default=32, help="how many are paced, at 50 chunks a second each (32)")
    keys = [system.key for system in WAYS]
    parser.add_argument("--only", nargs="+", choices=keys, metavar="KEY", help=f"some of: {', '.join(keys)}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
