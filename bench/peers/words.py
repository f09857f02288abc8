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
    """Yield the text again and again; pauses fall between chunks, as `echo` has them."""
    for index in range(request.repeat):
        if index and request.interval:
            await asyncio.sleep(request.interval)
        yield request.text


def event(chunk: str) -> bytes:
    """Return the chunk as one SSE event."""
    return b"data: %b\n\n" % chunk.encode()
