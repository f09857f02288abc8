"""One model, many streams: tokens a second of the raw loop, of threads, of the engine, and of the whole graph over SSE.

    python -m bench.models [--size 90m|1b] [--device cpu|cuda] [--streams 16] [--words 6] [--tokens 64] [--rounds 2] [--only KEY …]

Weights are random, generation greedy, and every stream is as long as the others. On the CPU everything has one thread.
"""

# ruff: noqa: RUF001  (ratios have their own sign)

from __future__ import annotations

import argparse
import asyncio
import json
import os
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

from bench.peers import llama
from bench.peers.generating import Speed, continuous, raw, threads
from bench.processes import machine_cpu
from bench.systems import HOST, SCRIPTS, System, serving

HEADINGS = ("", "tokens/s", "× raw loop", "× threads", "first text ms", "× threads")

TITLES = {
    "raw": "raw batched loop",
    "threads": "a TextIteratorStreamer thread each",
    "continuous": "transformers' continuous batching",
    "engine": "anabranch, the engine alone",
    "graph": "anabranch, the whole graph over SSE",
}


@dataclass(frozen=True)
class Target:
    """A ratio that must be reached."""

    what: str
    least: float
    value: Callable[[dict[str, Speed]], float]


TARGETS = (
    Target("tokens a second of the engine, of the raw loop's", 0.85, lambda speeds: speeds["engine"].rate / speeds["raw"].rate),
    Target("tokens a second of the graph, of the raw loop's", 0.75, lambda speeds: speeds["graph"].rate / speeds["raw"].rate),
    Target("tokens a second of the engine, of the threads'", 5.0, lambda speeds: speeds["engine"].rate / speeds["threads"].rate),
    Target("first text of the threads, of the engine's", 5.0, lambda speeds: speeds["threads"].first / speeds["engine"].first),
)  # fmt: skip


@dataclass(frozen=True)
class Bench:
    """What is generated, and on what."""

    folder: Path
    device: str
    precision: str
    prompts: list[str]
    tokens: int


