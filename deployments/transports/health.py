"""Liveness and readiness: GET /health and /ready."""

from __future__ import annotations

from fastapi import APIRouter
from starlette.responses import Response

from deployments.gateway import Gateway
from deployments.transports.responses import json_response


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes, to be mounted bare and under /api."""
    router = APIRouter(tags=["health"])

    @router.get("/health", summary="Whether the server lives")
    async def health() -> Response:
        return json_response({"status": "ok"})

    @router.get("/ready", summary="Whether every component is ready")
    async def ready() -> Response:
        states = await gateway.ready()
        amiss = [id for id, state in states.items() if state is not None]
        components = {id: "ready" if state is None else state for id, state in states.items()}
        return json_response(
            {"status": "starting" if amiss else "ready", "components": components}, 503 if amiss else 200
        )

    del health, ready
    return router
