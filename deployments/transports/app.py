"""A gateway in, the ASGI application of the whole HTTP API out; it knows nothing of Ray."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager
from importlib.metadata import version
from inspect import signature

from fastapi import APIRouter, FastAPI, Request
from fastapi.routing import APIRoute
from starlette.middleware import Middleware
from starlette.responses import Response
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.asgi.client import STRAIGHT
from deployments.asgi.compression import Compression
from deployments.asgi.cors import Cors
from deployments.asgi.docs import add_docs
from deployments.asgi.errors import error_response, install_handlers
from deployments.asgi.guards import AnswerHead, CatchFaults, LimitBody
from deployments.gateway.gateway import Gateway
from deployments.transports import routers
from graphs.errors import AnabranchError
from graphs.plan import Controller

_DESCRIPTION = "Runs the workflows of a document. Every path is served under `/api` as well."


class Api(FastAPI):
    """The application. What is asked for most goes past FastAPI: the routes of `straight` are called without a search through
    all routes, and the pieces of streams, by the server's own `send`, past every layer."""

    straight: Mapping[str, ASGIApp]
    """What answers a POST to a path."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope[STRAIGHT] = send
        if scope["type"] == "http" and scope["method"] == "POST":
            straight = self.straight.get(scope["path"].removeprefix(scope.get("root_path", "")))
            if straight is not None:
                await straight(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def build_app(gateway: Gateway, close: Callable[[], Awaitable[None]] | None = None) -> FastAPI:
    """Return the ASGI application over a gateway; `close` is awaited when it shuts down."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        if close is not None:
            await close()

    layers = _middleware(gateway.plan.controller)
    app = Api(
        title=gateway.plan.controller.name or "anabranch",
        description=_DESCRIPTION,
        version=version("anabranch"),
        lifespan=lifespan,
        middleware=layers,
        openapi_url=None,  # these pages are ours (deployments/asgi/docs.py)
    )
    install_handlers(app)
    straight: dict[str, ASGIApp] = {}
    for router in routers(gateway):
        app.include_router(router)
        app.include_router(router, prefix="/api", include_in_schema=False)
        for path, answer in _fixed_posts(router):
            straight[path] = straight[f"/api{path}"] = _under(layers, answer)
    app.straight = straight
    for prefix in ("", "/api"):
        add_docs(app, prefix)
    return app


def _fixed_posts(router: APIRouter) -> Iterator[tuple[str, ASGIApp]]:
    """Yield the routes that can be called by their path alone: for POST, with nothing variable in the path, and a function
    that takes the request as it is."""
    for route in router.routes:
        if not isinstance(route, APIRoute) or route.methods != {"POST"} or "{" in route.path:
            continue
        if list(signature(route.endpoint).parameters) == ["request"]:
            yield route.path, _answering(route.endpoint)


def _answering(endpoint: Callable[[Request], Awaitable[Response]]) -> ASGIApp:
    async def answer(scope: Scope, receive: Receive, send: Send) -> None:
        try:
            response = await endpoint(Request(scope, receive, send))
        except AnabranchError as error:
            response = error_response(error)
        await response(scope, receive, send)

    return answer


def _under(layers: list[Middleware], app: ASGIApp) -> ASGIApp:
    """Return the application under the layers, the outermost first."""
    for layer in reversed(layers):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return app


def _middleware(controller: Controller) -> list[Middleware]:
    """Return the layers, the outermost first: refusals of the inner ones are marked for browsers and compressed too."""
    return [
        Middleware(Cors, controller.origins),
        Middleware(CatchFaults),
        Middleware(AnswerHead),
        Middleware(Compression),
        Middleware(LimitBody, controller.max_request_size),
    ]
