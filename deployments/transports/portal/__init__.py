"""`/llm`: conversations, with their messages sent along or remembered in a session; and the history of sessions."""

from __future__ import annotations

from fastapi import APIRouter

from deployments.gateway.gateway import Gateway
from deployments.transports.portal import chat, history
from deployments.transports.run_answer import HEARTBEAT_EVERY


def routes(gateway: Gateway, heartbeat_every: float = HEARTBEAT_EVERY) -> APIRouter:
    """Return the routes."""
    routers = [each.routes(gateway, heartbeat_every) for each in (chat, history)]
    return APIRouter(routes=[route for router in routers for route in router.routes])
