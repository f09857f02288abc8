"""Validate a piece of the tree against a pydantic model; every error becomes a Diagnostic where it was written."""

from __future__ import annotations

import re
from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError
from pydantic_core import ErrorDetails

from graphs.component import Unknown
from graphs.source import MappingNode, Mistakes, Node, Span
from graphs.suggest import closest
from graphs.validation.descriptions import (
    as_mapping,
    describe,
    dotted,
    example,
    expectation,
    without_quotes,
    without_secrets,
)
from graphs.validation.unknown_keys import model_in, nearest_key, unknown_key

__all__ = [
    "as_mapping", "describe", "dotted", "expectation", "nearest_key", "report_binding", "to_data", "unknown_key",
    "validate", "without_quotes", "without_secrets",
]  # fmt: skip

M = TypeVar("M", bound=BaseModel)


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
    """Return the model's instance, or None after reporting every mistake.

    With `bindings`, the run checks what a binding gives, and None is returned if there is any.
    `known` are keys beside the model's own that belong to `what`, for suggestions. `meant` are keys that an earlier
    mistake suggests: that they are missing is not reported too. With `salvage`, the keys without mistakes are returned,
    to check the rest of the document against.
    """
    if node.kind != "mapping":
        expected = f"expected {what} to be a mapping, got {describe(node)}"
        mistakes.add(node, expected, as_mapping(node, "write `key: value` lines"))
        return None
    data = to_data(node)
    try:
        return model.model_validate(data)
    except ValidationError as invalid:
        errors = invalid.errors(include_url=False)
    _Reporter(model, node, mistakes, what, bindings, tuple(known), set(meant)).report(errors)
    return _salvaged(model, data, errors) if salvage else None


def _salvaged(model: type[M], data: dict[str, Any], errors: list[ErrorDetails]) -> M | None:
    wrong = {error["loc"][0] for error in errors if error["loc"]}
    try:
        return model.model_validate({key: value for key, value in data.items() if key not in wrong})
    except ValidationError:
        return None


@dataclass
class _Reporter:
    """Reports pydantic's errors of one node, each place once: a union has an error for each of its members."""

    model: type[BaseModel]
    node: MappingNode
    mistakes: Mistakes
    what: str
    bindings: bool
    known: tuple[str, ...]
    meant: set[str]
    places: list[Span] = field(default_factory=list[Span])

    def report(self, errors: list[ErrorDetails]) -> None:
        for error in sorted(errors, key=lambda each: each["type"] != "extra_forbidden"):
            target, key_span, inside = _find(self.node, error["loc"])
            place = f"{inside} of {self.what}" if inside else self.what
            if error["type"] == "extra_forbidden":
                self._unknown(error["loc"], place)
            elif error["type"] == "missing":
                key = str(error["loc"][-1])
                if key not in self.meant:
                    self.mistakes.add(target, f"{place} needs '{key}'", f"write `{key}: …`")
            elif target.span not in self.places:
                self.places.append(target.span)
                self._wrong(error, target, key_span)

    def _unknown(self, loc: tuple[int | str, ...], place: str) -> None:
        key, above = str(loc[-1]), loc[:-1]
        node = _find(self.node, above)[0]
        assert node.kind == "mapping"
        own = _model_at(self.model, above)
        names = [*(own.model_fields if own else ()), *(() if above else self.known)]
        if above and key in (*self.model.model_fields, *self.known):
            entry, hint = node.entries[key], f"move `{key}` one level up, beside `{above[0]}`"
            self.mistakes.add(entry, f"unknown key '{key}' in {place}", hint)
            return
        near = unknown_key(key, node, place, names, self.mistakes, (own,) if own else ())
        if near is not None:
            self.meant.add(near)

    def _wrong(self, error: ErrorDetails, target: Node, key_span: Span | None) -> None:
        if isinstance(error["input"], Unknown):
            if not self.bindings:
                report_binding(target, self.mistakes)
            return
        match error["type"]:
            case "value_error" | "assertion_error":
                said, _, hint = str(error.get("ctx", {}).get("error", error["msg"])).partition("; ")
                span = _mentioned(said, target) or key_span or target.span
                said, hint = without_secrets(said, target), without_secrets(hint, target)
                self.mistakes.add(span, said, hint or None, target.path)
            case "literal_error":
                expected = str(error.get("ctx", {}).get("expected", "")).replace(" or ", ", ")
                options = [option.strip().strip("'") for option in expected.split(",")]
                near = closest(str(error["input"]), options)
                message = f"expected one of {', '.join(options)}, got {describe(target)}"
                self.mistakes.add(target, message, f"did you mean '{near}'?" if near else None)
            case kind:
                expected = f"expected {expectation(error)}, got {describe(target)}"
                self.mistakes.add(target, expected, example(kind, target))


def _mentioned(message: str, node: Node) -> Span | None:
    """Return the place of a scalar, or of the first key of a mapping that a message about it names."""
    if node.kind == "mapping":
        named = (node.entries[word] for word in re.findall(r"\w+", message) if word in node.entries)
        return next((entry.span for entry in named), None)
    return node.span if node.kind == "scalar" else None


def report_binding(node: Node, mistakes: Mistakes) -> None:
    """Report a binding where none can be."""
    message = "a binding can't be used here: this value is fixed before any run"
    hint = "write the value itself, or ${env.NAME}"
    expr = node.template.expr if node.kind == "bound" and node.template.kind == "binding" else None
    if expr is not None and expr.kind == "reference" and not expr.path and expr.name.isupper():
        hint = f"write ${{env.{expr.name}}} for an environment variable"
    mistakes.add(node, message, hint)
    mistakes.silence(node.span)


def _find(node: Node, loc: tuple[int | str, ...]) -> tuple[Node, Span | None, str]:
    """Follow pydantic's location as far as the tree goes; parts that name union members are passed over."""
    key_span: Span | None = None
    names: list[str | int] = []
    for part in loc:
        if node.kind == "mapping" and isinstance(part, str) and part in node.entries:
            entry = node.entries[part]
            key_span, node = entry.span, entry.node
            names.append(part)
        elif node.kind == "list" and isinstance(part, int) and part < len(node.items):
            node, key_span = node.items[part], None
            names.append(part)
    inside = names[:-1] if names and names[-1] == loc[-1] and isinstance(names[-1], str) else names
    return node, key_span, f"'{dotted(inside)}'" if inside else ""


def _model_at(model: type[BaseModel], loc: tuple[int | str, ...]) -> type[BaseModel] | None:
    current: type[BaseModel] | None = model
    for part in loc:
        if current is not None and isinstance(part, str) and part in current.model_fields:
            current = model_in(current.model_fields[part].annotation)
    return current
