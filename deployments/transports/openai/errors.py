"""Our errors -> OpenAI's: `{"error": {"message", "type", "param", "code"}}`, and the status that its SDKs expect."""

from __future__ import annotations

import re
from http import HTTPStatus
from typing import Any

from starlette.responses import Response

from deployments.asgi.errors import RUN_ID, retry_after
from deployments.asgi.json_values import json_bytes
from graphs.errors import AnabranchError, Cancelled, Conflict

DONE = b"data: [DONE]\n\n"
"""The end of a stream that succeeded."""
RUN_HEADERS = (RUN_ID, "X-Request-Id")
"""The headers that have the id of the run; OpenAI's clients look for the second."""
OF_CLIENT = "invalid_request_error"
NAMES = {"params.max_output_length": "max_tokens", "params.min_output_length": "min_tokens", "text": "prompt"}
"""What OpenAI calls fields of our model components."""
INDEX = re.compile(r"\.(\d+)(?=\.|$)")
TYPES = {401: "authentication_error", 403: "permission_error", 429: "rate_limit_error"}


def openai_error(error: AnabranchError, run_id: str | None = None) -> Response:
    """Return the HTTP answer of an error."""
    headers = ({} if run_id is None else dict.fromkeys(RUN_HEADERS, run_id)) | retry_after(error)
    return Response(json_bytes(error_body(error, run_id)), openai_status(error), headers, "application/json")


def error_event(error: AnabranchError, run_id: str) -> bytes:
    """Return the last event of a stream that failed: OpenAI's SDKs raise it."""
    return b"data: %b\n\n" % json_bytes(error_body(error, run_id))


def error_body(error: AnabranchError, run_id: str | None = None) -> dict[str, Any]:
    """Return the error as OpenAI's SDKs read it."""
    status = openai_status(error)
    kind = TYPES.get(status) or (OF_CLIENT if status < HTTPStatus.INTERNAL_SERVER_ERROR else "server_error")
    code = error.details.get("code")
    if code is None and status >= HTTPStatus.INTERNAL_SERVER_ERROR:
        code = error.type
    said = {"message": error.message, "type": kind, "param": _param(error), "code": code}
    return {"error": said if run_id is None else {**said, "run_id": run_id}}


def _param(error: AnabranchError) -> str | None:
    """Return the field that is wrong as OpenAI names it: `messages[1].content`."""
    field = error.details.get("field")
    if not isinstance(field, str):
        return None
    # A workflow's fields are its own; those of a component that is called as a model are made of the request's.
    return field if "workflow" in error.details else INDEX.sub(r"[\1]", NAMES.get(field, field))


def openai_status(error: AnabranchError) -> int:
    """Return the status of the HTTP answer of an error."""
    if error.status == HTTPStatus.UNPROCESSABLE_ENTITY:
        return HTTPStatus.BAD_REQUEST.value
    return Conflict.status if isinstance(error, Cancelled) else error.status
