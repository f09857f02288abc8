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
from starlette.types import Receive, Scope, Send

from deployments.asgi.json_values import finite, shortened
from graphs.errors import AnabranchError, InvalidInput
from graphs.suggest import closest

RUN_ID = "X-Run-Id"
DIALECT = "anabranch.errors"
"""The key in the scope of what writes errors as the API that is called does: an error, and the run's id, to an answer."""


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
    headers = ({} if run_id is None else {RUN_ID: run_id}) | retry_after(error)
    return Response(error_json(error, run_id), error.status, headers, "application/json")


def answer_of(scope: Scope, error: AnabranchError, run_id: str | None = None) -> Response:
    """Return the HTTP answer of the error, as the API that the request calls writes errors."""
    dialect = scope.get(DIALECT)
    return error_response(error, run_id) if dialect is None else dialect(error, run_id)


async def refuse(refusal: Response, scope: Scope, receive: Receive, send: Send) -> None:
    """Send an answer in place of what was asked for; to a WebSocket, 403 where the server can't send it more."""
    if scope["type"] == "websocket" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close"})
    else:
        await refusal(scope, receive, send)


def retry_after(error: AnabranchError) -> dict[str, str]:
    """Return the header that says when to try again, if the error knows."""
    seconds = error.details.get("retry_after")
    if isinstance(seconds, int | float) and math.isfinite(seconds):
        return {"Retry-After": str(max(0, math.ceil(seconds)))}
    return {}


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
    known = AnabranchError(message)
    known.type, known.status = _type_of(status), status
    answer = answer_of(request.scope, known)
    answer.headers.update(headers)
    return answer


async def _answer_error(request: Request, error: Exception) -> Response:
    assert isinstance(error, AnabranchError)
    return answer_of(request.scope, error)


async def _answer_invalid(request: Request, error: Exception) -> Response:
    """Answer what a route's own parameters refused."""
    assert isinstance(error, RequestValidationError)
    found = [(".".join(str(part) for part in each["loc"][1:]), each["msg"]) for each in error.errors()]
    message = "; ".join(f"{field}: {wrong}" for field, wrong in found)
    return answer_of(request.scope, InvalidInput(message, field=found[0][0] if found else ""))


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
