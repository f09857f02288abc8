"""The deployment that answers HTTP: a plan and the components' applications in, the whole application out."""

from __future__ import annotations

import asyncio
import dataclasses
import time
from collections.abc import Awaitable, Mapping
from collections.abc import Set as AbstractSet
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from ray.serve.schema import DeploymentStatusOverview

from deployments.answering.garbage import look_for_garbage_less_often
from deployments.asgi.draining import Draining
from deployments.gateway.gateway import Gateway
from deployments.local.component import LocalComponent, close_all, start_all
from deployments.local.invoke import LocalInvoke
from deployments.runs.events import Invocation
from deployments.serve.handles import HandlesInvoke
from deployments.serve.options import serve_options
from deployments.serve.ray_internals import DeploymentStatus, ReplicaState
from deployments.serve.versions import pin
from deployments.telemetry.logs import log_to_replica, redact_logs
from deployments.telemetry.redaction import Redactor
from deployments.transports.app import build_app
from graphs.checker import INGRESS
from graphs.component import ComponentType, Whole
from graphs.plan import Options, Plan
from graphs.secrets import secrets_of
from graphs.stream import Stream, Value

READY_FOR = 1.0
"""Seconds for which an answer of the controller is good: /ready may be polled often."""
READY_DEADLINE = 5.0
SPARE = 1024
"""Requests beyond all runs, under way and waiting, that still get in: health checks, and refusals in the API's own JSON.
At its limit Ray Serve makes every request wait for seconds, those it refuses too; so that limit must not be reached."""


def bind_ingress(
    plan: Plan, component_apps: Mapping[str, Application], placed: Mapping[str, ComponentType]
) -> Application:
    """Return the application: the ingress over its components, those of the types in `placed` inside it."""
    deployment = serve.deployment(name=INGRESS, **ingress_options(plan.controller.options))(serve.ingress()(Ingress))
    return pin(deployment.bind(plan, dict(component_apps), dict(placed)), _stable(plan), dict(placed))


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
        self, plan: Plan, handles: Mapping[str, DeploymentHandle[Any]], placed: Mapping[str, ComponentType]
    ) -> None:
        redact_logs(Redactor(plan.secrets))
        log_to_replica()
        look_for_garbage_less_often()
        self._plan = plan
        self._handles = handles
        self._placed = {
            id: LocalComponent(plan.components[id], type, Redactor(secrets_of(plan.components[id], plan)))
            for id, type in placed.items()
        }
        self._asked = float("-inf")
        self._states: dict[str, str | None] = {}
        self._draining: Draining | None = None
        self._gateway: Gateway | None = None
        await start_all(self._placed.values())

    def __serve_build_asgi_app__(self) -> FastAPI:
        handles, local = HandlesInvoke(self._handles, Redactor(self._plan.secrets)), LocalInvoke(self._placed)

        def invoke(invocation: Invocation) -> Awaitable[Value | Stream | Whole]:
            return (local if invocation.component in self._placed else handles)(invocation)

        gateway = self._gateway = Gateway(self._plan, invoke, self._ready)
        self._preparing = asyncio.get_running_loop().create_task(gateway.kept.prepare())

        async def close() -> None:
            await gateway.aclose()
            await handles.aclose()
            await local.aclose()
            await close_all(self._placed.values())

        app = build_app(gateway, close)
        app.entrance = self._draining = Draining(app.entrance)
        return app

    async def drain(self) -> int:
        """Refuse new requests, and wait for those under way, and for runs without a request; return how many there were."""
        if self._draining is None or self._gateway is None:
            return 0
        runs = self._gateway.kept.under_way
        requests = await self._draining.drain()
        await self._gateway.ended()
        return max(requests, runs)

    async def _ready(self) -> dict[str, str | None]:
        """Return each component's state: its own in the ingress, of the others as Serve sees them."""
        placed = {id: each.trouble for id, each in self._placed.items()}
        if not self._handles:
            return placed
        if time.monotonic() - self._asked > READY_FOR:
            try:
                async with asyncio.timeout(READY_DEADLINE):
                    self._states = await asyncio.to_thread(self._read_states)
            except TimeoutError:
                unknown = f"unknown: Serve didn't say within {READY_DEADLINE:g} s"
                return {**dict.fromkeys(self._handles, unknown), **placed}
            self._asked = time.monotonic()
        return {**self._states, **placed}

    def _read_states(self) -> dict[str, str | None]:
        application = serve.status().applications.get(serve.get_replica_context().app_name)
        known = application.deployments if application is not None else {}
        return {id: _state(known.get(id)) for id in self._handles}


def _state(deployment: DeploymentStatusOverview | None) -> str | None:
    """Return None for a deployment that can be called, else Serve's word for what it does instead."""
    if deployment is None:
        return "unknown"
    if deployment.status == DeploymentStatus.HEALTHY or deployment.replica_states.get(ReplicaState.RUNNING, 0) > 0:
        return None
    return deployment.status.value.lower()


def _stable(value: Any) -> Any:
    """Return a plan as data whose repr is the same in every process, as that of a set of texts isn't."""
    match value:
        case AbstractSet():
            return sorted(map(repr, value))
        case Mapping():
            return {key: _stable(item) for key, item in value.items()}
        case list() | tuple():
            return [_stable(item) for item in value]
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = dataclasses.fields(value)
            return [type(value).__name__, *(_stable(getattr(value, field.name)) for field in fields)]
        case _:
            return value
