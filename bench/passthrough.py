"""An API read directly, through anabranch in each way it is served, and through model-compose; out, one table and which targets are met.

    python -m bench.passthrough [--quick] [--rounds N] [--only KEY…]

All are asked for the same words by the same load tool, and all send them as Server-Sent Events.
"""

# ruff: noqa: RUF001  (ratios have their own sign)

from __future__ import annotations

import argparse
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from bench.measure import FULL, QUICK, UNPACED_STREAMS, Lengths, LoadFailed, Sample, first_together, measure
from bench.peers import model_compose
from bench.systems import NotStarted, Server, System, serving
from bench.table import BUSY, KEPT, medians
from bench.upstream import ANABRANCH, DEV, MODEL_COMPOSE, PLACED, UPSTREAM, before

STREAMS = 64
"""Paced, at 50 chunks a second each."""

CHUNKS = 1000
"""Of each unpaced stream: few enough that none is cut off. model-compose would go on reading the upstream, and pay for that
in what is measured next."""

SYSTEMS = (UPSTREAM, DEV, PLACED, ANABRANCH, MODEL_COMPOSE)

HEADINGS = (
    "", "unpaced chunks/s", "× model-compose", "CPU µs/chunk", "idle CPU %", "pace kept %", "gap p50 ms", "gap p99 ms",
    "× direct", "first chunk ms, 64 at once", "first chunk ms, alone",
)  # fmt: skip


@dataclass(frozen=True)
class Passed(Sample):
    """What was measured of one start of one row."""

    first_together: float
    """Median seconds to the first chunk of paced streams that start in the same instant."""


Results = Mapping[str, Sequence[Passed]]


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds; 1 when something couldn't be measured or a target is missed."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    systems = [system for system in SYSTEMS if not options.only or system.key in options.only]
    lengths = replace(QUICK if options.quick else FULL, chunks=CHUNKS)
    results: dict[str, list[Passed]] = {}
    try:
        if MODEL_COMPOSE in systems:
            model_compose.ENVIRONMENT.install()
        for number in range(1 if options.quick else options.rounds):
            # There and back, so that what drifts falls on all alike.
            with serving(UPSTREAM) as upstream:
                for system in systems if number % 2 == 0 else reversed(systems):
                    results.setdefault(system.key, []).append(_measure(upstream, system, lengths))
    except (NotStarted, LoadFailed) as error:
        sys.exit(f"not measured: {error}")
    ordered = {system.key: results[system.key] for system in systems}
    print(f"{_table(ordered)}\n\n{_notes(ordered)}\n")
    return 0 if _judge(ordered) else 1


def _measure(upstream: Server, system: System, lengths: Lengths) -> Passed:
    began = time.monotonic()
    print(f"{system.title} …", end=" ", file=sys.stderr, flush=True)
    if system is UPSTREAM:
        passed = _measure_server(upstream, lengths)
    else:
        with serving(before(upstream, system)) as server:
            passed = _measure_server(server, lengths)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    return passed


def _measure_server(server: Server, lengths: Lengths) -> Passed:
    # First, for model-compose goes on reading what was left, which is every paced stream at its window's end.
    together = first_together(server, STREAMS)
    return Passed(**measure(server, lengths, STREAMS).as_json(), first_together=together)


