"""What every peer streams: a Request in, `repeat` words `interval` seconds apart out, and their form on the wire."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator

from pydantic import BaseModel


class Request(BaseModel):
    """The fields of anabranch's `input` in these documents, so that every system is asked for the same."""

    text: str = "token "
    repeat: int = 1
    interval: float = 0.0


async def words(request: Request) -> AsyncIterator[str]:
    """Yield the text again and again, paced by the clock as `echo` is, so that no delay adds up.

    Without a pace it still gives way after each chunk, as whatever makes tokens does: a source that didn't would
    write one stream to its end while the others wait, and measure that instead of streaming.
    """
    loop = asyncio.get_running_loop()
    start = loop.time()
    for index in range(request.repeat):
        if index:
            pause = start + index * request.interval - loop.time() if request.interval else 0.0
            await asyncio.sleep(max(0.0, pause))
        yield request.text


def event(chunk: str) -> bytes:
    """Return the chunk as one SSE event."""
    return b"data: %b\n\n" % chunk.encode()
