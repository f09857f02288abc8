"""Measure every system in turn, round after round, and print one table: `python -m bench [--quick] [--only KEY…]`."""

from __future__ import annotations

import argparse
import json
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from bench.measure import FULL, QUICK, Lengths, LoadFailed, Sample, measure
from bench.systems import SYSTEMS, NotStarted, System, serving
from bench.table import notes, table, targets


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the rounds; 1 when a system couldn't be measured."""
    options = _parse(arguments)
    signal.signal(
        signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM)
    )  # so that servers are stopped as for Ctrl-C
    systems = [system for system in SYSTEMS if not options.only or system.key in options.only]
    results: dict[System, list[Sample]] = {}
    failures: dict[System, str] = {}
    for number in range(1 if options.quick else options.rounds):
        # There and back, so that what drifts (heat, other work) falls on all alike.
        for system in systems if number % 2 == 0 else reversed(systems):
            if system not in failures:
                _measure(system, QUICK if options.quick else FULL, results, failures)
    ordered = {system: results[system] for system in systems if system in results}
    if ordered:
        print(f"{table(ordered)}\n\n{targets(ordered)}\n\n{notes(ordered)}")
    for system, reason in failures.items():
        print(f"\n**{system.title} was not measured**: {reason}")
    if options.json:
        figures = {system.key: [sample.as_json() for sample in samples] for system, samples in ordered.items()}
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    return 1 if failures else 0


def _measure(
    system: System, lengths: Lengths, results: dict[System, list[Sample]], failures: dict[System, str]
) -> None:
    began = time.monotonic()
    print(f"{system.title} …", end=" ", file=sys.stderr, flush=True)
    try:
        with serving(system) as server:
            sample = measure(server, lengths)
    except (NotStarted, LoadFailed) as error:
        failures[system] = str(error)
        print("failed", file=sys.stderr)
        return
    results.setdefault(system, []).append(sample)
    print(f"{time.monotonic() - began:.0f} s", file=sys.stderr)


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench", description="anabranch beside its peers, in one table.")
    parser.add_argument("--quick", action="store_true", help="one short round: does it run, and is it roughly right")
    parser.add_argument("--rounds", type=int, default=2, help="how often every system is started and measured (2)")
    keys = [system.key for system in SYSTEMS]
    parser.add_argument("--only", nargs="+", choices=keys, metavar="KEY", help=f"some of: {', '.join(keys)}")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write all samples there")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
