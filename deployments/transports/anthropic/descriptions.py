"""The answers of Anthropic's API, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any

from deployments.transports.anthropic.errors import REQUEST_ID, TYPES

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}


def _object(required: str, **properties: Schema) -> Schema:
    return {"type": "object", "required": required.split(), "properties": properties}


BLOCK: Schema = {
    "anyOf": [
        _object("type text", type={"const": "text"}, text=TEXT),
        _object("type thinking signature", type={"const": "thinking"}, thinking=TEXT, signature=TEXT),
        _object("type id name input", type={"const": "tool_use"}, id=TEXT, name=TEXT, input={"type": "object"}),
    ]
}
USAGE = _object(
    "input_tokens output_tokens", input_tokens=COUNT, output_tokens=COUNT, cache_read_input_tokens=COUNT,
    output_tokens_details=_object("thinking_tokens", thinking_tokens=COUNT),
)  # fmt: skip
"""What the components noted; 0 where none of them did."""
MESSAGE = _object(
    "id type role model content stop_reason stop_sequence usage",
    id=TEXT,
    type={"const": "message"},
    role={"const": "assistant"},
    model=TEXT,
    content={"type": "array", "items": BLOCK},
    stop_reason={"enum": ["end_turn", "max_tokens", "stop_sequence", "tool_use", "refusal"]},
    stop_sequence=MAYBE_TEXT,
    stop_details={"type": ["object", "null"]},
    usage=USAGE,
)
TOKENS = _object("input_tokens", input_tokens=COUNT)
EVENT = _object(
    "event data",
    event={
        "enum": [
            "message_start", "ping", "content_block_start", "content_block_delta", "content_block_stop", "message_delta",
            "message_stop", "error",
        ]
    },
    data={"type": "string", "contentMediaType": "application/json"},
)  # fmt: skip
ERROR = _object(
    "type error request_id",
    type={"const": "error"},
    error=_object(
        "type message",
        type={"enum": sorted({"invalid_request_error", *TYPES.values()})},
        message=TEXT,
        details=_object("error_code", error_code=TEXT),
    ),
    request_id=TEXT,
)

_ERRORS: dict[int | str, str] = {
    400: "the request is wrong; the message names the place",
    404: "there is no such model",
    413: "the body is too large",
    415: "the body is compressed",
    500: "an internal error; see the server's log",
    529: "the server is full; `Retry-After` says when to come again",
    "default": "any other error",
}


def answers(whole: Schema, *, streams: bool = False) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of a route's answers."""
    wrong = {status: {"description": said, "content": _json(ERROR)} for status, said in _ERRORS.items()}
    stream = {"text/event-stream": {"schema": TEXT, "x-itemSchema": EVENT}} if streams else {}
    good = {
        "description": "the answer, or with `stream` its events" if streams else "the answer",
        "headers": {REQUEST_ID: {"description": "the id of the run", "schema": TEXT}},
        "content": {**_json(whole), **stream},
    }
    return {200: good, **wrong}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
