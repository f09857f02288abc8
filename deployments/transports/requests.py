"""Read requests: a request in, its JSON body out, or an error that says what is wrong with it."""

from __future__ import annotations

import json
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request

from graphs.errors import BadRequest, InvalidInput, TooLarge
from graphs.suggest import closest

M = TypeVar("M", bound=BaseModel)


async def read_json(request: Request, limit: int) -> dict[str, Any]:
    """Return the body, which must be a JSON object of at most `limit` bytes."""
    body = await read_body(request, limit)
    if not body.strip():
        raise BadRequest('the body is empty; send a JSON object such as {"input": {}}')
    try:
        value = json.loads(body)
    except UnicodeDecodeError as error:
        raise BadRequest(f"the body is not UTF-8 text (byte {error.start}); send JSON in UTF-8") from None
    except json.JSONDecodeError as error:
        raise BadRequest(f"the body is not JSON: {error.msg} at line {error.lineno}, column {error.colno}") from None
    except RecursionError:
        raise BadRequest("the body is nested too deeply") from None
    except ValueError as error:
        raise BadRequest(f"the body is not JSON that can be read: {error}") from None
    if not isinstance(value, dict):
        raise BadRequest(f"expected the body to be a JSON object, got {_kind(value)}")
    return value


async def read_body(request: Request, limit: int) -> bytes:
    """Return the body; refuse a larger one as soon as that is known."""
    too_large = TooLarge(f"the body is larger than {limit} bytes; send less, or raise controller.max_request_size", limit=limit)
    length = request.headers.get("content-length", "")
    if length.isdigit() and int(length) > limit:
        raise too_large
    parts: list[bytes] = []
    size = 0
    async for part in request.stream():
        size += len(part)
        if size > limit:
            raise too_large
        parts.append(part)
    return b"".join(parts)


def validate(model: type[M], value: dict[str, Any], what: str) -> M:
    """Return the model of a body; the first mistake in it becomes an InvalidInput that names the field."""
    try:
        return model.model_validate(value)
    except ValidationError as invalid:
        error = invalid.errors(include_url=False)[0]
        field = ".".join(map(str, error["loc"]))
        if error["type"] == "extra_forbidden":
            near = closest(field, model.model_fields)
            known = f"Known: {', '.join(model.model_fields)}."
            hint = f"did you mean '{near}'? {known}" if near else known
            raise InvalidInput(f"unknown field '{field}' in {what}; {hint}", field=field) from None
        said = error["msg"].removeprefix("Value error, ").removeprefix("Input should be ")
        if error["type"] == "value_error":
            raise InvalidInput(f"{field or what}: {said}", field=field) from None
        raise InvalidInput(f"{field}: expected {said}, got {_kind(error['input'])}", field=field) from None


def _kind(value: object) -> str:
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int() | float():
            return "a number"
        case str():
            return "text"
        case list():
            return "a list"
        case dict():
            return "an object"
        case _:
            return type(value).__name__
