"""Serve the reference of the API as a page, with Swagger UI itself: machines without a network show it too."""

from __future__ import annotations

from html import escape
from importlib.resources import files

from fastapi import FastAPI, Request
from fastapi.openapi.docs import get_swagger_ui_html
from starlette.responses import JSONResponse, Response
from starlette.staticfiles import StaticFiles

SWAGGER = str(files("fastapi_offline").joinpath("static"))


def add_docs(app: FastAPI, prefix: str) -> None:
    """Serve the page, its files and the schema that it shows under a prefix."""

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
    app.mount(f"{prefix}/docs/swagger", StaticFiles(directory=SWAGGER))