def _table(results: Results) -> str:
    figures = {key: medians(samples) for key, samples in results.items()}
    titles = {system.key: system.title for system in SYSTEMS}
    rows = [HEADINGS, ("---", *("---:" for _ in HEADINGS[1:]))]
    direct, peer = figures.get(UPSTREAM.key), figures.get(MODEL_COMPOSE.key)
    rows += [_row(titles[key], own, direct, peer) for key, own in figures.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _row(title: str, own: Passed, direct: Passed | None, peer: Passed | None) -> tuple[str, ...]:
    return (
        title,
        f"{1 / own.unpaced:.0f}",
        f"{peer.unpaced / own.unpaced:.2f}" if peer else "–",
        f"{own.cpu_per_chunk * 1e6:.0f}",
        f"{own.idle * 100:.0f}",
        f"{own.kept * 100:.0f}",
        f"{own.gap_p50 * 1e3:.1f}",
        f"{own.gap_p99 * 1e3:.1f}",
        f"{own.gap_p99 / direct.gap_p99:.2f}" if direct else "–",
        f"{own.first_together * 1e3:.1f}",
        f"{own.first * 1e3:.1f}",
    )


@dataclass(frozen=True)
class Goal:
    """What a row must reach beside model-compose in the same run; None is no goal."""

    faster: float
    """Chunks a second, unpaced: at least so many times its."""
    first: float | None
    """Median time to the first chunk of streams that start at once: at most so many times its."""
    gap: float | None
    """The same for the p99 gap of paced streams."""
    cpu: float | None
    """The same for the CPU of a paced chunk, without what the row takes idle."""


GOALS = {
    DEV.key: Goal(faster=3.0, first=0.4, gap=1.0, cpu=0.65),
    PLACED.key: Goal(faster=2.0, first=0.7, gap=1.0, cpu=1.0),
    ANABRANCH.key: Goal(faster=2.0, first=None, gap=None, cpu=None),
}


def _judge(results: Results) -> bool:
    """Print each target, met or not."""
    figures = {key: medians(samples) for key, samples in results.items()}
    peer = figures.get(MODEL_COMPOSE.key)
    if peer is None:
        return True
    held = [_judge_row(key, figures[key], peer) for key in GOALS if key in figures]  # every row is told
    return all(held)


def _judge_row(key: str, own: Passed, peer: Passed) -> bool:
    goal, title = GOALS[key], next(system.title for system in SYSTEMS if system.key == key)
    faster = peer.unpaced / own.unpaced
    held = [
        _tell(
            f"{title}: {faster:.1f}× model-compose's chunks a second, {UNPACED_STREAMS} unpaced streams; "
            f"at least {goal.faster:g}×",
            round(faster, 1) >= goal.faster,
        )
    ]
    busy = [sample.cpu_per_chunk - sample.idle / (STREAMS * 50 * sample.kept) for sample in (own, peer)]
    for what, ratio, most in (
        (f"time to the first chunk, {STREAMS} streams at once", own.first_together / peer.first_together, goal.first),
        (f"p99 gap, {STREAMS} paced streams", own.gap_p99 / peer.gap_p99, goal.gap),
        ("CPU of a paced chunk, without what is taken idle", busy[0] / busy[1], goal.cpu),
    ):
        if most is not None:
            held.append(
                _tell(f"{title}: {ratio:.2f}× model-compose's {what}; at most {most:g}×", round(ratio, 2) <= most)
            )
    return all(held)


def _tell(claim: str, held: bool) -> bool:
    print(f"- {'met' if held else '**not met**'}: {claim}")
    return held


def _notes(results: Results) -> str:
    samples = [sample for rounds in results.values() for sample in rounds]
    rounds = max(map(len, results.values()))
    lines = [
        f"Median of {rounds} rounds, " if rounds > 1 else "One round, ",
        f"{STREAMS} streams paced at 50 chunks a second. CPU is that of all processes of the row's own server, with what ",
        "it takes idle; the upstream's is in its own row alone. ",
        f"The load tool took at most {max(sample.load_cpu for sample in samples):.0%} of a core, paced.",
    ]
    late = [key for key, rounds in results.items() if medians(rounds).kept < KEPT]
    if late:
        lines.append(f" Overloaded, so that the other figures flatter it: {', '.join(late)}.")
    # What the upstream takes counts as others' while something stands before it; read directly, it is the server.
    upstream = max((sample.cpu_per_chunk * STREAMS / 0.02 for sample in results.get(UPSTREAM.key, ())), default=None)
    if upstream is not None and max(sample.others for sample in samples) - upstream > BUSY:
        lines.append("\n\n**The machine was busy with something else: trust none of these figures.**")
    return "".join(lines)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(
        prog="python -m bench.passthrough", description="An API directly, through anabranch, and through model-compose."
    )
    parser.add_argument("--quick", action="store_true", help="one short round: does it run, and is it roughly right")
    parser.add_argument("--rounds", type=int, default=2, help="how often each is started and measured (2)")
    keys = [system.key for system in SYSTEMS]
    parser.add_argument("--only", nargs="+", choices=keys, metavar="KEY", help=f"some of: {', '.join(keys)}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
