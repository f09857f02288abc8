"""Processes of others: wait until one is gone, or look whether it lives."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path

DEADLINE = 20.0
"""Seconds for what must come; nothing waits this long unless it is broken."""


async def gone(pid: int) -> bool:
    """Wait for the end of a process that is not ours."""
    try:
        ended = os.pidfd_open(pid)
    except ProcessLookupError:
        return True
    loop = asyncio.get_running_loop()
    news = loop.create_future()
    loop.add_reader(ended, lambda: news.done() or news.set_result(True))
    try:
        async with asyncio.timeout(DEADLINE):
            return await news
    except TimeoutError:
        return False
    finally:
        loop.remove_reader(ended)
        os.close(ended)


def called_with(word: str) -> list[int]:
    """The processes that have this among the words of their command."""
    found: list[int] = []
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            if word.encode() in (entry / "cmdline").read_bytes().split(b"\0"):
                found.append(int(entry.name))
        except OSError:
            continue
    return found


def parent_of(pid: int) -> int:
    return int(Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()[1])
