"""Ways to serve a document in; out, seconds until each takes requests, and the memory and CPU it takes while nobody calls.

python -m bench.start [--only KEY …] [--idle SECONDS]
"""

from __future__ import annotations

import argparse
import re
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from bench.processes import machine_cpu
from bench.systems import HOST, SCRIPTS, NotStarted, Server, System, serving

IDLE = 20.0
SETTLED = 3.0
"""Seconds after the start, in which what was put off while it started is done."""
BUSY = 0.15
"""Parts of a core taken by others, above which seconds deserve no trust."""

RAY_STARTED = re.compile(r"^Ray started after ([\d.]+) s$", re.MULTILINE)


@dataclass(frozen=True)
class Way:
    """A row of the table: a document of some http-clients, and the command that serves it."""

    key: str
    title: str
    clients: int = 1
    command: Sequence[str] = ("serve",)
    """What follows `anabranch`; the document and the port are added."""
    on_ray: bool = True
    controller: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """Further keys of the document's controller."""

    def system(self) -> System:
        """Return how to start it."""

        def line(port: int, folder: Path) -> list[str]:
            path = folder / "document.yaml"
            path.write_text(document(self.clients, self.controller))
            return [str(SCRIPTS / "anabranch"), *self.command, str(path), "--host", HOST, "--port", str(port)]

        return System(self.key, self.title, line, on_ray=self.on_ray, says="Serving " if self.on_ray else "")


IN_THE_INGRESS = {"placement": "ingress"}

WAYS = (
    Way("dev-1", "`anabranch dev`, one http-client", command=("dev",), on_ray=False),
    Way("dev-10", "`anabranch dev`, ten http-clients", clients=10, command=("dev",), on_ray=False),
    Way("placed-1", "`anabranch serve`, one http-client in the ingress", controller=IN_THE_INGRESS),
    Way("placed-10", "`anabranch serve`, ten http-clients in the ingress", clients=10, controller=IN_THE_INGRESS),
    Way("serve-1", "`anabranch serve`, one http-client"),
    Way("serve-10", "`anabranch serve`, ten http-clients", clients=10),
    Way("dashboard-1", "`anabranch serve --dashboard`, one http-client", command=("serve", "--dashboard")),
)


WITHIN = {"dev-1": (1.5, 90), "serve-1": (8.0, 800)}
"""Seconds and MiB that these ways may take."""


@dataclass(frozen=True)
class Sample:
    """What was measured of one way."""

    ready: float
    ray: float | None
    processes: int
    memory: int
    """Bytes, of all processes: those of a page that several share are divided among them (PSS)."""
    cpu: float
    """Parts of a core."""
    others: float
    """Parts of a core that the rest of the machine took while it started."""


def document(clients: int, controller: Mapping[str, str]) -> str:
    """Return a document with as many http-clients, of an API that nobody calls."""
    lines = [
        "controller:",
        *(f"  {key}: {value}" for key, value in {"type": "http-server", **controller}.items()),
        "components:",
    ]
    for number in range(clients):
        lines += [
            f"  - id: client-{number}",
            "    type: http-client",
            f"    base_url: http://{HOST}:9",
            "    action: {path: /}",
        ]
    return "\n".join(lines) + "\n"


def measure(way: Way, idle: float) -> Sample:
    """Start it, wait, and stop it again."""
    machine = machine_cpu()
    with serving(way.system()) as server:
        others = machine_cpu() - machine - server.processes.cpu()
        time.sleep(SETTLED)
        processes = server.processes.find()
        began, before = time.monotonic(), server.processes.cpu()
        time.sleep(idle)
        cpu = (server.processes.cpu() - before) / (time.monotonic() - began)
        memory = sum(server.processes.proportional().values())
        return Sample(server.started_after, _ray(server), len(processes), memory, cpu, others / server.started_after)


def _ray(server: Server) -> float | None:
    """Return the seconds that Ray took of the start, where the command says so."""
    said = RAY_STARTED.search(server.log.read_text(errors="replace"))
    return float(said[1]) if said else None


COLUMNS: Sequence[tuple[str, Callable[[Sample], str]]] = (
    ("ready after s", lambda sample: f"{sample.ready:.1f}"),
    ("of it, Ray s", lambda sample: "-" if sample.ray is None else f"{sample.ray:.1f}"),
    ("processes", lambda sample: str(sample.processes)),
    ("memory MiB", lambda sample: f"{sample.memory / 2**20:.0f}"),
    ("idle CPU %", lambda sample: f"{sample.cpu:.1%}".rstrip("%")),
)


def main(arguments: Sequence[str]) -> int:
    """Print a row for each way as soon as it is measured."""
    parser = argparse.ArgumentParser(prog="python -m bench.start", description=__doc__)
    parser.add_argument("--only", nargs="+", choices=[way.key for way in WAYS], metavar="KEY")
    parser.add_argument("--idle", type=float, default=IDLE, help="seconds for which the idle CPU is measured")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is stopped
    print(f"| | {' | '.join(title for title, _ in COLUMNS)} |\n| --- |{' ---: |' * len(COLUMNS)}")
    busy, samples = 0.0, dict[str, Sample]()
    for way in WAYS:
        if options.only and way.key not in options.only:
            continue
        try:
            sample = measure(way, options.idle)
        except NotStarted as failure:
            print(f"{way.key} did not start: {failure}", file=sys.stderr)
            return 1
        samples[way.key] = sample
        busy = max(busy, sample.others)
        print(f"| {way.title} | {' | '.join(show(sample) for _, show in COLUMNS)} |", flush=True)
    if busy > BUSY:
        print(f"\nOthers took up to {busy:.0%} of a core meanwhile: don't trust the seconds.")
    return 0 if _judge(samples) else 1


def _judge(samples: Mapping[str, Sample]) -> bool:
    """Print each target, met or not."""
    held = True
    for key, (seconds, memory) in WITHIN.items():
        if key in samples:
            ready, taken = samples[key].ready, samples[key].memory / 2**20
            met = ready <= seconds and taken <= memory
            held = held and met
            word = "met" if met else "**not met**"
            print(f"- {word}: {key} ready after {ready:.1f} s, at most {seconds:g}; {taken:.0f} MiB, at most {memory}")
    return held


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
