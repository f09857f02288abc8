"""Our errors -> Anthropic's: `{"type": "error", "error": {"type", "message"}, "request_id"}`, and the status its SDKs expect."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from http import HTTPStatus
from typing import Any
from uuid import uuid4

from starlette.responses import Response

from deployments.asgi.errors import RUN_ID, retry_after
from deployments.asgi.json_values import json_bytes
from graphs.errors import AnabranchError, Overloaded

REQUEST_ID = "request-id"
"""The header in which Anthropic's clients look for what to name when they report an error."""
OVERLOADED = 529
NAMES = {"max_output_length": "max_tokens"}
"""Our model components' words -> Anthropic's."""
TYPES = {
    401: "authentication_error",
    403: "permission_error",
    404: "not_found_error",
    409: "conflict_error",
    413: "request_too_large",
    429: "rate_limit_error",
    499: "api_error",  # a run that was cancelled elsewhere: nothing is wrong with the request, and SDKs don't repeat it
    504: "timeout_error",
    OVERLOADED: "overloaded_error",
}

_MESSAGE = re.compile(r"\bmessages\[(\d+)\]")


def anthropic_error(error: AnabranchError, run_id: str | None = None) -> Response:
    """Return the HTTP answer of an error. Where there is no run yet, the request gets an id of its own."""
    id = new_request_id() if run_id is None else run_id
    headers = {REQUEST_ID: id} | ({} if run_id is None else {RUN_ID: run_id}) | retry_after(error)
    return Response(json_bytes(error_body(error, id)), _status(error), headers, "application/json")


def placed_error(
    places: Sequence[str], names: Mapping[str, str], error: AnabranchError, run_id: str | None = None
) -> Response:
    """Return the HTTP answer of an error of a run, in the request's own words: its messages stand at these `places`, and `names`
    are its words for those that the error may have."""

    def place(found: re.Match[str]) -> str:
        index = int(found[1])
        return places[index] if index < len(places) else found[0]

    message = _MESSAGE.sub(place, error.message)
    for ours, theirs in names.items():
        message = message.replace(ours, theirs)
    return anthropic_error(error.saying(message, error.details), run_id)


def error_body(error: AnabranchError, request_id: str) -> dict[str, Any]:
    """Return the error as Anthropic's SDKs read it."""
    status = _status(error)
    kind = TYPES.get(status) or ("invalid_request_error" if status < HTTPStatus.INTERNAL_SERVER_ERROR else "api_error")
    said: dict[str, Any] = {"type": kind, "message": error.message}
    if (code := error.details.get("code")) is not None:
        said["details"] = {"error_code": code}
    return {"type": "error", "error": said, "request_id": request_id}


def new_request_id() -> str:
    """Return an id for a request that begins no run."""
    return f"req_{uuid4().hex}"


def _status(error: AnabranchError) -> int:
    if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return HTTPStatus.BAD_REQUEST.value
    return OVERLOADED if isinstance(error, Overloaded) else error.status
