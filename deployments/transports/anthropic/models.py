"""`GET /v1/models` and `/v1/models/{id}` as Anthropic's clients read them: for requests with the header `anthropic-version`."""

from __future__ import annotations

from itertools import islice
from typing import Any

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.responses import Response
from starlette.routing import Match
from starlette.types import Scope

from deployments.asgi.headers import header
from deployments.asgi.json_values import json_bytes
from deployments.conversations.models import find
from deployments.gateway.gateway import Gateway
from deployments.transports.anthropic.errors import REQUEST_ID, new_request_id
from graphs.errors import InvalidInput
from graphs.plan import Plan

VERSION = b"anthropic-version"
EPOCH = "1970-01-01T00:00:00Z"
"""What Anthropic's API says of a model whose date isn't known."""
PAGE, LARGEST = 20, 1000


class VersionedRoute(APIRoute):
    """A route for Anthropic's clients alone. OpenAI's have the same paths, and come without the header."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        return super().matches(scope) if header(scope, VERSION) is not None else (Match.NONE, {})


def routes(gateway: Gateway) -> APIRouter:
    """Return the routes of models."""
    router = APIRouter(prefix="/v1", tags=["anthropic"], route_class=VersionedRoute)

    @router.get("/models", include_in_schema=False)
    async def listed(request: Request) -> Response:
        return _answer(page(gateway.plan, dict(request.query_params)))

    @router.get("/models/{id:path}", include_in_schema=False)
    async def one(id: str) -> Response:
        find(gateway.plan, id)
        return _answer(_info(gateway.plan, id))

    return router


def page(plan: Plan, query: dict[str, str]) -> dict[str, Any]:
    """Return a part of the list of models."""
    names = list(plan.models)
    limit = query.get("limit", str(PAGE))
    if not (limit.isdecimal() and 1 <= int(limit) <= LARGEST):
        raise InvalidInput(f"limit: expected a number from 1 to {LARGEST}, got '{limit}'", field="limit")
    start, end = 0, len(names)
    if "after_id" in query:
        start = _place(names, query["after_id"], "after_id") + 1
    if "before_id" in query:
        end = _place(names, query["before_id"], "before_id")
    if "before_id" in query and "after_id" not in query:
        start = max(start, end - int(limit))
        more = start > 0
    else:
        more = end - start > int(limit)
    shown = list(islice(names, start, min(end, start + int(limit))))
    return {
        "data": [_info(plan, name) for name in shown],
        "has_more": more,
        "first_id": shown[0] if shown else None,
        "last_id": shown[-1] if shown else None,
    }


def _place(names: list[str], id: str, field: str) -> int:
    if id not in names:
        raise InvalidInput(f"{field}: there is no model '{id}'; send an id of an earlier page", field=field)
    return names.index(id)


def _info(plan: Plan, name: str) -> dict[str, Any]:
    workflow = plan.workflows.get(plan.models[name].id)
    title = None if workflow is None else workflow.title
    return {
        "type": "model",
        "id": name,
        "display_name": title or name,
        "created_at": EPOCH,
        "lifecycle": "active",
        "capabilities": None,
        "line": None,
        "max_input_tokens": None,
        "max_tokens": None,
        "deprecated_at": None,
        "retires_at": None,
    }


def _answer(body: dict[str, Any]) -> Response:
    return Response(json_bytes(body), headers={REQUEST_ID: new_request_id()}, media_type="application/json")
