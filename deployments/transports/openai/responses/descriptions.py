"""The answers of `/v1/responses`, as OpenAPI describes them."""

from __future__ import annotations

from typing import Any

from deployments.transports.openai.descriptions import COUNT, MAYBE_TEXT, TEXT, Schema, answers

ITEM: Schema = {
    "type": "object",
    "required": ["id", "type"],
    "properties": {
        "id": TEXT,
        "type": {"enum": ["message", "reasoning", "function_call", "function_call_output"]},
        "status": {"enum": ["in_progress", "completed", "incomplete"]},
    },
}
RESPONSE: Schema = {
    "type": "object",
    "required": ["id", "object", "created_at", "status", "model", "output", "error", "usage", "store", "background"],
    "properties": {
        "id": TEXT,
        "object": {"const": "response"},
        "created_at": COUNT,
        "completed_at": {"type": ["integer", "null"]},
        "status": {"enum": ["queued", "in_progress", "completed", "incomplete", "failed", "cancelled"]},
        "model": TEXT,
        "output": {"type": "array", "items": ITEM},
        "error": {"type": ["object", "null"], "properties": {"code": TEXT, "message": TEXT}},
        "incomplete_details": {"type": ["object", "null"]},
        "previous_response_id": MAYBE_TEXT,
        "usage": {"type": ["object", "null"], "description": "null where no component noted any"},
        "store": {"type": "boolean"},
        "background": {"type": "boolean"},
    },
}
EVENT: Schema = {
    "type": "object",
    "required": ["type", "sequence_number"],
    "properties": {"type": TEXT, "sequence_number": COUNT},
}
_ITEM_OF_STREAM: Schema = {
    "type": "object",
    "required": ["event", "data"],
    "properties": {
        "event": TEXT,
        "data": {"type": "string", "contentMediaType": "application/json", "contentSchema": EVENT},
    },
}
_EXAMPLE = 'event: response.output_text.delta\ndata: {"type": "response.output_text.delta", …}\n\n'


def _streamed() -> dict[int | str, dict[str, Any]]:
    described = answers(RESPONSE)
    content = described[200]["content"]
    stream = {"text/event-stream": {"schema": TEXT, "x-itemSchema": _ITEM_OF_STREAM, "example": _EXAMPLE}}
    return {
        **described,
        200: {"description": "the response, or with `stream` its events", "content": {**content, **stream}},
    }


SHOWN = answers(RESPONSE)
ANSWERED = _streamed()
DELETED = answers(
    {
        "type": "object",
        "required": ["id", "object", "deleted"],
        "properties": {"id": TEXT, "object": {"const": "response.deleted"}, "deleted": {"const": True}},
    }
)
LISTED = answers(
    {
        "type": "object",
        "required": ["object", "data", "first_id", "last_id", "has_more"],
        "properties": {
            "object": {"const": "list"},
            "data": {"type": "array", "items": ITEM},
            "first_id": MAYBE_TEXT,
            "last_id": MAYBE_TEXT,
            "has_more": {"type": "boolean"},
        },
    }
)
