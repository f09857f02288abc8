"""`GET /v1/models` and `/v1/models/{id}`: what requests may name as their model."""

from __future__ import annotations

import time

from fastapi import APIRouter
from starlette.responses import JSONResponse, Response

from deployments.conversations.models import find
from deployments.gateway.gateway import Gateway
from deployments.transports.openai import descriptions
from graphs.stream import Value


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes of models."""
    router = APIRouter(prefix="/v1", tags=["openai"])
    since = int(time.time())

    def model(id: str) -> dict[str, Value]:
        return {"id": id, "object": "model", "created": since, "owned_by": "anabranch"}

    async def list_models() -> Response:
        return JSONResponse({"object": "list", "data": [model(id) for id in gateway.plan.models]})

    async def get_model(model_id: str) -> Response:
        find(gateway.plan, model_id)
        return JSONResponse(model(model_id))

    router.add_api_route(
        "/models", list_models, methods=["GET"], summary="List the models",
        description="Every workflow by its id; every model component by its id and its model's name; every alias.",
        responses=descriptions.answers(descriptions.MODELS, errors=()),
    )  # fmt: skip
    router.add_api_route(
        "/models/{model_id:path}", get_model, methods=["GET"], summary="Show a model",
        description="The id may hold slashes, written as they are or as %2F.",
        responses=descriptions.answers(descriptions.MODEL, errors=(404,)),
    )  # fmt: skip
    return router