def main(arguments: Sequence[str] | None = None) -> int:
    """Print the table and the targets; 1 when one was missed."""
    options = _parse(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    if options.device == "cpu":
        os.environ["OMP_NUM_THREADS"] = "1"
    with tempfile.TemporaryDirectory(prefix="bench-model-") as folder:
        precision = "float32" if options.device == "cpu" else "bfloat16"
        llama.build(Path(folder), llama.SIZES[options.size], precision)
        bench = Bench(
            Path(folder), options.device, precision, llama.prompts(options.streams, options.words), options.tokens
        )
        rounds = [_round(bench, options.only) for _ in range(options.rounds)]
    speeds = {key: _median([each[key] for each in rounds]) for key in rounds[0]}
    print(f"{_title(options)}\n\n{_table(speeds)}\n\n{_targets(speeds)}")
    return 0 if all(target.value(speeds) >= target.least for target in _measurable(speeds)) else 1


def _round(bench: Bench, keys: Sequence[str]) -> dict[str, Speed]:
    """Measure each once; the model is loaded anew by the engine's own loader, which the raw loop and threads use as well."""
    import torch

    from deployments.engines.huggingface.loading import load

    if bench.device == "cpu":
        torch.set_num_threads(1)
    fresh = partial(load, str(bench.folder), "text-generation", bench.device, bench.precision)
    loaded = fresh()
    ids = [loaded.tokenizer(prompt)["input_ids"] for prompt in bench.prompts]
    ways: dict[str, Callable[[], Speed]] = {
        "raw": lambda: raw(loaded.model, ids, bench.tokens),
        "threads": lambda: threads(loaded.model, loaded.tokenizer, bench.prompts, bench.tokens),
        "continuous": lambda: asyncio.run(continuous(fresh().model, ids, bench.tokens)),
        "engine": lambda: asyncio.run(_engine(loaded, bench)),
        "graph": lambda: _graph(bench),
    }
    raw(loaded.model, ids, 4)
    speeds: dict[str, Speed] = {}
    for key in keys:
        busy, began = machine_cpu(), time.monotonic()
        speeds[key] = ways[key]()
        taken = (machine_cpu() - busy) / (time.monotonic() - began)
        print(f"{TITLES[key]}: {speeds[key].rate:.0f} tokens/s, {taken:.1f} cores busy", file=sys.stderr)
    return speeds


async def _engine(loaded: Any, bench: Bench) -> Speed:
    from deployments.engines.engine import Ask, Ended, Sampling
    from deployments.engines.huggingface.engine import HuggingFace

    engine = HuggingFace(loaded)
    lengths = Sampling(max_output_length=bench.tokens, min_output_length=bench.tokens, do_sample=False)
    counted = 0

    async def read(prompt: str) -> float:
        nonlocal counted
        first = 0.0
        async for piece in engine.generate(Ask(text=prompt, sampling=lengths)):
            if isinstance(piece, Ended):
                counted += piece.usage.completion_tokens
            else:
                first = first or time.perf_counter() - began
        return first

    try:
        began = time.perf_counter()
        await read(bench.prompts[0])  # the thread starts with the first request
        counted, began = 0, time.perf_counter()
        firsts = await asyncio.gather(*map(read, bench.prompts))
        return Speed(counted, time.perf_counter() - began, median(firsts))
    finally:
        await engine.aclose()


def _graph(bench: Bench) -> Speed:
    system = System("model", "model", partial(_command, bench), path="/api/workflows/runs")
    with serving(system) as server:
        return asyncio.run(_requests(server.url, bench))


def _command(bench: Bench, port: int, folder: Path) -> list[str]:
    """Serve the model; `folder` is for files of its own."""
    document = folder / "model.yaml"
    lengths = {"max_output_length": bench.tokens, "min_output_length": bench.tokens, "do_sample": False}
    model = {
        "type": "model", "task": "text-generation", "model": str(bench.folder), "device": bench.device,
        "precision": bench.precision, "streaming": True, "text": "${input.text}", "params": lengths,
        "resources": {"num_cpus": 1, "num_gpus": int(bench.device != "cpu")},
    }  # fmt: skip
    document.write_text(json.dumps({"component": model, "workflow": {"output": "${output as text;sse-text}"}}))
    return [str(SCRIPTS / "anabranch"), "serve", str(document), "--host", HOST, "--port", str(port)]


async def _requests(url: str, bench: Bench) -> Speed:
    import aiohttp

    async with aiohttp.ClientSession(connector=aiohttp.TCPConnector(limit=0)) as session:

        async def read(prompt: str) -> float:
            first = 0.0
            body = {"input": {"text": prompt}, "output_only": True}
            async with session.post(url, json=body) as answer:
                async for line in answer.content:
                    if line.startswith(b"data: "):
                        first = first or time.perf_counter() - began
                    elif line.startswith(b"event: end"):
                        return first
            raise RuntimeError(f"a stream was cut; status {answer.status}")

        began = time.perf_counter()
        await read(bench.prompts[0])
        began = time.perf_counter()
        firsts = await asyncio.gather(*map(read, bench.prompts))
        return Speed(bench.tokens * len(bench.prompts), time.perf_counter() - began, median(firsts))


def _median(speeds: Sequence[Speed]) -> Speed:
    return Speed(speeds[0].tokens, median(each.seconds for each in speeds), median(each.first for each in speeds))


def _title(options: argparse.Namespace) -> str:
    return f"{options.size} random Llama on {options.device}, {options.streams} prompts of {options.words} words, {options.tokens} tokens each"


def _table(speeds: dict[str, Speed]) -> str:
    rows = [HEADINGS, ("---", *("---:" for _ in HEADINGS[1:]))]
    for key, speed in speeds.items():
        row = (
            TITLES[key],
            f"{speed.rate:.0f}",
            _ratio(speed.rate, speeds.get("raw"), lambda peer: peer.rate),
            _ratio(speed.rate, speeds.get("threads"), lambda peer: peer.rate),
            f"{speed.first * 1e3:.0f}",
            _ratio(speed.first, speeds.get("threads"), lambda peer: peer.first),
        )
        rows.append(row)
    return "\n".join(f"| {' | '.join(row)} |" for row in rows)


def _ratio(own: float, peer: Speed | None, figure: Callable[[Speed], float]) -> str:
    return "–" if peer is None else f"{own / figure(peer):.2f}"


def _targets(speeds: dict[str, Speed]) -> str:
    lines = []
    for target in _measurable(speeds):
        value = target.value(speeds)
        met = "met" if value >= target.least else "MISSED"
        lines.append(f"- {target.what}: {value:.2f}, at least {target.least:g}: **{met}**")
    return "\n".join(lines)


def _measurable(speeds: dict[str, Speed]) -> list[Target]:
    """Return the targets for which everything was measured."""

    def known(target: Target) -> bool:
        try:
            target.value(speeds)
        except KeyError:
            return False
        return True

    return [target for target in TARGETS if known(target)]


def _parse(arguments: Sequence[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m bench.models", description=__doc__.splitlines()[0])
    parser.add_argument("--size", choices=llama.SIZES, default="90m")
    parser.add_argument("--device", choices=["cpu", "cuda"], default="cpu")
    parser.add_argument("--streams", type=int, default=16)
    parser.add_argument("--tokens", type=int, default=64)
    parser.add_argument("--words", type=int, default=6, help="of each prompt; long ones take their time with everybody")
    parser.add_argument("--rounds", type=int, default=2)
    parser.add_argument("--only", nargs="+", choices=TITLES, default=list(TITLES), metavar="KEY")
    return parser.parse_args(arguments)


if __name__ == "__main__":
    sys.exit(main())
