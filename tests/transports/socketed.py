"""A WebSocket of the HTTP API as a client has it: JSON in, JSON out, each frame within a deadline."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from typing import Any

from websockets.asyncio.client import ClientConnection, connect
from websockets.exceptions import ConnectionClosed

from tests.transports.served import DEADLINE

CHAT = "/v1/chat/completions"
MODEL = "story"


class Talk:
    """An open socket."""

    def __init__(self, wire: ClientConnection) -> None:
        self.wire = wire

    async def say(self, **fields: Any) -> None:
        await self.wire.send(json.dumps(fields))

    async def ask(self, text: str, **fields: Any) -> None:
        """Send a chat request."""
        await self.say(**{"model": MODEL, "messages": [{"role": "user", "content": text}], **fields})

    async def frame(self) -> dict[str, Any]:
        async with asyncio.timeout(DEADLINE):
            return json.loads(await self.wire.recv())

    async def error(self) -> dict[str, Any]:
        """The next frame, which tells an error."""
        return (await self.frame())["error"]

    async def answer(self) -> list[dict[str, Any]]:
        """The frames of an answer, when it is the only one."""
        frames = [await self.frame()]
        while finish(frames[-1]) is None:
            frames.append(await self.frame())
        return frames

    async def ended(self) -> tuple[int, str]:
        """Wait until the server has closed the socket; return its code and reason."""
        async with asyncio.timeout(DEADLINE):
            with suppress(ConnectionClosed):
                while True:
                    await self.wire.recv()
        assert self.wire.close_code is not None
        return self.wire.close_code, self.wire.close_reason or ""


@asynccontextmanager
async def talking(address: str, path: str = CHAT, **options: Any) -> AsyncIterator[Talk]:
    """Open a socket at a server's address."""
    async with connect(f"{address.replace('http', 'ws', 1)}{path}", **options) as wire:
        yield Talk(wire)


def finish(frame: dict[str, Any]) -> str | None:
    assert "choices" in frame, frame
    return frame["choices"][0]["finish_reason"]


def text(frames: list[dict[str, Any]]) -> str:
    return "".join(frame["choices"][0]["delta"].get("content", "") for frame in frames)
