"""GET /health and /ready: liveness and readiness."""

from __future__ import annotations

from typing import Any, Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from deployments.asgi.errors import described
from deployments.asgi.json_values import json_bytes
from deployments.gateway.gateway import Gateway


class Liveness(BaseModel):
    """The server is alive."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Whether each component can be called."""

    status: Literal["ready", "starting"]
    components: dict[str, str] = Field(description="by id: `ready`, or the state that the component is in")
    bridges: dict[str, str] | None = Field(
        default=None, description="by id, where there are any: `connected`, or why it isn't; it is tried again"
    )


def routes(gateway: Gateway) -> APIRouter:
    """Return both routes."""
    router = APIRouter(tags=["health"])

    async def health() -> Response:
        return Response(json_bytes({"status": "ok"}), media_type="application/json")

    async def readiness() -> Response:
        states = await gateway.ready()
        ready = all(state is None for state in states.values())
        components = {id: "ready" if state is None else state for id, state in states.items()}
        said: dict[str, Any] = {"status": "ready" if ready else "starting", "components": components}
        if bridges := await gateway.bridges():
            said["bridges"] = {id: "connected" if trouble is None else trouble for id, trouble in bridges.items()}
        return Response(json_bytes(said), 200 if ready else 503, media_type="application/json")

    router.add_api_route(
        "/health", health, summary="Whether the server is alive", response_model=Liveness, responses=described({})
    )
    router.add_api_route(
        "/ready",
        readiness,
        summary="Whether every component is ready",
        response_model=Readiness,
        responses=described({}) | {503: {"model": Readiness, "description": "a component isn't ready"}},
    )
    return router
