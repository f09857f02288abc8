"""Components in this process, for tests; and a sink that gathers chunks."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

from deployments.local.component import LocalComponent, close_all, start_all
from deployments.local.invoke import LocalInvoke
from deployments.streams.codec import decode, encode
from deployments.telemetry.redaction import Redactor
from graphs.component import Registry
from graphs.errors import AnabranchError
from graphs.plan import Plan
from graphs.stream import Batch, Chunk


class Basket:
    """A sink that gathers chunks, as the channel would give them, until they are taken."""

    def __init__(self) -> None:
        self.count = 0
        self.on_stop: Callable[[], object] | None = None
        self.stopped: Exception | None = None
        self._chunks: Batch = []
        self._filled = asyncio.Event()

    def put(self, chunk: Chunk) -> bool:
        self._chunks.append(decode(*encode(chunk)))
        self.count += 1
        self._filled.set()
        return False

    async def room(self) -> None:
        await asyncio.sleep(0)

    def finish(self) -> None: ...

    def fail(self, error: AnabranchError) -> None: ...

    async def filled(self) -> None:
        """Wait until there is something to take."""
        await self._filled.wait()

    def take(self) -> Batch:
        """Return what is there; maybe nothing."""
        batch, self._chunks = self._chunks, []
        self._filled.clear()
        return batch


@asynccontextmanager
async def local(plan: Plan, types: Registry) -> AsyncIterator[LocalInvoke]:
    """Set up the components of a plan that are deployed, and close them in the end."""
    components = {
        id: LocalComponent(each, types[each.type], Redactor())
        for id, each in plan.components.items()
        if types[each.type].deployed
    }
    await start_all(components.values())
    invoke = LocalInvoke(components)
    try:
        yield invoke
    finally:
        await invoke.aclose()
        await close_all(components.values())
