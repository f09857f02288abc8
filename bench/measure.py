"""A running Server in, one Sample of it out: every figure of its row, measured once."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from dataclasses import asdict, dataclass
from typing import Any

from bench.load import First, Paced, Unpaced
from bench.processes import machine_cpu
from bench.systems import ROOT, Server

PACED_STREAMS = 128
UNPACED_STREAMS = 32
UNPACED_RUNS = 3
TOGETHER_RUNS = 15


class LoadFailed(Exception):
    """The load tool couldn't measure; its last words say why."""


@dataclass(frozen=True)
class Lengths:
    """How long each part takes."""

    requests: int
    idle: float
    paced: float
    chunks: int = 2000
    """Of each unpaced stream."""
    warm: int = 500
    """Of each of the eight unpaced streams before all else."""


FULL = Lengths(requests=50, idle=3.0, paced=6.0)
QUICK = Lengths(requests=20, idle=1.0, paced=3.0)


@dataclass(frozen=True)
class Sample:
    """What was measured of one start of one system; times in seconds."""

    cpu_per_chunk: float
    """CPU of all the server's processes, paced; what it takes idle is in it."""
    idle: float
    """Parts of a core taken with nothing to do."""
    kept: float
    """Which part of the pace was kept; below 1 the system is overloaded."""
    gap_p50: float
    gap_p99: float
    unpaced: float
    """Wall time a chunk."""
    first: float
    """Median time to the first chunk, one stream at a time."""
    load_cpu: float
    """The most of a core that the load tool took, paced."""
    others: float
    """Parts of a core that went to neither the server nor the load tool, paced."""

    def as_json(self) -> dict[str, float]:
        """Return the figures by name."""
        return asdict(self)


def first_together(server: Server, streams: int) -> float:
    """Return the median seconds to the first chunk when so many paced streams start in the same instant."""
    together = ("--together", str(streams))
    _warm(server, FULL.warm)
    _load(server, "first", "--requests", "3", *together)  # opens what stays open
    return First(**_load(server, "first", "--requests", str(TOGETHER_RUNS), *together)).median


def measure(server: Server, lengths: Lengths, streams: int = PACED_STREAMS) -> Sample:
    """Measure everything once, after a warm-up that isn't counted."""
    _warm(server, lengths.warm)
    first = First(**_load(server, "first", "--requests", str(lengths.requests)))
    idle = _idle(server, lengths.idle)
    unpaced = sorted(run.per_chunk for run in _unpaced(server, lengths.chunks))
    cpu, others, paced = _paced(server, streams, lengths.paced)
    return Sample(
        cpu_per_chunk=cpu / paced.chunks,
        idle=idle,
        kept=paced.kept,
        gap_p50=paced.gap_p50,
        gap_p99=paced.gap_p99,
        unpaced=unpaced[len(unpaced) // 2],
        first=first.median,
        load_cpu=paced.load_cpu,
        others=others,
    )


def _warm(server: Server, chunks: int) -> None:
    _load(server, "first", "--requests", "10")
    _load(server, "unpaced", "--streams", "8", "--chunks", str(chunks))


def _idle(server: Server, seconds: float) -> float:
    server.processes.find()
    cpu, began = server.processes.cpu(), time.monotonic()
    time.sleep(seconds)
    return (server.processes.cpu() - cpu) / (time.monotonic() - began)


def _unpaced(server: Server, chunks: int) -> list[Unpaced]:
    """Repeat what is over quickly: short runs vary, long ones needn't be repeated."""
    runs: list[Unpaced] = []
    while len(runs) < UNPACED_RUNS and sum(run.seconds for run in runs) < 2.0:
        counts = ("--streams", str(UNPACED_STREAMS), "--chunks", str(chunks))
        runs.append(Unpaced(**_load(server, "unpaced", *counts)))
    return runs


def _paced(server: Server, streams: int, seconds: float) -> tuple[float, float, Paced]:
    """Return the server's CPU seconds in the window, the parts of a core that others took, and what the client saw."""
    server.processes.find()
    command = _command(server, "paced", "--streams", str(streams), "--seconds", str(seconds))
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as load:
        assert load.stdout is not None
        assert load.stderr is not None
        try:
            opened = load.stdout.readline()
            before = server.processes.cpu(), machine_cpu()
            shut = load.stdout.readline()
            after = server.processes.cpu(), machine_cpu()
            answer = load.stdout.read()
            if (opened, shut) != ("open\n", "shut\n") or load.wait() != 0:
                raise LoadFailed(_last_words(load.stderr.read()))
        finally:
            load.kill()
    paced = Paced(**json.loads(answer))
    cpu, machine = after[0] - before[0], after[1] - before[1]
    return cpu, max(0.0, (machine - cpu) / paced.seconds - paced.load_cpu), paced


def _load(server: Server, *arguments: str) -> dict[str, Any]:
    done = subprocess.run(_command(server, *arguments), cwd=ROOT, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise LoadFailed(_last_words(done.stderr))
    return json.loads(done.stdout)


def _command(server: Server, *arguments: str) -> list[str]:
    told = ("--envelope", json.dumps(server.system.envelope), "--mark", server.system.mark.decode())
    return [sys.executable, "-m", "bench.load", server.url, *arguments, *told]


def _last_words(stderr: str) -> str:
    return stderr.strip()[-800:] or "the load tool ended without a word"
