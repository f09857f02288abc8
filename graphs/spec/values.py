"""Values as people write them in a document -> numbers within bounds, lists, factors; what they can't be is told plainly."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

ID_PATTERN = r"^[A-Za-z0-9_][A-Za-z0-9_-]*$"
Id = Annotated[str, Field(pattern=ID_PATTERN, max_length=128)]
Template = Any
"""A value in which bindings may stand."""


def listed(value: Any) -> Any:
    return value if isinstance(value, list) or value is None else [value]


def no_boolean(value: Any) -> Any:
    if isinstance(value, bool):
        raise ValueError(f"expected a number, got {str(value).lower()}")  # pydantic would take true for 1
    return value


# Bounds stand inside the validator: only there does the JSON Schema see them.
Count = Annotated[int, Field(ge=0), BeforeValidator(no_boolean)]
Positive = Annotated[int, Field(ge=1), BeforeValidator(no_boolean)]
Attempts = Annotated[int, Field(ge=1, le=100), BeforeValidator(no_boolean)]
Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(no_boolean)]
Amount = Annotated[float, Field(ge=0), BeforeValidator(no_boolean)]
AboveZero = Annotated[float, Field(gt=0), BeforeValidator(no_boolean)]


class SpecModel(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True)


def factor(value: Any) -> Any:
    """Return the factor that a word for it means."""
    if not isinstance(value, str):
        return no_boolean(value)
    if value not in BACKOFFS:
        raise ValueError(f"expected a factor or one of {', '.join(BACKOFFS)}, got {value!r}; write 2, or exponential")
    return BACKOFFS[value]


BACKOFFS = {"fixed": 1.0, "exponential": 2.0}
Factor = Annotated[
    float, BeforeValidator(factor, json_schema_input_type=float | Literal["fixed", "exponential"]), Field(ge=1)
]
