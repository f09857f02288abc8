"""Validate a piece of the tree against a pydantic model; every error becomes a Diagnostic where it was written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from graphs.component import Unknown
from graphs.source import Mapping, Mistakes, Node, Span
from graphs.suggest import closest

M = TypeVar("M", bound=BaseModel)

EXPECTED = {
    "string_type": "text", "int_type": "a whole number", "int_parsing": "a whole number", "int_from_float": "a whole number",
    "float_type": "a number", "float_parsing": "a number", "bool_type": "true or false", "bool_parsing": "true or false",
    "dict_type": "a mapping", "list_type": "a list", "model_type": "a mapping", "model_attributes_type": "a mapping",
    "mapping_type": "a mapping", "tuple_type": "a list",
}  # fmt: skip


def to_data(node: Node) -> Any:
    """Return plain data; a binding becomes an Unknown."""
    match node.kind:
        case "scalar":
            return node.value
        case "bound":
            return Unknown()
        case "mapping":
            return {key: to_data(entry.node) for key, entry in node.entries.items()}
        case "list":
            return [to_data(item) for item in node.items]


def validate(
    model: type[M],
    node: Node,
    mistakes: Mistakes,
    what: str,
    *,
    bindings: bool = False,
    known: Iterable[str] = (),
    meant: Iterable[str] = (),
    salvage: bool = False,
) -> M | None:
    """Return the model's instance, or None after telling every mistake.

    With `bindings`, what a binding will give is left for the run to check, and None is returned when any is there.
    `known` are keys beside the model's own that belong to `what`, for suggestions. `meant` are keys that a mistake
    already told suggests: that they are missing follows from it. With `salvage`, what is well is returned without the
    keys that are not, to check the rest of the document against.
    """
    if node.kind != "mapping":
        expected = f"expected {what} to be a mapping, got {describe(node)}"
        mistakes.add(node.span, expected, "write `key: value` lines", node.path)
        return None
    data = to_data(node)
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    _Telling(model, node, mistakes, what, bindings, tuple(known), set(meant)).tell(errors)
    return _salvaged(model, data, errors) if salvage else None


def _salvaged(model: type[M], data: dict[str, Any], errors: list[ErrorDetails]) -> M | None:
    wrong = {error["loc"][0] for error in errors if error["loc"]}
    try:
        return model.model_validate({key: value for key, value in data.items() if key not in wrong})
    except ValidationError:
        return None


@dataclass
class _Telling:
    """Tells pydantic's errors of one node, each once: a union has one for each of its members."""

    model: type[BaseModel]
    node: Mapping
    mistakes: Mistakes
    what: str
    bindings: bool
    known: tuple[str, ...]
    meant: set[str]
    told: list[Span] = field(default_factory=list[Span])

    def tell(self, errors: list[ErrorDetails]) -> None:
        for error in sorted(errors, key=lambda each: each["type"] != "extra_forbidden"):
            target, key_span, inside = _find(self.node, error["loc"])
            place = f"{inside} of {self.what}" if inside else self.what
            match error["type"]:
                case "extra_forbidden":
                    self._unknown(error["loc"], key_span or target.span, target.path, place)
                case "missing":
                    self._missing(str(error["loc"][-1]), target, place)
                case _ if target.span not in self.told:
                    self.told.append(target.span)
                    self._wrong(error, target, key_span)
                case _:
                    pass

    def _unknown(self, loc: tuple[int | str, ...], span: Span, path: str, place: str) -> None:
        key, above = str(loc[-1]), loc[:-1]
        own = _model_at(self.model, above)
        names = [*(own.model_fields if own else ()), *(() if above else self.known)]
        if above and key in (*self.model.model_fields, *self.known):
            beside = str(above[0])
            self.mistakes.add(
                span, f"unknown key '{key}' in {place}", f"move `{key}` one level up, beside `{beside}`", path
            )
            return
        near = unknown_key(key, span, path, place, names, self.mistakes, (own,) if own else ())
        if near is not None:
            self.meant.add(near)

    def _missing(self, key: str, target: Node, place: str) -> None:
        if key not in self.meant:
            self.mistakes.add(target.span, f"{place} needs '{key}'", f"write `{key}: …`", target.path)

    def _wrong(self, error: ErrorDetails, target: Node, key_span: Span | None) -> None:
        if isinstance(error["input"], Unknown):
            if not self.bindings:
                tell_binding(target, self.mistakes)
            return
        match error["type"]:
            case "value_error" | "assertion_error":
                said, _, hint = _message(error).partition("; ")
                span = _mentioned(said, target) or key_span or target.span
                said, hint = without_secrets(said, target), without_secrets(hint, target)
                self.mistakes.add(span, said, hint or None, target.path)
            case "literal_error":
                _tell_literal(error, target, self.mistakes)
            case kind:
                expected = f"expected {_expectation(error)}, got {describe(target)}"
                self.mistakes.add(target.span, expected, _example(kind, target), target.path)


