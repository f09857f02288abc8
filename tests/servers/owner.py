"""An owner to be killed: `python -m tests.servers.owner COMMAND…` starts it, says its process id, and stays."""

import asyncio
import os
import sys
import time

from deployments.servers.commands import Command
from deployments.servers.output import Output
from deployments.servers.process import Process


async def own(words: list[str]) -> None:
    """Start, tell and stay; `--twin` first: a child inherits all that the owner has open, and outlives it."""
    twin = words[0] == "--twin"
    output = Output("servers")
    process = await Process.start(Command(tuple(words[twin:]), dict(os.environ)), output)
    other = os.fork() if twin else 0
    if twin and other == 0:
        outlive()
    print(process.pid, other, flush=True)  # noqa: T201  (for the test that reads it)
    await process.wait()


def outlive() -> None:
    """Stay, with every file of the owner open but the one that the test reads to its end."""
    os.close(1)
    time.sleep(1000)


asyncio.run(own(sys.argv[1:]))
