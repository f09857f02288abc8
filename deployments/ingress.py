"""The deployment that answers HTTP: a plan and the components' handles in, a FastAPI application out."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Mapping
from importlib.metadata import version
from typing import Any

from fastapi import FastAPI
from ray import serve
from ray.serve import Application
from ray.serve.handle import DeploymentHandle
from starlette.middleware.cors import CORSMiddleware

from deployments.gateway import Gateway
from deployments.handles import handles_invoke
from deployments.replicas import serve_options
from deployments.transports import all_routes
from deployments.transports.responses import CompressPlain, handle_errors
from deployments.versions import pin
from graphs.checker import INGRESS
from graphs.plan import Controller, Plan

READY_FOR = 1.0
"""Seconds for which an answer of the controller is good: /ready may be polled often."""

ALLOWED_HEADERS = ["Authorization", "Content-Type", "Last-Event-ID"]
EXPOSED_HEADERS = ["X-Run-Id", "Retry-After", "X-RateLimit-Limit", "X-RateLimit-Remaining", "X-RateLimit-Reset"]


def build_app(gateway: Gateway) -> FastAPI:
    """Return the ASGI application over a gateway; it knows nothing of Ray."""
    controller = gateway.controller
    app = FastAPI(title=controller.name or "anabranch", version=version("anabranch"))
    for router in all_routes(gateway):
        app.include_router(router, prefix="/api")
        app.include_router(router, include_in_schema=False)
    handle_errors(app)
    app.add_middleware(CompressPlain)
    _add_cors(app, controller)
    return app


def bind_ingress(plan: Plan, components: Mapping[str, Application]) -> Application:
    """Return the application: the ingress over its components."""
    deployment = serve.deployment(name=INGRESS, **serve_options(plan.controller.options))(Ingress)
    return pin(deployment.bind(plan, dict(components)), plan)


@serve.ingress()
class Ingress:
    """One replica of the ingress: holds the handles, runs the workflows."""

    def __init__(self, plan: Plan, handles: Mapping[str, DeploymentHandle[Any]]) -> None:
        self._plan = plan
        self._handles = handles
        self._asked = 0.0
        self._states: dict[str, str | None] = {}

    def __serve_build_asgi_app__(self) -> FastAPI:
        return build_app(Gateway(self._plan, handles_invoke(self._handles, secrets=self._plan.secrets), self._ready))

    async def _ready(self) -> dict[str, str | None]:
        """Return each component's state as Serve sees it: None when ready."""
        now = time.monotonic()
        if now - self._asked > READY_FOR:
            self._states = await asyncio.to_thread(self._read_states)
            self._asked = now
        return self._states

    def _read_states(self) -> dict[str, str | None]:
        application = serve.get_replica_context().app_name
        status = serve.status().applications.get(application)
        known = status.deployments if status is not None else {}
        return {id: _state(known.get(id)) for id in self._handles}


def _state(deployment: Any) -> str | None:
    if deployment is None:
        return "unknown"
    status = str(getattr(deployment.status, "value", deployment.status))
    if status == "HEALTHY" or deployment.replica_states.get("RUNNING", 0) > 0:
        return None
    return deployment.message or status.lower()


def _add_cors(app: FastAPI, controller: Controller) -> None:
    if controller.origins:
        app.add_middleware(
            CORSMiddleware,
            allow_origins=list(controller.origins),
            allow_methods=["GET", "POST", "DELETE", "OPTIONS"],
            allow_headers=ALLOWED_HEADERS,
            expose_headers=EXPOSED_HEADERS,
            max_age=600,
        )
