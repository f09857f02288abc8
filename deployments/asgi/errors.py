"""Answer every error as JSON: `{"error": {"type", "message", "run_id"?, …}}`."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from http import HTTPStatus
from typing import Any

from fastapi import FastAPI, Request
from fastapi.exceptions import RequestValidationError
from pydantic import BaseModel, ConfigDict, Field
from starlette.exceptions import HTTPException
from starlette.responses import Response

from deployments.asgi.json_values import finite, json_bytes, shortened
from graphs.errors import AnabranchError, InvalidInput
from graphs.suggest import closest

RUN_ID = "X-Run-Id"


class Problem(BaseModel):
    """An error, for programs (`type`) and for people (`message`)."""

    model_config = ConfigDict(extra="allow")

    type: str = Field(examples=["invalid_input"])
    message: str
    run_id: str | None = Field(default=None, description="the run's id, once it has begun; search the log for it")


class ErrorAnswer(BaseModel):
    """The body of every answer that is an error."""

    error: Problem


def described(errors: Mapping[int, str]) -> dict[int | str, dict[str, Any]]:
    """Return the errors of a route, by status, for its description; those that any route may have are added."""
    every = {**errors, 500: "an internal error; see the server's log", "default": "any other error"}
    return {status: {"model": ErrorAnswer, "description": description} for status, description in every.items()}


def error_json(error: AnabranchError, run_id: str | None = None) -> bytes:
    """Return the error as JSON on one line; a detail that isn't JSON is written as text."""
    data = error.to_data() if run_id is None else {**error.to_data(), "run_id": run_id}
    text = json.dumps({"error": finite(data)}, ensure_ascii=False, default=_shown)
    return text.encode("utf-8", "backslashreplace")


def error_response(error: AnabranchError, run_id: str | None = None) -> Response:
    """Return the HTTP answer of the error."""
    headers = {} if run_id is None else {RUN_ID: run_id}
    seconds = error.details.get("retry_after")
    if isinstance(seconds, int | float) and math.isfinite(seconds):
        headers["Retry-After"] = str(max(0, math.ceil(seconds)))
    return Response(error_json(error, run_id), error.status, headers, "application/json")


def install_handlers(app: FastAPI) -> None:
    """Have every error of the application's routes answered as JSON."""
    app.add_exception_handler(AnabranchError, _answer_error)
    app.add_exception_handler(HTTPException, answer_http)
    app.add_exception_handler(RequestValidationError, _answer_invalid)


async def answer_http(request: Request, error: Exception) -> Response:
    """Answer an HTTPException: the framework's own (an unknown path or method), or one that a route raises."""
    assert isinstance(error, HTTPException)
    headers = dict(error.headers or {})
    status, message = error.status_code, str(error.detail)
    if status == HTTPStatus.METHOD_NOT_ALLOWED:
        headers["Allow"] = allow = _allow(headers.get("Allow", ""))
        if request.method == "OPTIONS":
            return Response(status_code=204, headers=headers)
        message = f"{shortened(request.method)} isn't allowed on {shortened(request.url.path)}; use {allow}"
    elif status == HTTPStatus.NOT_FOUND and message == HTTPStatus.NOT_FOUND.phrase:
        path = shortened(request.url.path)
        near = closest(path.removeprefix("/api"), request.app.openapi()["paths"])
        message = f"there is nothing at {path}; " + (f"did you mean {near}?" if near else "see /docs for what there is")
    body = json_bytes({"error": {"type": _type_of(status), "message": message}})
    return Response(body, status, headers, "application/json")


async def _answer_error(_: Request, error: Exception) -> Response:
    assert isinstance(error, AnabranchError)
    return error_response(error)


async def _answer_invalid(_: Request, error: Exception) -> Response:
    """Answer what a route's own parameters refused."""
    assert isinstance(error, RequestValidationError)
    found = [(".".join(str(part) for part in each["loc"][1:]), each["msg"]) for each in error.errors()]
    message = "; ".join(f"{field}: {wrong}" for field, wrong in found)
    return error_response(InvalidInput(message, field=found[0][0] if found else ""))


def _type_of(status: int) -> str:
    """Return what an error of this status is called: as our own errors are, or else as HTTP calls it."""
    for error in AnabranchError.__subclasses__():
        if error.status == status:
            return error.type
    try:
        return HTTPStatus(status).phrase.lower().replace(" ", "_")
    except ValueError:
        return "error"


def _allow(given: str) -> str:
    """Return the methods of a path; where there is GET there is HEAD, and OPTIONS is answered everywhere."""
    methods = {method.strip() for method in given.split(",")} - {""} | {"OPTIONS"}
    return ", ".join(sorted(methods | ({"HEAD"} if "GET" in methods else set())))


def _shown(value: object) -> str:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else str(value)
