"""OpenAI's API: `/v1/models`, `/v1/chat/completions` and what stands beside them. A model is a workflow or a model component."""

from __future__ import annotations

from fastapi import APIRouter

from deployments.gateway.gateway import Gateway
from deployments.transports.openai import chat, completions, embeddings, models, responses, responses_socket, sockets
from deployments.transports.run_answer import HEARTBEAT_EVERY


def routes(gateway: Gateway, heartbeat_every: float = HEARTBEAT_EVERY) -> APIRouter:
    """Return the routes of OpenAI's API."""
    doors = (chat, completions, responses, sockets, responses_socket)
    routers = [models.routes(gateway), embeddings.routes(gateway)]
    routers += [door.routes(gateway, heartbeat_every) for door in doors]
    return APIRouter(routes=[route for router in routers for route in router.routes])
