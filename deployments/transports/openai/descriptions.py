"""The bodies and answers of OpenAI's API, as OpenAPI describes them."""

from __future__ import annotations

from collections.abc import Container
from typing import Any

from deployments.transports.openai.errors import RUN_HEADERS

Schema = dict[str, Any]

TEXT: Schema = {"type": "string"}
MAYBE_TEXT: Schema = {"type": ["string", "null"]}
COUNT: Schema = {"type": "integer", "minimum": 0}
FINISH: Schema = {"type": ["string", "null"], "examples": ["stop", "length", "tool_calls"]}


def _object(required: str, **properties: Schema) -> Schema:
    return {"type": "object", "required": required.split(), "properties": properties}


def _list(items: Schema) -> Schema:
    return {"type": "array", "items": items}


USAGE = _object("", prompt_tokens=COUNT, completion_tokens=COUNT, total_tokens=COUNT)
"""What the components noted; left out where none of them did."""
CALL = _object(
    "", id=TEXT, type={"const": "function"}, function=_object("arguments", name=TEXT, arguments=TEXT), index=COUNT
)
SAID: dict[str, Schema] = {
    "role": {"const": "assistant"},
    "content": MAYBE_TEXT,
    "reasoning_content": TEXT,
    "refusal": MAYBE_TEXT,
    "tool_calls": _list(CALL),
}


def _answer(kind: str, choice: Schema, usage: Schema = USAGE) -> Schema:
    head = {"id": TEXT, "object": {"const": kind}, "created": COUNT, "model": TEXT}
    return _object("id object created model choices", **head, choices=_list(choice), usage=usage)


def _choice(said: str, kind: Schema) -> Schema:
    logprobs: Schema = {"type": ["object", "null"]}
    return _object(f"index {said} finish_reason", index=COUNT, **{said: kind}, logprobs=logprobs, finish_reason=FINISH)


NOT_YET: Schema = {"anyOf": [USAGE, {"type": "null"}]}
CHAT = _answer("chat.completion", _choice("message", _object("role content", **SAID)))
CHAT_CHUNK = _answer("chat.completion.chunk", _choice("delta", _object("", **SAID)), NOT_YET)
COMPLETION = _answer("text_completion", _choice("text", TEXT))
COMPLETION_CHUNK = _answer("text_completion", _choice("text", TEXT), NOT_YET)
VECTOR: Schema = {"anyOf": [_list({"type": "number"}), {"type": "string", "contentEncoding": "base64"}]}
EMBEDDINGS = _object(
    "object data model",
    object={"const": "list"},
    data=_list(_object("object index embedding", object={"const": "embedding"}, index=COUNT, embedding=VECTOR)),
    model=TEXT,
    usage=_object("", prompt_tokens=COUNT, total_tokens=COUNT),
)
MODEL = _object("id object created owned_by", id=TEXT, object={"const": "model"}, created=COUNT, owned_by=TEXT)
MODELS = _object("object data", object={"const": "list"}, data=_list(MODEL))
ERROR = _object(
    "error", error=_object("message type", message=TEXT, type=TEXT, param=MAYBE_TEXT, code=MAYBE_TEXT, run_id=TEXT)
)

_ERRORS = {
    400: "the request is wrong; `param` names the parameter",
    404: "there is no such model: `code` is `model_not_found`",
    413: "the body is too large",
    415: "the body is compressed",
}
_ANY: dict[int | str, str] = {500: "an internal error; see the server's log", "default": "any other error"}


def answers(
    whole: Schema, chunk: Schema | None = None, *, errors: Container[int] = _ERRORS
) -> dict[int | str, dict[str, Any]]:
    """Return the descriptions of a route's answers; `chunk` is one event of its stream."""
    told = {**{status: said for status, said in _ERRORS.items() if status in errors}, **_ANY}
    wrong = {status: {"description": said, "content": _json(ERROR)} for status, said in told.items()}
    if chunk is None:
        return {200: {"description": "the answer", "content": _json(whole)}, **wrong}
    events = _object("data", data={"type": "string", "contentMediaType": "application/json", "contentSchema": chunk})
    stream = {"text/event-stream": {"schema": TEXT, "x-itemSchema": events, "example": "data: {…}\n\ndata: [DONE]\n\n"}}
    run = {name: {"description": "the id of the (first) run", "schema": TEXT} for name in RUN_HEADERS}
    good = {
        "description": "the answer, or with `stream` its chunks",
        "headers": run,
        "content": {**_json(whole), **stream},
    }
    return {200: good, **wrong}


def _json(schema: Schema) -> dict[str, Any]:
    return {"application/json": {"schema": schema}}