def _mentioned(message: str, node: Node) -> Span | None:
    """Return the place of a scalar, or of the first key of a mapping that a message about it names."""
    if node.kind == "mapping":
        words = re.findall(r"\w+", message)
        return next((node.entries[word].key_span for word in words if word in node.entries), None)
    return node.span if node.kind == "scalar" else None


def _message(error: ErrorDetails) -> str:
    return str(error.get("ctx", {}).get("error", error["msg"]))


def tell_binding(node: Node, mistakes: Mistakes) -> None:
    """Tell a binding where none can be."""
    message = "a binding can't stand here: this value is fixed when the document is built"
    mistakes.add(node.span, message, "write the value itself, or ${env.NAME}", node.path)
    mistakes.silence(node.span)


def without_secrets(message: str, node: Node) -> str:
    """Return the message with every value that came from the environment shown as it is written in the document."""
    match node.kind:
        case "scalar" if node.shown is not None:
            for text in (repr(node.value), str(node.value)):
                message = message.replace(text, node.shown)
        case "mapping":
            for entry in node.entries.values():
                message = without_secrets(message, entry.node)
        case "list":
            for item in node.items:
                message = without_secrets(message, item)
        case _:
            pass
    return message


def unknown_key(
    key: str,
    span: Span,
    path: str,
    place: str,
    names: Iterable[str],
    mistakes: Mistakes,
    models: Iterable[type[BaseModel]] = (),
) -> str | None:
    """Tell an unknown key, with the nearest known one, which is returned; `models` may know it one level down."""
    names = sorted(set(names))
    near, home = nearest_key(key, names), _home_of(key, models)
    if home is not None:
        hint = f"move `{key}` one level down, under `{home}`"
    else:
        hint = f"did you mean '{near}'?" if near else f"Known keys: {', '.join(names)}."
    mistakes.add(span, f"unknown key '{key}' in {place}", hint, path)
    return near if home is None else home


ELSEWHERE = {
    "name": "id", "di": "id", "kind": "type", "url": "base_url", "uri": "base_url", "needs": "depends_on",
    "after": "depends_on", "requires": "depends_on", "when": "condition", "if": "condition", "uses": "component",
    "with": "input", "inputs": "input", "args": "input", "outputs": "output", "steps": "jobs", "tasks": "jobs",
    "nodes": "jobs", "retries": "retry", "stream": "streaming", "max_tokens": "max_output_length",
    "max_new_tokens": "max_output_length", "verb": "method", "gpus": "num_gpus", "cpus": "num_cpus",
    "environment": "env", "cwd": "working_dir", "command": "start", "health_check": "healthcheck",
}  # fmt: skip
"""What keys are called in documents of other tools."""


def nearest_key(key: str, names: Iterable[str]) -> str | None:
    """Return the key that was probably meant: the nearest, else what other tools call so."""
    names = list(names)
    near, elsewhere = closest(key, names), ELSEWHERE.get(key.casefold())
    return elsewhere if near is None and elsewhere in names else near


