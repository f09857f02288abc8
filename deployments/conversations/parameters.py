"""The parameters of a vendor's API, each declared once: its type, and what becomes of it -> decoding, OpenAPI, the docs' tables.

An API declares a pydantic model whose fields carry a fate: `Annotated[float | None, Field(ge=0, le=2), Honoured()]`.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Annotated, Any, NamedTuple, TypeVar

from pydantic import BaseModel, BeforeValidator, ConfigDict, GetJsonSchemaHandler, ValidationError
from pydantic_core import CoreSchema, ErrorDetails

from graphs.errors import InvalidInput
from graphs.language import kind_of
from graphs.suggest import closest
from graphs.validation import dotted, expectation


def _whole(value: Any) -> Any:
    """Take 3.0 as 3: JSON makes no difference between them."""
    return int(value) if isinstance(value, float) and value.is_integer() else value


Whole = Annotated[int, BeforeValidator(_whole)]


@dataclass(frozen=True, slots=True)
class Fate:
    """What becomes of a parameter where a model component is called."""

    why: str = ""
    example: Any = None

    kind = ""

    @property
    def told(self) -> str:
        """Return what the docs say of it."""
        return f"{self.kind}: {self.why}" if self.why else self.kind

    def __get_pydantic_json_schema__(self, core: CoreSchema, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        """Describe the parameter in OpenAPI."""
        examples = {} if self.example is None else {"examples": [self.example]}
        return {**handler(core), "description": self.told, **examples}


@dataclass(frozen=True, slots=True)
class Honoured(Fate):
    """The model, or the API itself, does as it says."""

    everywhere: bool = False
    """Whether the API itself does, so that it holds for workflows too."""

    kind = "honoured"


@dataclass(frozen=True, slots=True)
class Unread(Fate):
    """It is accepted and changes nothing that comes back."""

    kind = "no effect"


@dataclass(frozen=True, slots=True)
class Refused(Fate):
    """It would change what comes back, and can't be honoured."""

    harmless: tuple[Any, ...] = ()
    """Values that ask for nothing; null is one always."""
    everywhere: bool = False
    """Whether for workflows too; else they read it as `input.NAME`."""

    kind = "refused"

    @property
    def told(self) -> str:
        unless = f", except {' and '.join(f'`{_json(value)}`' for value in self.harmless)}" if self.harmless else ""
        return f"refused{unless}: {self.why}"


class Body(BaseModel):
    """A request. Fields that it doesn't declare are for workflows to read."""

    model_config = ConfigDict(strict=True, extra="allow", frozen=True)


B = TypeVar("B", bound=Body)


class Parameter(NamedTuple):
    """A parameter as the docs show it."""

    name: str
    model: str
    """What becomes of it where a model component is called."""
    workflow: str
    """What becomes of it where a workflow is."""


def decoded(body: type[B], said: Mapping[str, Any]) -> B:
    """Return the request; raise InvalidInput that names what is wrong, or is refused wherever it is sent."""
    for name, fate in fates(body).items():
        if isinstance(fate, Refused) and fate.everywhere:
            _refuse(name, said.get(name), fate)
    try:
        return body.model_validate(said)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
        wrong = "; ".join(_wrong(error, body) for error in errors)
        raise InvalidInput(wrong, field=dotted(errors[0]["loc"])) from None


def check_for_component(body: type[Body], said: Mapping[str, Any]) -> None:
    """Refuse what a model can't be asked: parameters that would change what comes back, and those that nobody knows."""
    known = fates(body)
    for name, value in said.items():
        fate = known.get(name)
        if fate is None:
            near = closest(name, known)
            hint = f"did you mean '{near}'?" if near else "leave it out; only workflows read parameters of their own"
            raise InvalidInput(f"unknown parameter '{name[:80]}'; {hint}", field=name[:80], code="unknown_parameter")
        if isinstance(fate, Refused):
            _refuse(name, value, fate)


def parameters(body: type[Body]) -> Iterator[Parameter]:
    """Yield the parameters of a request, by name."""
    for name, fate in sorted(fates(body).items()):
        here = isinstance(fate, Honoured | Refused) and fate.everywhere
        yield Parameter(name, fate.told, "the same" if here else f"`input.{name}`")


def table(body: type[Body]) -> str:
    """Return the parameters as a table of the docs, in Markdown."""
    rows = [f"| `{each.name}` | {each.model} | {each.workflow} |" for each in parameters(body)]
    return "\n".join(["| parameter | a model component | a workflow |", "|---|---|---|", *rows])


def request_body(body: type[Body]) -> dict[str, Any]:
    """Return what OpenAPI says of a request, beside what FastAPI knows of its route."""
    return {"requestBody": {"required": True, "content": {"application/json": {"schema": schema(body)}}}}


def schema(body: type[Body]) -> dict[str, Any]:
    """Return the JSON Schema of a request, with what it refers to in its place: a page of OpenAPI has other `$defs`."""
    schema = body.model_json_schema()
    known = {f"#/$defs/{name}": each for name, each in schema.pop("$defs", {}).items()}

    def inlined(value: Any) -> Any:
        match value:
            case {"$ref": str(name), **beside}:
                return {**inlined(known[name]), **beside}
            case dict():
                return {key: inlined(item) for key, item in value.items()}
            case list():
                return [inlined(item) for item in value]
            case _:
                return value

    return inlined(schema)


def fates(body: type[Body]) -> dict[str, Fate]:
    """Return what becomes of each parameter."""
    return {name: _fate(field.metadata) for name, field in body.model_fields.items()}


def _fate(metadata: list[Any]) -> Fate:
    (fate,) = (mark for mark in metadata if isinstance(mark, Fate))
    return fate


def _refuse(name: str, value: Any, fate: Refused) -> None:
    if value is not None and value not in fate.harmless:
        write = f", or write {_json(fate.harmless[0])}" if fate.harmless else ""
        raise InvalidInput(f"{name}: {fate.why}; leave it out{write}", field=name, code="unsupported_parameter")


def _wrong(error: ErrorDetails, body: type[Body]) -> str:
    place = dotted(error["loc"])
    if error["type"] == "missing":
        return f"{place} is missing{_write(body, error['loc'])}"
    if error["type"] == "extra_forbidden":
        return f"unknown parameter '{place}'; leave it out"
    if error["type"] == "value_error":
        return f"{place}: {error['msg'].removeprefix('Value error, ')}"
    return f"{place}: expected {_expected(error)}, got {shown(error['input'])}{_write(body, error['loc'])}"


def _expected(error: ErrorDetails) -> str:
    if error["type"] == "literal_error":
        return f"one of {error.get('ctx', {})['expected']}"
    return expectation(error)


def _write(body: type[Body], loc: tuple[int | str, ...]) -> str:
    name = str(loc[0])
    example = fates(body)[name].example if len(loc) == 1 and name in body.model_fields else None
    return "" if example is None else f'; write "{name}": {_json(example)}'


def shown(value: Any) -> str:
    """Return a value as messages show it."""
    match value:
        case bool() | int() | float():
            return _json(value)
        case str() if len(value) <= 40:
            return f"'{value}'"
        case _:
            return kind_of(value)


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
