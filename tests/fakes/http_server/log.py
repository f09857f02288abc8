"""What the test upstream remembers: each request as a Call, when it came, and when and how it ended."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(slots=True)
class Call:
    """One request as it came, and what became of it. Times are those of `time.time()`, the same in every process."""

    method: str
    path: str
    query: Mapping[str, list[str]]
    headers: Mapping[str, str]
    peer: tuple[str, int]
    pieces: list[bytes] = field(default_factory=list)
    """The packets of the body, as they came."""
    came_at: float = field(default_factory=time.time)
    left_at: float | None = None
    answered_at: float | None = None
    left: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the caller went away before the answer's end."""
    answered: asyncio.Event = field(default_factory=asyncio.Event)
    """Set when the whole answer has been sent."""

    @property
    def body(self) -> bytes:
        return b"".join(self.pieces)

    def json(self) -> Any:
        return json.loads(self.body)

    def summary(self) -> dict[str, Any]:
        times = {"came_at": self.came_at, "left_at": self.left_at, "answered_at": self.answered_at}
        return {"method": self.method, "path": self.path, "query": dict(self.query), **times}


class Log:
    """Every Call, and a way to wait for what becomes of them."""

    def __init__(self) -> None:
        self.begun: list[Call] = []
        """Those whose headers have come."""
        self.calls: list[Call] = []
        """Those whose bodies have come too."""
        self._bell = asyncio.Event()

    def begin(self, call: Call) -> None:
        self.begun.append(call)
        self._ring()

    def received(self, call: Call) -> None:
        self.calls.append(call)
        self._ring()

    def leave(self, call: Call) -> None:
        call.left_at = time.time()
        call.left.set()
        self._ring()

    def answer(self, call: Call) -> None:
        call.answered_at = time.time()
        call.answered.set()
        self._ring()

    async def until(self, seen: Callable[[], bool]) -> None:
        """Return once it is so."""
        while not seen():
            await self._bell.wait()

    def _ring(self) -> None:
        # Whoever waits is woken once, and waits for the next bell.
        self._bell.set()
        self._bell = asyncio.Event()
