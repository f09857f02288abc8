"""Straight routes: what they may not ask for, and how their errors are answered."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from fastapi import APIRouter, Depends, FastAPI, Request
from starlette.exceptions import HTTPException
from starlette.responses import Response
from starlette.types import Message

from deployments.asgi.straight import StraightRoute, straight_routes
from graphs.errors import Conflict


def key() -> str:
    raise AssertionError


async def endpoint(request: Request) -> Response:
    return Response(await request.body())


async def with_dependency(request: Request, key: str = Depends(key)) -> Response:
    raise AssertionError


def not_async(request: Request) -> Response:
    raise AssertionError


def built(endpoint: Callable[..., Any] = endpoint, path: str = "/act", **asked: Any) -> APIRouter:
    router = APIRouter(dependencies=asked.pop("of_router", None))
    options = {"methods": ["POST"], "response_class": Response, "route_class_override": StraightRoute, **asked}
    router.add_api_route(path, endpoint, **options)
    return router


async def answer(router: APIRouter) -> tuple[int, Any, dict[str, str]]:
    """What the only straight route of a router answers to an empty body."""
    ((_, app),) = straight_routes(router, [])
    sent: list[Message] = []

    async def receive() -> Message:
        return {"type": "http.request", "body": b""}

    async def send(message: Message) -> None:
        sent.append(message)

    await app({"type": "http", "method": "POST", "path": "/act", "headers": [], "app": FastAPI()}, receive, send)
    headers = {name.decode(): value.decode() for name, value in sent[0]["headers"]}
    return sent[0]["status"], sent[1]["body"], headers


def test_a_route_is_straight_when_it_says_so():
    router = built()
    router.add_api_route("/other", endpoint, methods=["POST"])
    assert [path for path, _ in straight_routes(router, [])] == ["/act"]


def test_a_router_that_includes_another_is_refused_for_the_straight_routes_in_it_would_not_be_seen():
    outer = APIRouter()
    outer.include_router(built())
    with pytest.raises(TypeError, match="add its routes one by one"):
        list(straight_routes(outer, []))


@pytest.mark.parametrize(
    ("asked", "named"),
    [
        ({"dependencies": [Depends(key)]}, "dependencies"),
        ({"of_router": [Depends(key)]}, "dependencies"),
        ({"endpoint": with_dependency}, "parameters other than `request`"),
        ({"endpoint": not_async}, "endpoint, which is not async"),
        ({"response_model": int}, "response_model"),
        ({"status_code": 202}, "status_code"),
        ({"methods": ["POST", "PUT"]}, "methods other than POST"),
        ({"path": "/act/{id}"}, "path parameters"),
    ],
)
def test_what_only_fastapi_would_do_is_refused_when_the_application_is_built(asked: dict[str, Any], named: str):
    with pytest.raises(TypeError) as refused:
        list(straight_routes(built(**asked), []))
    assert str(refused.value).startswith(f"the route {asked.get('path', '/act')} is called past FastAPI")
    assert f"needed for its {named}; put authentication into a middleware" in str(refused.value)


def test_dependencies_of_the_whole_application_are_refused():
    with pytest.raises(TypeError, match="dependencies"):
        list(straight_routes(built(), [Depends(key)]))


@pytest.mark.parametrize(
    ("raised", "status", "error"),
    [
        (HTTPException(401, "a key is missing", {"WWW-Authenticate": "Bearer"}), 401, "unauthorized"),
        (HTTPException(404, "no such session"), 404, "not_found"),
        (HTTPException(410, "no more"), 410, "gone"),
        (HTTPException(499, "gone"), 499, "cancelled"),
        (HTTPException(799, "unheard of"), 799, "error"),
        (Conflict("taken"), 409, "conflict"),
    ],
)
async def test_an_error_of_a_straight_route_is_answered_with_its_status_as_json(
    raised: Exception, status: int, error: str
):
    async def failing(request: Request) -> Response:
        raise raised

    got, body, headers = await answer(built(failing))
    message = raised.detail if isinstance(raised, HTTPException) else str(raised)
    assert (got, json.loads(body)["error"]) == (status, {"type": error, "message": message})
    assert headers["content-type"] == "application/json"
    assert headers.get("www-authenticate") == ("Bearer" if status == 401 else None)
