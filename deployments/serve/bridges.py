"""The deployment that holds the bridges: one replica, with a gateway of its own over the same components and the same store."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle

from deployments.bridges.bridges import Bridges as PlanBridges
from deployments.serve.options import GRACEFUL_SHUTDOWN_TIMEOUT, serve_options
from deployments.serve.ray_internals import close_with_replica
from deployments.serve.site import Site
from deployments.serve.versions import pin, stable
from graphs.checker import BRIDGES
from graphs.component import ComponentType
from graphs.plan import Options, Plan

PATIENCE = GRACEFUL_SHUTDOWN_TIMEOUT / 2
"""Seconds that answers have to end in when the replica stops."""


def bind_bridges(
    plan: Plan, component_apps: Mapping[str, Application], placed: Mapping[str, ComponentType]
) -> Application:
    """Return the deployment of the bridges, over the same components as the ingress."""
    said = plan.controller.options
    options = serve_options(Options(runtime_env=said.runtime_env, closing_time=said.closing_time + PATIENCE))
    deployment = serve.deployment(name=BRIDGES, **options)(Bridges)
    return pin(deployment.bind(plan, dict(component_apps), dict(placed)), stable(plan), dict(placed))


class Bridges:
    """The one replica."""

    async def __init__(
        self, plan: Plan, handles: Mapping[str, DeploymentHandle[Any]], placed: Mapping[str, ComponentType]
    ) -> None:
        self._site = Site(plan, handles, placed)
        await self._site.start()
        self._bridges = PlanBridges(self._site.open())
        self._bridges.start()
        close_with_replica(self, self._close)

    async def states(self) -> dict[str, str | None]:
        """Return by its id what keeps a bridge from its broker; None for one that is connected."""
        return await self._bridges.states()

    async def _close(self) -> None:
        try:
            await self._bridges.aclose(PATIENCE)
        finally:
            await self._site.aclose()
