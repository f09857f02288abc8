"""All bridges of a plan: a gateway in; each is connected, and tells how it is."""

from __future__ import annotations

import asyncio
from contextlib import suppress
from importlib import import_module
from typing import TYPE_CHECKING

from deployments.gateway.gateway import Gateway

if TYPE_CHECKING:
    from deployments.bridges.mqtt.bridge import MqttBridge

LAST_WORDS = 2.0
"""Seconds in which clients are told that their answers are cut."""


class Bridges:
    """The bridges of a plan."""

    def __init__(self, gateway: Gateway) -> None:
        self._gateway = gateway
        plans = gateway.plan.controller.bridges
        # The client's library is loaded where there is a broker to be called.
        module = import_module("deployments.bridges.mqtt.bridge") if plans else None
        self._bridges: dict[str, MqttBridge] = {each.id: module.MqttBridge(each, gateway) for each in plans if module}

    def start(self) -> None:
        """Connect all. A broker that isn't there is tried again and again."""
        for each in self._bridges.values():
            each.start()

    async def states(self) -> dict[str, str | None]:
        """Return by its id what keeps a bridge from its broker; None for one that is connected."""
        return {id: each.trouble for id, each in self._bridges.items()}

    async def rest(self) -> None:
        """Take no more questions."""
        for each in self._bridges.values():
            await each.rest()

    async def ended(self) -> None:
        """Wait until all answers are sent."""
        await asyncio.gather(*(each.ended() for each in self._bridges.values()))

    async def aclose(self, patience: float = 0.0) -> None:
        """Take no more questions; let answers end for so many seconds, end the others, say so, and disconnect."""
        if not self._bridges:
            return
        await self.rest()
        if not await self._ended_within(patience):
            await self._gateway.kept.stop()
            await self._ended_within(LAST_WORDS)
        await asyncio.gather(*(each.aclose() for each in self._bridges.values()))

    async def _ended_within(self, seconds: float) -> bool:
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self.ended()
                return True
        return False
