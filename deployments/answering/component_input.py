"""An action and the input of a call -> the component's Input, or the InvalidInput that names the field."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from types import NoneType
from typing import Any, cast, get_args

from pydantic import TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails

from deployments.streams.inside_values import MAY_HOLD, joined
from graphs.component import ActionInput, TakesStream, Traced, Waiting, Waits, marked_fields
from graphs.errors import InvalidInput
from graphs.language import Scope, kind_of, references, render
from graphs.language.nodes import Binding, Constant, MappingTemplate, Overlaid, Reference, Template, Text
from graphs.plan import ActionPlan
from graphs.stream import Stream, Value
from graphs.suggest import closest
from graphs.validation import dotted, expectation


class ComponentInput:
    """The Input of one action of a component, for every call of it."""

    def __init__(self, action: ActionPlan, model: type[ActionInput], component: str) -> None:
        self._action, self._model, self._component = action, model, component
        self._fields = {field.alias or name: field for name, field in model.model_fields.items()}
        self._now, self._later = _split(action.input, marked_fields(model, Waits))
        self._adapters: dict[str, TypeAdapter[Value]] = {
            name: TypeAdapter(cast("Any", self._fields[name].annotation)) for name in self._later
        }
        fields = self._fields.items()
        self._streamed = frozenset(
            name for name, field in fields if any(isinstance(mark, TakesStream) for mark in field.metadata)
        )
        """The fields that take a stream as it flows."""
        self._without_null = frozenset(name for name, field in fields if _has_no_use_for_null(field))
        self._fixed = dict(_fixed(action.input)) if issubclass(model, Traced) else {}

    async def render(self, names: Mapping[str, Value]) -> Any:
        """Return the Input: bindings evaluated with `names`, streams joined where the field can't take one, validated."""
        given = await self._given(names)
        kept = {name: value for name, value in given.items() if value is not None or name not in self._without_null}
        try:
            input = self._model.model_validate(kept)
        except ValidationError as invalid:
            errors = invalid.errors(include_url=False)
            raise _invalid(errors, self._action.input, names.get("input"), given, self._component) from None
        if isinstance(input, Traced):
            input.trace(self._fixed)
        return input

    async def _given(self, names: Mapping[str, Value]) -> dict[str, Value]:
        values = await render(self._now, Scope(names))
        if isinstance(values, Stream):
            values = await values.join()
        if not isinstance(values, Mapping):
            raise InvalidInput(
                f"component '{self._component}': expected the input of action '{self._action.id}' to be a mapping, "
                f"got {kind_of(values)}; send its fields: {', '.join(self._model.model_fields)}"
            )
        given = dict[str, Value](values)
        for name, value in values.items():
            # A field that takes a stream is given it as it flows; in a value that holds streams they are joined.
            if isinstance(value, MAY_HOLD) and not (isinstance(value, Stream) and name in self._streamed):
                given[name] = (await joined(value))[0]
        for name, template in self._later.items():
            given[name] = self._waiting(name, template, names)
        return given

    def _waiting(self, name: str, template: Template, names: Mapping[str, Value]) -> Waiting[Value]:
        async def give(more: Mapping[str, Value]) -> Value:
            value = (await joined(await render(template, Scope({**names, **more}))))[0]
            try:
                return self._adapters[name].validate_python(value)
            except ValidationError as invalid:
                # Told as the whole Input's errors are, where the field is one of several.
                errors = [{**error, "loc": (name, *error["loc"])} for error in invalid.errors(include_url=False)]
                around = MappingTemplate(((name, template),))
                told = cast("list[ErrorDetails]", errors)
                raise _invalid(told, around, None, {name: value}, self._component) from None

        return Waiting(give)


def _split(template: Template, later: frozenset[str]) -> tuple[Template, dict[str, Template]]:
    """Return what can be rendered at once, and the fields whose bindings wait for the answer."""
    if not later or not isinstance(template, MappingTemplate):
        return template, {}
    waiting = {name: item for name, item in template.items if name in later and any(references(item))}
    return MappingTemplate(tuple(each for each in template.items if each[0] not in waiting)), waiting


