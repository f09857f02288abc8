"""A gateway in, the ASGI application of the whole HTTP API out; it knows nothing of Ray."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import asynccontextmanager
from importlib.metadata import version

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.types import Receive, Scope, Send

from deployments.gateway import Gateway
from deployments.http.client import STRAIGHT
from deployments.http.compression import Compression
from deployments.http.cors import Cors
from deployments.http.errors import install_handlers
from deployments.http.guards import AnswerHead, CatchFaults, LimitBody
from deployments.transports import routers
from graphs.plan import Controller

_DESCRIPTION = "Runs the workflows of a document. Every path is served under `/api` as well."


class Api(FastAPI):
    """The application; it keeps the server's `send` for the pieces of streams, which go past all layers, Starlette's too."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope[STRAIGHT] = send
        await super().__call__(scope, receive, send)


def build_app(gateway: Gateway, close: Callable[[], Awaitable[None]] | None = None) -> FastAPI:
    """Return the ASGI application over a gateway; `close` is awaited when it shuts down."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        if close is not None:
            await close()

    app = Api(
        title=gateway.controller.name or "anabranch",
        description=_DESCRIPTION,
        version=version("anabranch"),
        lifespan=lifespan,
        middleware=_middleware(gateway.controller),
    )
    install_handlers(app)
    for router in routers(gateway):
        app.include_router(router)
        app.include_router(router, prefix="/api", include_in_schema=False)
    _add_docs(app, "/api")
    return app


def _middleware(controller: Controller) -> list[Middleware]:
    """Return the layers, the outermost first: refusals of the inner ones are marked for browsers and compressed too."""
    cors = [Middleware(Cors, controller.origins)] if controller.origins else []
    return [
        *cors,
        Middleware(CatchFaults),
        Middleware(AnswerHead),
        Middleware(Compression),
        Middleware(LimitBody, controller.max_request_size),
    ]


def _add_docs(app: FastAPI, prefix: str) -> None:
    """Serve the documentation under a prefix as well."""

    async def openapi(_: Request) -> Response:
        return JSONResponse(app.openapi())

    async def docs(request: Request) -> Response:
        root = request.scope.get("root_path", "").rstrip("/")
        return get_swagger_ui_html(openapi_url=f"{root}{prefix}/openapi.json", title=app.title)

    app.add_route(f"{prefix}/openapi.json", openapi, include_in_schema=False)
    app.add_route(f"{prefix}/docs", docs, include_in_schema=False)
