"""Runs that are kept, beside plain ones: what a chunk costs, streams that are cut, many readers, and the other replica.

    python -m bench.resuming [--quick] [--only cost|cuts|readers|delay …]

Two `anabranch dev` over one store are two replicas of the ingress: a run's owner, and another that answers for it too.
"""

# ruff: noqa: RUF001  (ratios have their own sign)

from __future__ import annotations

import argparse
import signal
import sys
import tempfile
import time
from collections.abc import Generator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

import uvloop

from bench.measure import FULL, QUICK, Lengths, LoadFailed, Sample, measure
from bench.resuming_cuts import Crowd, crowd, cut_streams, delays
from bench.resuming_systems import ECHO, PASSING, PLAIN, RESUMABLE, asked, dev, placed
from bench.systems import NotStarted, Server, System, serving
from bench.table import BUSY, KEPT, medians
from bench.upstream import UPSTREAM, before
from bench.wire import BadLoad

STREAMS = 64
COST = 1.2
"""Times the CPU of a plain chunk that one of a resumable stream may take."""
JUDGED = ("dev", "placed")
"""The rows of an API behind anabranch. A component that only echoes costs next to nothing: beside it every mechanism is dear."""
ROWS = (
    dev("dev", "`anabranch dev`, an API", PASSING),
    placed("placed", "`anabranch serve`, in the ingress, an API", PASSING),
    dev("dev-echo", "`anabranch dev`, `echo`", ECHO),
    placed("placed-echo", "`anabranch serve`, in the ingress, `echo`", ECHO),
)
CHUNKS = 1000

CUTS = 1000
READERS = 500
RUNS = 200
PER_READER = 256 * 2**10
"""The most bytes that a reader may take in its server."""
LEFT = 32 * 2**20
"""The most bytes by which a server may have grown when the second crowd of a kind has left: an allocator's slack."""
LATE = 0.150

HEADINGS = (
    "", "CPU µs/chunk, plain", "resumable", "×", "gap p99 ms, plain", "resumable", "first chunk ms, plain", "resumable",
    "unpaced µs/chunk, plain", "resumable",
)  # fmt: skip

Pair = tuple[list[Sample], list[Sample]]
"""The samples of plain streams, and of resumable ones."""


