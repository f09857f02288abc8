"""Build the ASGI application of the whole HTTP API over a gateway; it knows nothing of Ray."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from html import escape
from importlib.metadata import version

from fastapi import FastAPI, Request, WebSocket
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.middleware import Middleware
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles
from starlette.types import ASGIApp, Receive, Scope, Send

from deployments.asgi.client import STRAIGHT
from deployments.asgi.cors import Cors
from deployments.asgi.errors import DIALECT, answer_of, install_handlers, refuse
from deployments.asgi.guards import AnswerHead, CatchFaults, CheckBody, Compression
from deployments.asgi.headers import header
from deployments.asgi.json_values import shortened
from deployments.asgi.straight import straight_routes
from deployments.gateway.gateway import Gateway
from deployments.transports import routers
from deployments.transports.anthropic.errors import anthropic_error
from deployments.transports.anthropic.models import VERSION
from deployments.transports.openai.errors import openai_error
from graphs.errors import NotFound

DIALECTS = tuple(
    (f"{root}{path}", marked, dialect)
    for path, marked, dialect in (
        ("/v1/messages", None, anthropic_error),
        ("/v1/", VERSION, anthropic_error),
        ("/v1/", None, openai_error),
    )
    for root in ("", "/api")
)
"""How errors are written, by the beginning of a path, and a header where one tells; the first that fits counts."""

_DESCRIPTION = "Runs the workflows of a document. Every path is served under `/api` as well."


class Api(FastAPI):
    """The application. The most frequent requests go past FastAPI: straight routes are called without a search through all
    routes, and the pieces of a stream go to the server's own `send`, past every layer."""

    straight: Mapping[str, ASGIApp]
    """The application that answers a POST to a path."""
    entrance: ASGIApp
    """What every request goes through: at first `answer`, later what is laid around it."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await self.entrance(scope, receive, send)

    async def answer(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        scope[STRAIGHT] = send
        path = scope["path"].removeprefix(scope.get("root_path", "")) if "path" in scope else ""
        for prefix, marked, dialect in DIALECTS:
            if path.startswith(prefix) and (marked is None or header(scope, marked) is not None):
                scope[DIALECT] = dialect
                break
        if scope["type"] == "http" and scope["method"] == "POST":
            straight = self.straight.get(path)
            if straight is not None:
                scope["app"] = self
                await straight(scope, receive, send)
                return
        await super().__call__(scope, receive, send)


def build_app(gateway: Gateway, close: Callable[[], Awaitable[None]] | None = None) -> Api:
    """Return the ASGI application over a gateway; `close` is awaited when it shuts down."""

    @asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncGenerator[None]:
        yield
        if close is not None:
            await close()

    controller = gateway.plan.controller
    layers = [  # the outermost first: the errors of inner layers get CORS headers too
        Middleware(Cors, controller.origins),
        Middleware(CatchFaults),
        Middleware(AnswerHead),
        Middleware(Compression),
        Middleware(CheckBody, controller.max_request_size),
    ]
    app = Api(
        title=controller.name or "anabranch",
        description=_DESCRIPTION,
        version=version("anabranch"),
        lifespan=lifespan,
        middleware=layers,
        openapi_url=None,  # these pages are ours: see _add_docs
    )
    install_handlers(app)
    straight: dict[str, ASGIApp] = {}
    for router in routers(gateway):
        app.include_router(router)
        app.include_router(router, prefix="/api", include_in_schema=False)
        for path, answer in straight_routes(router, app.router.dependencies):
            straight[path] = straight[f"/api{path}"] = _under(layers, answer)
    app.straight = straight
    app.entrance = app.answer
    for prefix in ("", "/api"):
        _add_docs(app, prefix)
    app.router.add_websocket_route("/{path:path}", _refuse_socket)
    return app


async def _refuse_socket(websocket: WebSocket) -> None:
    """Answer a WebSocket where there is none."""
    scope = websocket.scope
    error = NotFound(f"there is no WebSocket at {shortened(scope['path'])}; send the request over HTTP")
    await refuse(answer_of(scope, error), scope, websocket.receive, websocket.send)


def _under(layers: list[Middleware], app: ASGIApp) -> ASGIApp:
    """Return the application under the layers, the outermost first."""
    for layer in reversed(layers):
        app = layer.cls(app, *layer.args, **layer.kwargs)
    return app


def _add_docs(app: FastAPI, prefix: str) -> None:
    """Serve the reference of the API under a prefix, with Swagger UI's own files: machines without a network show it too."""

    async def openapi(_: Request) -> Response:
        return JSONResponse(app.openapi())

    async def docs(request: Request) -> Response:
        root = request.scope.get("root_path", "").rstrip("/") + prefix
        return get_swagger_ui_html(
            openapi_url=f"{root}/openapi.json",
            title=escape(app.title),
            swagger_js_url=f"{root}/docs/swagger/swagger-ui-bundle.js",
            swagger_css_url=f"{root}/docs/swagger/swagger-ui.css",
            swagger_favicon_url=f"{root}/docs/swagger/favicon.png",
        )

    app.add_route(f"{prefix}/openapi.json", openapi, include_in_schema=False)
    app.add_route(f"{prefix}/docs", docs, include_in_schema=False)
    app.mount(f"{prefix}/docs/swagger", StaticFiles(packages=[("fastapi_offline", "static")]))
