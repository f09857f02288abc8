"""Check the fields of a request against a pydantic model."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from graphs.errors import InvalidInput
from graphs.language import kind_of
from graphs.suggest import closest
from graphs.validation import expectation

M = TypeVar("M", bound=BaseModel)


def validated(model: type[M], fields: Mapping[str, Any]) -> M:
    """Return the model with these fields; raise InvalidInput that names every field that is wrong."""
    try:
        return model.model_validate(fields)
    except ValidationError as invalid:
        said = [(_dotted(error), _said(error, model)) for error in invalid.errors(include_url=False)]
        raise InvalidInput("; ".join(message for _, message in said), field=said[0][0]) from None


def _said(error: ErrorDetails, model: type[BaseModel]) -> str:
    field = _dotted(error)
    if error["type"] == "extra_forbidden":
        known = list(model.model_fields)
        near = closest(field, known)
        hint = f"did you mean '{near}'?" if near else f"the fields are {', '.join(known)}"
        return f"unknown field '{field}'; {hint}"
    if error["type"] == "missing":
        return f"'{field}' is missing"
    if error["type"] == "value_error":
        return f"{field}: {error['msg'].removeprefix('Value error, ')}"
    return f"{field}: expected {expectation(error)}, got {kind_of(error['input'])}"


def _dotted(error: ErrorDetails) -> str:
    return ".".join(str(part) for part in error["loc"])