def _home_of(key: str, models: Iterable[type[BaseModel]]) -> str | None:
    """Return the field whose own fields have that name."""
    for model in models:
        for name, info in model.model_fields.items():
            inner = _model_in(info.annotation)
            if inner is not None and key in inner.model_fields:
                return name
    return None


def describe(node: Node) -> str:
    """Return what a node is, briefly, as messages show it; never a value from the environment."""
    match node.kind:
        case "mapping":
            return "a mapping" if node.entries else "an empty mapping"
        case "list":
            return "a list" if node.items else "an empty list"
        case "bound":
            return "a binding"
        case "scalar":
            if node.shown is not None:
                return node.shown
            if node.value is None:
                return "nothing"
            if isinstance(node.value, str):
                line = node.value.replace("\n", "\\n")
                return f"'{line if len(line) <= 40 else line[:39] + '…'}'"
            return str(node.value).lower() if isinstance(node.value, bool) else str(node.value)


def _find(node: Node, loc: tuple[int | str, ...]) -> tuple[Node, Span | None, str]:
    """Follow pydantic's location as far as the tree goes; parts that name union members are passed over."""
    key_span: Span | None = None
    names: list[str] = []
    for part in loc:
        if node.kind == "mapping" and isinstance(part, str) and part in node.entries:
            entry = node.entries[part]
            key_span, node = entry.key_span, entry.node
            names.append(part)
        elif node.kind == "list" and isinstance(part, int) and part < len(node.items):
            node, key_span = node.items[part], None
            names.append(f"[{part}]")
    inside = names[:-1] if names and loc and names[-1] == loc[-1] else names
    return node, key_span, _dotted(inside)


def _dotted(names: list[str]) -> str:
    text = ""
    for name in names:
        text += name if name.startswith("[") or not text else f".{name}"
    return f"'{text}'" if text else ""


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the model that stands at `loc` below `model`."""
    current: type[BaseModel] | None = model
    for part in loc:
        if current is not None and isinstance(part, str) and part in current.model_fields:
            current = _model_in(current.model_fields[part].annotation)
    return current


def _model_in(annotation: Any) -> type[BaseModel] | None:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (found := _model_in(inner)) is not None:
            return found
    return None


def _tell_literal(error: ErrorDetails, target: Node, mistakes: Mistakes) -> None:
    expected = str(error.get("ctx", {}).get("expected", ""))
    options = [option.strip().strip("'") for option in expected.replace(" or ", ", ").split(",")]
    near = closest(str(error["input"]), options)
    hint = f"did you mean '{near}'?" if near else None
    mistakes.add(target.span, f"expected one of {', '.join(options)}, got {describe(target)}", hint, target.path)


def _expectation(error: ErrorDetails) -> str:
    context = error.get("ctx", {})
    match error["type"]:
        case "greater_than_equal":
            return f"{context['ge']:g} or more"
        case "greater_than":
            return f"more than {context['gt']:g}"
        case "less_than_equal":
            return f"at most {context['le']:g}"
        case "less_than":
            return f"less than {context['lt']:g}"
        case "too_short":
            return f"at least {context['min_length']} item" + ("" if context["min_length"] == 1 else "s")
        case "string_too_long":
            return f"at most {context['max_length']} characters"
        case "string_too_short":
            return "text that isn't empty"
        case "string_pattern_mismatch":
            return "a name of letters, digits, '_' and '-'"
        case kind:
            return EXPECTED.get(kind) or error["msg"].removeprefix("Input should be ").removeprefix("a valid ")


def _example(kind: str, node: Node) -> str | None:
    if node.kind == "scalar" and node.value is None:
        return "write a value after the ':', or leave the key out"
    if kind == "string_type" and node.kind != "scalar":
        return "write it as text on one line"
    return {
        "too_short": "write one `- …` line for each",
        "list_type": "write `[…]`, or one `- …` line for each",
        "bool_type": "write true or false",
        "bool_parsing": "write true or false",
        "dict_type": "write `key: value` lines below it",
        "model_type": "write `key: value` lines below it",
        "string_type": "put it in quotes",
        "string_pattern_mismatch": "write it like 'my-component_1'",
    }.get(kind)
