"""The deployment that answers HTTP: a plan and the components' applications in, the whole application out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import DeploymentStatusOverview

from deployments.asgi.draining import Draining
from deployments.serve.options import serve_options
from deployments.serve.ray_internals import DeploymentStatus, ReplicaState
from deployments.serve.site import Site
from deployments.serve.versions import pin, stable
from deployments.transports.app import build_app
from graphs.checker import INGRESS
from graphs.component import ComponentType
from graphs.plan import Options, Plan

READY_FOR = 1.0
"""Seconds for which an answer of the controller is good: /ready may be polled often."""
READY_DEADLINE = 5.0
SPARE = 1024
"""Requests beyond all runs, under way and waiting, that still get in: health checks, and refusals in the API's own JSON.
At its limit Ray Serve makes every request wait for seconds, those it refuses too; so that limit must not be reached."""


def bind_ingress(
    plan: Plan,
    component_apps: Mapping[str, Application],
    placed: Mapping[str, ComponentType],
    bridges: Application | None = None,
) -> Application:
    """Return the application: the ingress over its components, those of the types in `placed` inside it; and the bridges."""
    deployment = serve.deployment(name=INGRESS, **ingress_options(plan.controller.options))(serve.ingress()(Ingress))
    return pin(deployment.bind(plan, dict(component_apps), dict(placed), bridges), stable(plan), dict(placed))


def ingress_options(options: Options) -> dict[str, Any]:
    """Return what Ray Serve is asked for. Runs stand in line in the gateway; Ray's own limit lies beyond all of them."""
    return {
        **serve_options(options),
        "max_ongoing_requests": options.max_concurrent_count + options.max_queued + SPARE,
        "max_queued_requests": SPARE,
        "backpressure_config": {"status_code": 503, "retry_after_s": 1},
    }


class Ingress:
    """One replica of the ingress: holds the handles, and the components placed in it; runs the workflows."""

    async def __init__(
        self,
        plan: Plan,
        handles: Mapping[str, DeploymentHandle[Any]],
        placed: Mapping[str, ComponentType],
        bridges: DeploymentHandle[Any] | None,
    ) -> None:
        self._site = Site(plan, handles, placed)
        self._handles, self._bridges = handles, bridges
        self._states = Recent(self._read_states)
        self._connections = Recent(self._read_bridges)
        self._draining: Draining | None = None
        await self._site.start()

    def __serve_build_asgi_app__(self) -> FastAPI:
        gateway = self._site.open(self._ready)
        if self._bridges is not None:
            gateway.bridges = self._connections.get
        app = build_app(gateway, self._site.aclose)
        app.entrance = self._draining = Draining(app.entrance)
        return app

    async def drain(self) -> int:
        """Refuse new requests, and wait for those under way, and for runs without a request; return how many there were."""
        if self._draining is None:
            return 0
        gateway = self._site.gateway
        runs = gateway.kept.under_way
        requests = await self._draining.drain()
        await gateway.ended()
        return max(requests, runs)

    async def _ready(self) -> dict[str, str | None]:
        """Return each component's state: its own in the ingress, of the others as Serve sees them."""
        placed = self._site.troubles()
        if not self._handles:
            return placed
        try:
            async with asyncio.timeout(READY_DEADLINE):
                return {**await self._states.get(), **placed}
        except TimeoutError:
            unknown = f"unknown: Serve didn't say within {READY_DEADLINE:g} s"
            return {**dict.fromkeys(self._handles, unknown), **placed}

    async def _read_states(self) -> dict[str, str | None]:
        return await asyncio.to_thread(self._read_states_of_serve)

    def _read_states_of_serve(self) -> dict[str, str | None]:
        application = serve.status().applications.get(serve.get_replica_context().app_name)
        known = application.deployments if application is not None else {}
        return {id: _state(known.get(id)) for id in self._handles}

    async def _read_bridges(self) -> dict[str, str | None]:
        """Return what the bridges say of themselves."""
        assert self._bridges is not None, "there are some"
        try:
            async with asyncio.timeout(READY_DEADLINE):
                return await self._bridges.states.remote()
        except Exception as error:  # noqa: BLE001  (whatever keeps their replica from answering is their state)
            state = f"its replica doesn't answer: {type(error).__name__}"
            return {each.id: state for each in self._site.plan.controller.bridges}


class Recent:
    """What is asked for, and asked for again once it is no longer recent."""

    def __init__(self, ask: Callable[[], Awaitable[Mapping[str, str | None]]]) -> None:
        self._ask = ask
        self._asked = float("-inf")
        self._answer: Mapping[str, str | None] = {}

    async def get(self) -> Mapping[str, str | None]:
        if time.monotonic() - self._asked > READY_FOR:
            self._answer = await self._ask()
            self._asked = time.monotonic()
        return self._answer


def _state(deployment: DeploymentStatusOverview | None) -> str | None:
    """Return None for a deployment that can be called, else Serve's word for what it does instead."""
    if deployment is None:
        return "unknown"
    if deployment.status == DeploymentStatus.HEALTHY or deployment.replica_states.get(ReplicaState.RUNNING, 0) > 0:
        return None
    return deployment.status.value.lower()
