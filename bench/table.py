"""Samples of systems in, the Markdown table with its ratios out, and which targets are met."""

# ruff: noqa: RUF001  (ratios have their own sign)

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import TypeVar

from bench.measure import PACED_STREAMS, UNPACED_STREAMS, Sample
from bench.systems import ANABRANCH_ONE, INGRESS, UVICORN, System

Results = Mapping[System, Sequence[Sample]]
S = TypeVar("S", bound=Sample)

BUSY = 0.15
"""Parts of a core taken by others, above which figures deserve no trust."""

KEPT = 0.98
"""The part of the pace below which a system is overloaded."""


@dataclass(frozen=True)
class Target:
    """A figure of anabranch with one component that must be reached."""

    what: str
    limit: float
    unit: str
    beside: System
    value: Callable[[Sample, Sample], float]
    """From anabranch's medians and those of the system beside it."""


TARGETS = (
    Target(f"CPU a chunk at {PACED_STREAMS} paced streams", 1.3, "×", INGRESS, lambda own, peer: own.cpu_per_chunk / peer.cpu_per_chunk),
    Target(f"p99 gap at {PACED_STREAMS} paced streams", 1.3, "×", UVICORN, lambda own, peer: own.gap_p99 / peer.gap_p99),
    Target(f"wall time a chunk, {UNPACED_STREAMS} unpaced streams", 2.0, "×", UVICORN, lambda own, peer: own.unpaced / peer.unpaced),
    Target("median time to the first chunk", 8.0, " ms more than", UVICORN, lambda own, peer: (own.first - peer.first) * 1e3),
)  # fmt: skip

HEADINGS = (
    "", "CPU µs/chunk", "× ingress", "idle CPU %", "pace kept %", "gap p50 ms", "gap p99 ms", "× uvicorn",
    "unpaced µs/chunk", "× uvicorn", "first chunk ms", "+ uvicorn ms",
)  # fmt: skip


def medians(samples: Sequence[S]) -> S:
    """Return each figure's median over the rounds."""
    return type(samples[0])(
        **{name: median(sample.as_json()[name] for sample in samples) for name in samples[0].as_json()}
    )


def table(results: Results) -> str:
    """Return one row per system."""
    figures = {system: medians(samples) for system, samples in results.items()}
    rows = [HEADINGS, ("---", *("---:" for _ in HEADINGS[1:]))]
    rows += [_row(system, own, figures.get(INGRESS), figures.get(UVICORN)) for system, own in figures.items()]
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def targets(results: Results) -> str:
    """Return one line per target, met or not."""
    return "\n".join(_judge(target, results) for target in TARGETS)


def notes(results: Results) -> str:
    """Return what a reader must know to trust the figures."""
    samples = [sample for rounds in results.values() for sample in rounds]
    others = max(sample.others for sample in samples)
    rounds = max(map(len, results.values()))
    lines = [
        f"Median of {rounds} rounds, " if rounds > 1 else "One round, ",
        "paced at 50 chunks a second a stream. CPU is that of all processes of the server, with what Ray takes idle, ",
        "which its own column shows (in % of a core; nothing is subtracted). ",
        f"The load tool took at most {max(sample.load_cpu for sample in samples):.0%} of a core, paced; ",
        f"everything else on the machine at most {others:.0%}.",
    ]
    late = [system.title for system, rounds in results.items() if medians(rounds).kept < KEPT]
    if late:
        lines.append(f" Overloaded, so that the other figures flatter it: {', '.join(late)}.")
    if others > BUSY:
        lines.append("\n\n**The machine was busy with something else: trust none of these figures.**")
    return "".join(lines)


def _row(system: System, own: Sample, ingress: Sample | None, uvicorn: Sample | None) -> tuple[str, ...]:
    return (
        system.title,
        f"{own.cpu_per_chunk * 1e6:.0f}",
        f"{own.cpu_per_chunk / ingress.cpu_per_chunk:.2f}" if ingress else "–",
        f"{own.idle * 100:.0f}",
        f"{own.kept * 100:.0f}",
        f"{own.gap_p50 * 1e3:.1f}",
        f"{own.gap_p99 * 1e3:.1f}",
        f"{own.gap_p99 / uvicorn.gap_p99:.2f}" if uvicorn else "–",
        f"{own.unpaced * 1e6:.1f}",
        f"{own.unpaced / uvicorn.unpaced:.2f}" if uvicorn else "–",
        f"{own.first * 1e3:.2f}",
        f"{(own.first - uvicorn.first) * 1e3:.2f}" if uvicorn else "–",
    )


def _judge(target: Target, results: Results) -> str:
    own, peer = results.get(ANABRANCH_ONE), results.get(target.beside)
    bound = f"at most {target.limit:g}{target.unit} the {target.beside.title.removeprefix('the ')}"
    if not own or not peer:
        return f"- not measured: {target.what}, {bound}"
    value = target.value(medians(own), medians(peer))
    return f"- {'met' if value <= target.limit else '**not met**'}: {target.what}: {value:.2f}, {bound}"
