"""Straight routes: POST routes that are called past FastAPI, because each of its layers would be paid for every request.

A route is straight because it says so: `router.add_api_route(path, endpoint, route_class_override=StraightRoute, …)`. FastAPI
describes it, and does nothing else for it: what the route asks for beyond that is an error when the application is built.
"""

from __future__ import annotations

from collections.abc import Iterator
from inspect import iscoroutinefunction, signature
from typing import Any

from fastapi import APIRouter, Request
from fastapi.params import Depends
from fastapi.routing import APIRoute
from starlette.exceptions import HTTPException
from starlette.routing import Route, WebSocketRoute
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.asgi.errors import answer_http, answer_of
from graphs.errors import AnabranchError


class StraightRoute(APIRoute):
    """A POST route under one path, whose endpoint takes the request and returns the response."""


def straight_routes(router: APIRouter, dependencies: list[Depends]) -> Iterator[tuple[str, ASGIApp]]:
    """Yield the path of each straight route, and the application that answers it; `dependencies` are the whole app's.

    Raise TypeError where FastAPI would have more to do for such a route than to call it, and for a router that includes another.
    """
    for route in router.routes:
        if not isinstance(route, Route | WebSocketRoute):
            raise TypeError(
                f"a router includes a {type(route).__name__}, whose straight routes can't be seen; add its routes one by one"
            )
        if isinstance(route, StraightRoute):
            asked = ", ".join(_asked([*dependencies, *router.dependencies], route))
            if asked:
                raise TypeError(
                    f"the route {route.path} is called past FastAPI, which would be needed for its {asked}; put authentication "
                    "into a middleware (deployments/asgi), read everything else from the request, or leave out "
                    "route_class_override=StraightRoute"
                )
            yield route.path, _answering(route.endpoint)


def _asked(dependencies: list[Depends], route: APIRoute) -> list[str]:
    """Return what FastAPI would have to do."""
    # getattr: the signature is read to refuse what is unknown, not to pass less
    parameters = list(signature(route.endpoint).parameters)
    asked = {
        "dependencies": dependencies or route.dependencies,
        "parameters other than `request`": parameters != ["request"],
        "endpoint, which is not async": not iscoroutinefunction(route.endpoint),
        "response_model": route.response_model is not None,
        "status_code": route.status_code is not None,
        "methods other than POST": route.methods != {"POST"},
        "path parameters": route.param_convertors,
    }
    return [what for what, is_asked in asked.items() if is_asked]


def _answering(endpoint: Any) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        request = Request(scope, receive, send)
        try:
            response = await endpoint(request)
        except AnabranchError as error:
            response = answer_of(scope, error)
        except HTTPException as error:
            response = await answer_http(request, error)
        await response(scope, receive, send)

    return answer
