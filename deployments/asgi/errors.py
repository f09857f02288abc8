"""An error in, the JSON answer every client gets for it out: `{"error": {"type", "message", "run_id"?, …}}`."""

from __future__ import annotations

import json
import math
from collections.abc import Awaitable, Callable, Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from deployments.asgi.values import finite
from graphs.errors import AnabranchError
from graphs.suggest import closest

RUN_ID = "X-Run-Id"


class Problem(BaseModel):
    """What went wrong, for programs (`type`) and for people (`message`)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["invalid_input"])
    message: str
    run_id: str | None = Field(default=None, description="set once a run has begun; its log is found under it")


class ErrorAnswer(BaseModel):
    """The body of every answer that is no success."""

    error: Problem


def described(errors: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route, by status, as its description has them; those that any route may have are added."""
    every = {**errors, 500: "a fault of the server's; it is in its log", "default": "any other error"}
    return {status: {"model": ErrorAnswer, "description": description} for status, description in every.items()}


def error_data(error: AnabranchError, run_id: str | None = None) -> dict[str, Any]:
    """Return the error as the API shows it."""
    data = error.to_data()
    return {"error": data if run_id is None else {**data, "run_id": run_id}}


def error_json(error: AnabranchError, run_id: str | None = None) -> bytes:
    """Return the error as JSON on one line; what a detail holds that is no JSON is shown as text."""
    text = json.dumps(finite(error_data(error, run_id)), ensure_ascii=False, default=_shown)
    return text.encode("utf-8", "backslashreplace")


def error_response(error: AnabranchError, run_id: str | None = None) -> Response:
    """Return the HTTP answer of the error."""
    headers = {} if run_id is None else {RUN_ID: run_id}
    if (wait := retry_after(error)) is not None:
        headers["Retry-After"] = str(wait)
    return Response(error_json(error, run_id), error.status, headers, "application/json")


def retry_after(error: AnabranchError) -> int | None:
    """Return the whole seconds after which the client may try again, if the error says so."""
    seconds = error.details.get("retry_after")
    return max(0, math.ceil(seconds)) if isinstance(seconds, int | float) and math.isfinite(seconds) else None


def install_handlers(app: FastAPI) -> None:
    """Have every error of the app's routes answered as JSON."""
    app.add_exception_handler(AnabranchError, _answer_error)
    app.add_exception_handler(HTTPException, _answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)


Handler = Callable[[Request, Exception], Awaitable[Response]]


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AnabranchError)
    return error_response(error)


async def _answer_http(request: Request, error: Exception) -> Response:
    """Answer what the framework refused: an unknown path, a method that isn't there."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    if error.status_code == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allow = _allow(headers.get("Allow", ""))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        message = f"{request.method} isn't allowed on {_path(request)}; use {allow}"
        return _http_response(405, "method_not_allowed", message, headers)
    if error.status_code == HTTPStatus.NOT_FOUND:
        return _http_response(404, "not_found", _not_found(request), headers)
    type = HTTPStatus(error.status_code).phrase.lower().replace(" ", "_")
    return _http_response(error.status_code, type, str(error.detail), headers)


async def _answer_invalid(_: Request, error: Exception) -> Response:
    """Answer what a route's own parameters refused."""
    assert isinstance(error, RequestValidationError)
    found = error.errors()
    field = ".".join(str(part) for part in found[0]["loc"][1:]) if found else ""
    said = "; ".join(f"{'.'.join(str(part) for part in each['loc'][1:])}: {each['msg']}" for each in found)
    body = {"error": {"type": "invalid_input", "message": said, "field": field}}
    return Response(json.dumps(body, ensure_ascii=False), 422, media_type="application/json")


def _http_response(status: int, type: str, message: str, headers: dict[str, str]) -> Response:
    body = json.dumps({"error": {"type": type, "message": message}}, ensure_ascii=False)
    return Response(body.encode("utf-8", "backslashreplace"), status, headers, "application/json")


def _allow(given: str) -> str:
    """Return the methods; GET brings HEAD, and OPTIONS is answered everywhere."""
    methods = {method.strip() for method in given.split(",")} - {""} | {"OPTIONS"}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _not_found(request: Request) -> str:
    app: FastAPI = request.app
    path = _path(request)
    near = closest(path.removeprefix("/api"), app.openapi()["paths"])
    return f"there is nothing at {path}; " + (f"did you mean {near}?" if near else "see /docs for what there is")


def _path(request: Request) -> str:
    path = request.url.path
    return path if len(path) <= 80 else f"{path[:79]}…"


def _shown(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
