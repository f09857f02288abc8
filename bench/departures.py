"""Clients that leave, through `anabranch serve`; out, how long it takes until the upstream sees it, in four moments.

python -m bench.departures [--quick]
"""

from __future__ import annotations

import argparse
import asyncio
import signal
import sys
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any

import uvloop

from bench.load import LIMIT
from bench.systems import NotStarted, Server, serving
from bench.upstream import ANABRANCH, RUN, UPSTREAM, Log, before
from bench.wire import BadLoad, Reader, Target

WITHIN = 0.100
TIMES = 20
LONG = 60

SETTLED = 0.1
"""Seconds after the upstream has the call, in which what it says at once gets to the client."""


@dataclass(frozen=True)
class Moment:
    """When a client leaves: what it asks for, and how many chunks it waits for."""

    title: str
    fields: Mapping[str, Any]
    workflow: str = "words"
    chunks: int = 0


MOMENTS = (
    Moment("before the upstream's headers", {"repeat": 4, "interval": 0, "headers": LONG}),
    Moment("before the first chunk", {"repeat": 4, "interval": 0, "first": LONG}),
    Moment("mid-stream, at 50 chunks a second", {"repeat": LONG * 50, "interval": 0.02}, chunks=5),
    Moment("in a call that doesn't stream", {"repeat": 4, "headers": LONG}, workflow="whole"),
)


async def check(server: Server, upstream: Server, times: int) -> bool:
    """Print the table; true when every departure was seen in time."""
    print(f"From a client's closing its socket to the upstream's seeing it, {times} times each:\n")
    print("| the client leaves | median ms | worst ms | |\n| --- | ---: | ---: | --- |")
    held: list[bool] = []
    async with Log(upstream) as log:
        for moment in MOMENTS:
            await _leave(server, log, moment)  # the first of a kind opens connections; they stay
            took = [await _leave(server, log, moment) for _ in range(times)]
            held.append(max(took) <= WITHIN)
            verdict = "met" if held[-1] else "**not met**"
            print(f"| {moment.title} | {median(took) * 1e3:.1f} | {max(took) * 1e3:.1f} | {verdict} |", flush=True)
    print(f"\n- {'met' if all(held) else '**not met**'}: the upstream sees a departure within {WITHIN * 1e3:.0f} ms")
    return all(held)


async def _leave(server: Server, log: Log, moment: Moment) -> float:
    """Return the seconds between leaving and the upstream's knowing."""
    await log.forget()
    enough = asyncio.Event()

    def arrived(reader: Reader, *_: object) -> None:
        if reader.chunks >= moment.chunks:
            enough.set()

    target = Target.post(server.url, {**RUN, "workflow_id": moment.workflow}, dict(moment.fields))
    reader = await Reader(target, arrived).start()
    try:
        await log.calls(called=1)
        if moment.chunks:
            await asyncio.wait_for(enough.wait(), LIMIT)
        else:
            await asyncio.sleep(SETTLED)
        if reader.ended.done():
            reader.ended.result()
            raise BadLoad(f"{moment.title}: the answer had ended already")
        at = time.time()
    finally:
        reader.close()
    (call,) = await log.calls(left=1)
    return call["left_at"] - at


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve, leave; 1 when a departure was seen too late."""
    parser = argparse.ArgumentParser(
        prog="python -m bench.departures", description="How soon the upstream sees that a client has left."
    )
    parser.add_argument("--quick", action="store_true", help="five of each")
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(128 + signal.SIGTERM))
    try:
        with serving(UPSTREAM) as upstream, serving(before(upstream, ANABRANCH)) as server:
            return 0 if uvloop.run(check(server, upstream, 5 if options.quick else TIMES)) else 1
    except (NotStarted, BadLoad, OSError, TimeoutError) as error:
        sys.exit(f"not measured: {str(error) or type(error).__name__}")


if __name__ == "__main__":
    sys.exit(main())
