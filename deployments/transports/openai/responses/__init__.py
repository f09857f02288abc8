"""`/v1/responses`: OpenAI's Responses API over kept runs. A response is a fold of its run's log, at any replica."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from deployments.asgi.json_values import json_bytes, parse_object, shortened
from deployments.asgi.straight import StraightRoute
from deployments.conversations.parameters import request_body
from deployments.gateway.gateway import Gateway
from deployments.transports.openai.responses import descriptions, stored
from deployments.transports.openai.responses.answer import ResponseAnswer, response_answer
from deployments.transports.openai.responses.encoder import ALL, Item
from deployments.transports.openai.responses.parameters import ResponseBody
from deployments.transports.openai.responses.respond import respond
from deployments.transports.openai.responses.turn import TURN, Turn
from graphs.errors import Conflict, InvalidInput

_STREAM = Annotated[bool, Query(description="its events from the first on, as they went out and as they come")]
_AFTER = Annotated[
    int | None, Query(ge=0, le=ALL, description="of the events only those after this number; with stream=true")
]
_LIMIT = Annotated[int, Query(ge=1, le=100, description="how many at most")]
_ORDER = Annotated[Literal["asc", "desc"], Query(description="desc: the last first")]
_ITEM = Annotated[str | None, Query(description="those that follow this item")]


def routes(gateway: Gateway, heartbeat_every: float) -> APIRouter:
    """Return the routes of responses."""
    router = APIRouter(prefix="/v1", tags=["openai"])
    how: dict[str, Any] = {"compression": gateway.plan.controller.compression, "heartbeat_every": heartbeat_every}

    async def create(request: Request) -> Response:
        said = parse_object(await request.body())
        turn: Turn | None = request.scope.get(TURN)
        run = await respond(gateway, said) if turn is None else await respond(gateway, said, turn.remembered)
        if turn is not None:
            turn.run = run
        if said.get("background") and not said.get("stream"):
            return response_answer(run, await run.now())
        return ResponseAnswer(run, stream=bool(said.get("stream")), **how)

    router.add_api_route(
        "/responses", create, methods=["POST"], summary="Answer, as a response", response_class=Response,
        responses=descriptions.ANSWERED, openapi_extra=request_body(ResponseBody), route_class_override=StraightRoute,
    )  # fmt: skip
    _add_stored(router, gateway, how)
    return router


def _add_stored(router: APIRouter, gateway: Gateway, how: dict[str, Any]) -> None:
    """Add the routes of stored responses."""

    async def show(response_id: str, stream: _STREAM = False, starting_after: _AFTER = None) -> Response:
        if starting_after is not None and not stream:
            raise InvalidInput("starting_after: it is for events; write stream=true beside it", field="starting_after")
        run = await stored.opened(gateway, response_id)
        if stream:
            return ResponseAnswer(run, stream=True, after=-1 if starting_after is None else starting_after, **how)
        return response_answer(run, await run.now())

    async def delete(response_id: str) -> Response:
        info = await stored.info(gateway, response_id)
        if not info.ended:
            raise Conflict(
                f"the response '{response_id}' is under way; stop it first, with POST /v1/responses/{response_id}/cancel"
            )
        await gateway.kept.forget(info.id)
        return _json({"id": response_id, "object": "response.deleted", "deleted": True})

    async def cancel(response_id: str) -> Response:
        run = await stored.cancelled(gateway, response_id)
        return response_answer(run, await run.now())

    async def input_items(
        response_id: str, limit: _LIMIT = 20, order: _ORDER = "desc", after: _ITEM = None
    ) -> Response:
        run = await stored.opened(gateway, response_id)
        await run.aclose()
        return _json(_page(run.input(), limit, order, after))

    one = "/responses/{response_id}"
    for path, answer, method, summary, responses in (
        (one, show, "GET", "Show or follow a stored response", descriptions.ANSWERED),
        (one, delete, "DELETE", "Delete a response that has ended", descriptions.DELETED),
        (f"{one}/cancel", cancel, "POST", "Stop a response", descriptions.SHOWN),
        (f"{one}/input_items", input_items, "GET", "List the items of a response's input", descriptions.LISTED),
    ):
        router.add_api_route(
            path, answer, methods=[method], summary=summary, responses=responses, response_class=Response
        )


def _page(items: list[Item], limit: int, order: str, after: str | None) -> dict[str, Any]:
    """Return a page of items as OpenAI's SDKs turn it."""
    items = items if order == "asc" else items[::-1]
    if after is not None:
        ids = [item["id"] for item in items]
        if after not in ids:
            raise InvalidInput(f"after: this response's input has no item '{shortened(after)}'", field="after")
        items = items[ids.index(after) + 1 :]
    shown = items[:limit]
    first, last = (shown[0]["id"], shown[-1]["id"]) if shown else (None, None)
    return {"object": "list", "data": shown, "first_id": first, "last_id": last, "has_more": len(items) > limit}


def _json(body: dict[str, Any]) -> Response:
    return Response(json_bytes(body), media_type="application/json")
