"""The test upstream as a process: it says where it listens, answers on demand, and tells its log."""

from __future__ import annotations

import asyncio
import sys
from pathlib import Path

import aiohttp


async def test_the_upstream_runs_as_a_process_and_tells_who_left():
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.fakes.http_server", stdout=asyncio.subprocess.PIPE, cwd=Path(__file__).parents[2]
    )
    assert process.stdout is not None
    try:
        url = (await process.stdout.readline()).decode().strip()
        async with aiohttp.ClientSession(url) as session:
            async with session.get("/ndjson?count=3") as response:
                assert (await response.text()).count("\n") == 3
            async with session.get("/ndjson?at=1&end=hang") as response:
                assert await response.content.readline()
                response.close()
            async with session.get("/log?left=1") as response:
                calls = (await response.json())["calls"]
    finally:
        process.terminate()
        assert await process.wait() == 0
    assert [call["left_at"] is not None for call in calls] == [False, True]
