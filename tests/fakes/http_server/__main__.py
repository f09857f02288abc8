"""`python -m tests.fakes.http_server --port 9000`: the test upstream as a process; it prints its URL when it listens."""

from __future__ import annotations

import argparse
import asyncio
import signal

from tests.fakes.http_server.server import Upstream


async def serve(host: str, port: int) -> None:
    """Serve until told to stop."""
    stop = asyncio.Event()
    for signum in (signal.SIGINT, signal.SIGTERM):
        asyncio.get_running_loop().add_signal_handler(signum, stop.set)
    async with Upstream(host, port) as upstream:
        print(upstream.base_url, flush=True)  # noqa: T201  (whoever started it reads where it is)
        await stop.wait()


parser = argparse.ArgumentParser(prog="python -m tests.fakes.http_server", description=__doc__)
parser.add_argument("--host", default="127.0.0.1")
parser.add_argument("--port", type=int, default=0, help="0 takes a free one")
asked = parser.parse_args()
asyncio.run(serve(asked.host, asked.port))
