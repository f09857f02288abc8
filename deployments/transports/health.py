"""Liveness and readiness: GET /health and /ready."""

from __future__ import annotations

from typing import Literal

from fastapi import APIRouter
from pydantic import BaseModel, Field
from starlette.responses import Response

from deployments.asgi.errors import described
from deployments.asgi.values import json_bytes
from deployments.gateway.gateway import Gateway


class Health(BaseModel):
    """A sign of life."""

    status: Literal["ok"]


class Readiness(BaseModel):
    """Which components can be called."""

    status: Literal["ready", "starting"]
    components: dict[str, str] = Field(description="by id: `ready`, or what the component does instead")


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes of both."""
    router = APIRouter(tags=["health"])

    @router.get("/health", summary="Whether the server lives", response_model=Health, responses=described({}))
    async def health() -> Response:
        return Response(json_bytes({"status": "ok"}), media_type="application/json")

    @router.get(
        "/ready",
        summary="Whether every component is ready",
        response_model=Readiness,
        responses=described({}) | {503: {"model": Readiness, "description": "a component isn't ready"}},
    )
    async def ready() -> Response:
        states = await gateway.ready()
        amiss = [id for id, state in states.items() if state is not None]
        components = {id: "ready" if state is None else state for id, state in states.items()}
        body = json_bytes({"status": "starting" if amiss else "ready", "components": components})
        return Response(body, 503 if amiss else 200, media_type="application/json")

    del health, ready
    return router