def _fixed(template: Template, path: str = "") -> Iterator[tuple[str, str]]:
    """Yield each field's (path, text before its first binding)."""
    match template:
        case Constant(value=str() as text):
            yield path, text
        case Constant(value=Mapping() as value):
            for name, item in cast("Mapping[str, Value]", value).items():
                yield from _fixed(Constant(item), f"{path}.{name}" if path else name)
        case Text(parts=(str() as text, *_)):
            yield path, text
        case MappingTemplate(items=items):
            for name, item in items:
                yield from _fixed(item, f"{path}.{name}" if path else name)
        case _:
            pass


def _has_no_use_for_null(field: FieldInfo) -> bool:
    """Whether a null stands for nothing written: the field has a default, and no use for null."""
    return not field.is_required() and NoneType not in get_args(field.annotation)


def _invalid(
    errors: list[ErrorDetails], template: Template, sent: Value, given: Mapping[str, Value], component: str
) -> InvalidInput:
    """Return the error that names every field that doesn't fit, the first one's name in its details."""
    said = [_said(error, template, sent, given, component) for error in errors]
    return InvalidInput("; ".join(message for message, _ in said), field=said[0][1], component=component)


def _said(
    error: ErrorDetails, template: Template, sent: Value, given: Mapping[str, Value], component: str
) -> tuple[str, str]:
    """Return what is wrong with one field, and the name by which the client knows it."""
    field = dotted(error["loc"])
    source = _source(template, error["loc"])
    name = f"input.{dotted(source)}" if source else f"field '{field}'"
    known = dotted(source) if source else field
    expected = _expected(error)
    if error["type"] == "missing" or (error["input"] is None and _value_at(given, error["loc"]) is None):
        need = f"component '{component}' needs it" + (f" as '{field}'" if source else "")
        return f"{name} is missing; {need}{f' (expected {expected})' if expected else ''}{_hint(source, sent)}", known
    if error["type"] == "extra_forbidden":
        return f"component '{component}' has no field '{field}'", known
    got = f", got {kind_of(error['input'])}" if expected else ""
    problem = f"expected {expected}{got}" if expected else error["msg"].removeprefix("Value error, ")
    use = f" as '{field}'" if source else ""
    return f"{name}: {problem}; component '{component}' takes it{use}", known


def _source(template: Template, loc: tuple[int | str, ...], *, within: bool = False) -> tuple[str | int, ...]:
    """Return the path in the client's input that a field is read from, if its template is a plain `${input.…}`."""
    match template:
        case Binding(expr=Reference(name="input", path=(_, *_) as path)):
            return (*path, *loc)
        case MappingTemplate(items=items) if loc:
            item = dict(items).get(str(loc[0]))
            if item is None or (isinstance(item, MappingTemplate) and not within):
                return ()
            return _source(item, loc[1:], within=within)
        case Overlaid(below=below, above=above):
            # Called as a model: the client knows its own parameters alone.
            return _source(above, loc, within=True) or _source(below, loc, within=True)
        case _:
            return ()


def _hint(source: tuple[str | int, ...], sent: Value) -> str:
    if not source or not isinstance(sent, Mapping) or source[0] in sent:
        return ""
    near = closest(str(source[0]), [str(key) for key in sent])
    return f"; did you send it as '{near}'?" if near else ""


def _expected(error: ErrorDetails) -> str | None:
    match error["type"]:
        case "missing" | "extra_forbidden" | "value_error" | "assertion_error":
            return None
        case "literal_error" | "enum":
            return f"one of {error.get('ctx', {})['expected']}"
        case _:
            return expectation(error)


def _value_at(value: Any, loc: tuple[int | str, ...]) -> Value:
    for step in loc:
        if isinstance(value, Mapping):
            value = value.get(step)
        elif isinstance(value, list) and isinstance(step, int) and -len(value) <= step < len(value):
            value = value[step]
    return value
