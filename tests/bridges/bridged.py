"""A gateway with a bridge to a broker, in this process."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from deployments.bridges.bridges import Bridges
from deployments.gateway.gateway import Gateway
from graphs.plan import Bridge, Store
from tests.bridges.clients import PROJECT
from tests.bridges.mosquitto import DEADLINE
from tests.sessions.talking import Invoke, talking


def bridge(port: int, **more: Any) -> Bridge:
    return Bridge(**{"id": "mqtt", "host": "127.0.0.1", "port": port, "tls": None, "project": PROJECT,
                     "client_id": f"anabranch-{PROJECT}", **more})  # fmt: skip


class Bridged:
    """A gateway and its bridges."""

    def __init__(self, gateway: Gateway, bridges: Bridges) -> None:
        self.gateway, self.bridges = gateway, bridges

    async def trouble(self) -> str | None:
        return (await self.bridges.states())["mqtt"]

    async def until(self, trouble: str | None) -> None:
        """Wait until it is connected, or says in words like these what is wrong."""
        async with asyncio.timeout(DEADLINE):
            while not _says(await self.trouble(), trouble):  # noqa: ASYNC110  (its state is asked for, as /ready does)
                await asyncio.sleep(0.01)


def _says(said: str | None, trouble: str | None) -> bool:
    return said is None if trouble is None else said is not None and trouble in said


@asynccontextmanager
async def bridged(
    invoke: Invoke, folder: Path, *bridges: Bridge, workflows: Any = (), connects: bool = True
) -> AsyncIterator[Bridged]:
    """A gateway with bridges; connected, unless that is not to be waited for."""
    plan = talking(*workflows, store=Store(f"sqlite:///{folder}/runs.db"), bridges=bridges)
    gateway = Gateway(plan, invoke)
    made = Bridged(gateway, Bridges(gateway))
    made.bridges.start()
    try:
        if connects:
            await made.until(None)
        yield made
    finally:
        async with asyncio.timeout(DEADLINE):
            await made.bridges.rest()
            await made.bridges.aclose()
            await gateway.aclose()
