"""Types of fields: numbers within bounds, lists, factors, origins, as people write them in a document."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

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


def as_text(value: Any) -> Any:
    """Return what YAML took for a number or a boolean as the text it is meant to be."""
    if isinstance(value, dict | list):
        raise ValueError("expected text, a number or a boolean here; put it in quotes")
    return str(value).lower() if isinstance(value, bool) else str(value) if isinstance(value, int | float) else value


AsText = Annotated[str, BeforeValidator(as_text, json_schema_input_type=str | float | bool)]
Switch = Annotated[bool, Field(strict=True)]
"""A boolean that the checker reads from the tree itself, where `yes` is text."""

# Bounds stand inside the validator: only there does the JSON Schema see them.
Count = Annotated[int, Field(ge=0), BeforeValidator(no_boolean)]
Positive = Annotated[int, Field(ge=1), BeforeValidator(no_boolean)]
Attempts = Annotated[int, Field(ge=1, le=100), BeforeValidator(no_boolean)]
Port = Annotated[int, Field(ge=1, le=65535), BeforeValidator(no_boolean)]
Amount = Annotated[float, Field(ge=0), BeforeValidator(no_boolean)]
AboveZero = Annotated[float, Field(gt=0), BeforeValidator(no_boolean)]


class SpecModel(BaseModel):
    """Built when it is first used, for most documents use a few; those that all documents use say `defer_build=False`."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)


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

ORIGIN = re.compile(r"[a-z][a-z0-9+.-]*://(?:\[[0-9a-f:.]+\]|[a-z0-9._-]+)(?::[0-9]{1,5})?")
USUAL_PORT = re.compile(r"(?<=^http://)(.*):80$|(?<=^https://)(.*):443$")


def _origin(text: str) -> str:
    """Return an origin as browsers send it. Refuse what no browser sends: it would allow no page, silently."""
    if text in ("*", "null"):
        return text
    origin = text.strip().lower().removesuffix("/")
    if ORIGIN.fullmatch(origin):
        return USUAL_PORT.sub(r"\1\2", origin)
    raise ValueError(f"expected the origin of a page, got {text!r}; {_rather(text)}")


def _rather(text: str) -> str:
    """Return what to write instead of what isn't an origin. The hint shows no part of it: it may be secret."""
    if "," in text or " " in text.strip():
        return "write a list: [https://app.example.com, https://www.example.com]"
    if "*" in text:
        return "write each origin out, or '*' alone for all pages"
    if "://" not in text:
        return "write it with its scheme: https://app.example.com"
    return "write scheme://host[:port] alone, as browsers send it: https://app.example.com"


Origin = Annotated[str, AfterValidator(_origin)]