def main(arguments: Sequence[str] | None = None) -> int:
    """Measure; 1 when something couldn't be measured or a goal is missed."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    wanted = set(options.only or PARTS)
    held: list[bool] = []
    try:
        if "cost" in wanted:
            held.append(_cost(options.quick, options.rounds))
        if wanted - {"cost"}:
            with _replicas() as servers:
                held += [part(servers, options.quick) for name, part in BESIDE.items() if name in wanted]
    except (NotStarted, LoadFailed, BadLoad, OSError, TimeoutError) as error:
        sys.exit(f"not measured: {str(error) or type(error).__name__}")
    return 0 if all(held) else 1


# --- what a chunk costs ----------------------------------------------------------------------------------------------


def _cost(quick: bool, rounds: int) -> bool:
    lengths = replace(QUICK if quick else FULL, idle=0.5, chunks=CHUNKS)
    results: dict[str, Pair] = {}
    with serving(UPSTREAM) as upstream:
        for system in ROWS:
            print(f"{system.title} …", end=" ", file=sys.stderr, flush=True)
            began = time.monotonic()
            with serving(before(upstream, system)) as server:
                results[system.key] = _measure(server, lengths, 1 if quick else rounds)
            print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)
    rows = [HEADINGS, ("---", *("---:" for _ in HEADINGS[1:]))]
    rows += [_row(system, *results[system.key]) for system in ROWS]
    print("\n".join(f"| {' | '.join(row)} |" for row in rows))
    print(f"\n{_notes(results)}\n")
    held = [_judge(system, *results[system.key]) for system in ROWS if system.key in JUDGED]  # every row is told
    return all(held)


def _measure(server: Server, lengths: Lengths, rounds: int) -> Pair:
    """Measure both kinds in turn at the same server, so that what drifts falls on both."""
    plain: list[Sample] = []
    resumable: list[Sample] = []
    for number in range(rounds):
        kinds = [(plain, PLAIN), (resumable, RESUMABLE)]
        for samples, envelope in kinds if number % 2 == 0 else reversed(kinds):
            samples.append(measure(asked(server, envelope), lengths, STREAMS))
    return plain, resumable


def _ratio(plain: Sequence[Sample], resumable: Sequence[Sample]) -> float:
    return medians(resumable).cpu_per_chunk / medians(plain).cpu_per_chunk


def _row(system: System, plain: Sequence[Sample], resumable: Sequence[Sample]) -> tuple[str, ...]:
    one, other = medians(plain), medians(resumable)
    return (
        system.title,
        f"{one.cpu_per_chunk * 1e6:.0f}", f"{other.cpu_per_chunk * 1e6:.0f}", f"{_ratio(plain, resumable):.2f}",
        f"{one.gap_p99 * 1e3:.1f}", f"{other.gap_p99 * 1e3:.1f}",
        f"{one.first * 1e3:.1f}", f"{other.first * 1e3:.1f}",
        f"{one.unpaced * 1e6:.1f}", f"{other.unpaced * 1e6:.1f}",
    )  # fmt: skip


def _judge(system: System, plain: Sequence[Sample], resumable: Sequence[Sample]) -> bool:
    ratio = _ratio(plain, resumable)
    each = ", ".join(f"{b.cpu_per_chunk / a.cpu_per_chunk:.2f}" for a, b in zip(plain, resumable, strict=True))
    claim = f"{system.title}: a chunk of a resumable stream takes {ratio:.2f}× the CPU of a plain one's ({each}); at most {COST:g}×"
    return _tell(claim, round(ratio, 2) <= COST)


def _notes(results: Mapping[str, Pair]) -> str:
    samples = [sample for pair in results.values() for each in pair for sample in each]
    # The upstream counts among the others, where a row has one.
    others = max(sample.others for key in results if key not in JUDGED for each in results[key] for sample in each)
    text = (
        f"{STREAMS} streams paced at 50 chunks a second, plain and resumable in turn at the same server; medians. CPU is that "
        f"of all processes of the server, with what they take idle. All else on the machine took at most {others:.0%} of a core "
        "beside `echo`."
    )
    if (kept := min(sample.kept for sample in samples)) < KEPT:
        text += f" Some fell behind: {kept:.0%} of the pace was kept at the worst."
    return text + ("\n\n**The machine was busy with something else: trust none of these figures.**" * (others > BUSY))


# --- what becomes of readers -----------------------------------------------------------------------------------------


@contextmanager
def _replicas() -> Generator[tuple[Server, Server]]:
    with tempfile.TemporaryDirectory(prefix="bench-store-") as folder:
        store = Path(folder) / "runs.db"
        one, other = (dev(f"replica-{name}", "`anabranch dev`", ECHO, store) for name in "ab")
        with serving(one) as first, serving(other) as second:
            yield first, second


def _cuts(servers: Sequence[Server], quick: bool) -> bool:
    cuts = uvloop.run(cut_streams(servers, CUTS // 10 if quick else CUTS))
    whole = [cut for cut in cuts if cut.failed is None]
    for cut in [cut for cut in cuts if cut.failed is not None][:5]:
        print(f"  lost: {cut.failed[:400] if cut.failed else ''}")
    claim = (
        f"{len(whole)} of {len(cuts)} streams, cut at a random byte, half of them by RST, gave their texts exactly; "
        f"{sum(cut.in_chunks for cut in cuts)} were cut between or in chunks, the others before; "
        f"{sum(cut.elsewhere for cut in cuts)} were taken up at the other replica"
    )
    return _tell(claim, len(whole) == len(cuts))


def _readers(servers: Sequence[Server], quick: bool) -> bool:
    part = 10 if quick else 1
    kinds = (("one run", 1, READERS // part), ("a run each", RUNS // part, 1))
    held: list[bool] = []
    for elsewhere in (False, True):  # opens what stays open
        uvloop.run(crowd(servers, "a few", 2, 2, elsewhere=elsewhere))
    for what, runs, readers in kinds:
        for where, elsewhere in (("at its owner's", False), ("at the other replica", True)):
            title = f"{runs * readers} readers of {what} {where}"
            crowds = [uvloop.run(crowd(servers, title, runs, readers, elsewhere=elsewhere)) for _ in range(2)]
            held.append(_judge_crowds(crowds))
    return all(held)


def _judge_crowds(crowds: Sequence[Crowd]) -> bool:
    first, second = crowds
    most = max(each.most - each.before for each in crowds)
    claim = (
        f"{first.title}: {first.complete} and {second.complete} of {first.readers} had all; the server took "
        f"{_mib(first.before)} before, {_mib(first.most)} and {_mib(second.most)} at most, {_mib(first.after)} and "
        f"{_mib(second.after)} after; at most {PER_READER >> 10} KiB a reader, and {LEFT >> 20} MiB more after the second time"
    )
    whole = all(each.complete == each.readers for each in crowds)
    return _tell(claim, whole and most <= max(LEFT, PER_READER * first.readers) and second.after - first.after <= LEFT)


def _delay(servers: Sequence[Server], quick: bool) -> bool:
    delay = uvloop.run(delays(servers, 4.0 if quick else 15.0))
    claim = (
        f"a follower at the other replica has a chunk {delay.median * 1e3:.0f} ms after its owner's client (median; "
        f"p99 {delay.p99 * 1e3:.0f}, worst {delay.worst * 1e3:.0f} of {delay.chunks}); at most {LATE * 1e3:.0f} at the median"
    )
    return _tell(claim, delay.median <= LATE)


def _mib(size: int) -> str:
    return f"{size / 2**20:.0f} MiB"


def _tell(claim: str, held: bool) -> bool:
    print(f"- {'met' if held else '**not met**'}: {claim}", flush=True)
    return held


BESIDE = {"cuts": _cuts, "readers": _readers, "delay": _delay}
PARTS = ("cost", *BESIDE)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.resuming", description="Runs that are kept.")
    parser.add_argument("--quick", action="store_true", help="short, and a tenth of the cuts and readers")
    parser.add_argument("--rounds", type=int, default=3, help="how often each kind of stream is measured (3)")
    parser.add_argument("--only", nargs="+", choices=PARTS, metavar="PART", help=f"some of: {', '.join(PARTS)}")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
