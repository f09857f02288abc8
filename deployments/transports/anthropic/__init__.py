"""Anthropic's API: `/v1/messages`, and `/v1/models` as its clients read it. A model is a workflow or a model component."""

from __future__ import annotations

from fastapi import APIRouter

from deployments.gateway.gateway import Gateway
from deployments.transports.anthropic import messages, models
from deployments.transports.run_answer import HEARTBEAT_EVERY


def routes(gateway: Gateway, heartbeat_every: float = HEARTBEAT_EVERY) -> APIRouter:
    """Return the routes of Anthropic's API."""
    routers = (messages.routes(gateway, heartbeat_every), models.routes(gateway))
    return APIRouter(routes=[route for router in routers for route in router.routes])
