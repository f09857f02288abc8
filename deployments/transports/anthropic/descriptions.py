"""The bodies and answers of Anthropic's API, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any

from deployments.asgi.errors import RUN_ID
from deployments.conversations.parameters import Body, schema
from deployments.transports.anthropic.errors import REQUEST_ID

Schema = dict[str, Any]

_TEXT: Schema = {"type": "string"}
_COUNT: Schema = {"type": "integer", "minimum": 0}
_MESSAGE: Schema = {
    "type": "object",
    "required": ["id", "type", "role", "model", "content", "stop_reason", "stop_sequence", "usage"],
    "properties": {
        "id": _TEXT,
        "type": {"const": "message"},
        "role": {"const": "assistant"},
        "model": _TEXT,
        "content": {"type": "array", "items": {"type": "object", "required": ["type"]}},
        "stop_reason": {"type": "string"},
        "stop_sequence": {"type": ["string", "null"]},
        "usage": {"type": "object", "properties": {"input_tokens": _COUNT, "output_tokens": _COUNT}},
    },
}
_COUNTED: Schema = {"type": "object", "required": ["input_tokens"], "properties": {"input_tokens": _COUNT}}
_ERROR: Schema = {
    "type": "object",
    "required": ["type", "error", "request_id"],
    "properties": {
        "type": {"const": "error"},
        "error": {"type": "object", "required": ["type", "message"], "properties": {"type": _TEXT, "message": _TEXT}},
        "request_id": _TEXT,
    },
}
_STREAM: Schema = {
    "schema": _TEXT,
    "example": 'event: message_start\ndata: {"type": "message_start", "message": {…}}\n\n…\n\nevent: message_stop\ndata: {"type": "message_stop"}\n\n',
}
_ERRORS: dict[int | str, str] = {
    400: "the request is wrong: `invalid_request_error` names the field",
    404: "there is no such model",
    413: "the body is too large",
    415: "the body is compressed",
    500: "an internal error; see the server's log",
    "default": "any other error",
}


def described(body: type[Body], *, counts: bool = False) -> dict[str, Any]:
    """Return what a route says of its body and of its answers."""
    content = _json(_COUNTED) if counts else {**_json(_MESSAGE), "text/event-stream": _STREAM}
    ids = {name: {"description": "the id of the run", "schema": _TEXT} for name in (RUN_ID, REQUEST_ID)}
    said = "how many tokens they are" if counts else "the answer, or with `stream` its events"
    good = {"description": said, "headers": ids, "content": content}
    wrong = {status: {"description": said, "content": _json(_ERROR)} for status, said in _ERRORS.items()}
    return {
        "openapi_extra": {"requestBody": {"required": True, "content": _json(schema(body))}},
        "responses": {200: good, **wrong},
    }


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
