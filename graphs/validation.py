"""Validate a piece of the tree against a pydantic model; every error becomes a Diagnostic where it was written."""

from __future__ import annotations

from collections.abc import Iterable
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
) -> M | None:
    """Return the model's instance, or None after telling every mistake.

    With `bindings`, what a binding will give is left for the run to check, and None is returned when any is there.
    `known` are keys beside the model's own that belong to `what`, for suggestions.
    """
    if node.kind != "mapping":
        mistakes.add(
            node.span, f"expected {what} to be a mapping, got {describe(node)}", "write `key: value` lines", node.path
        )
        return None
    try:
        return model.model_validate(to_data(node))
    except ValidationError as invalid:
        for error in invalid.errors(include_url=False):
            _tell(error, model, node, mistakes, what, bindings, tuple(known))
        return None


def _tell(
    error: ErrorDetails,
    model: type[BaseModel],
    node: Mapping,
    mistakes: Mistakes,
    what: str,
    bindings: bool,
    known: tuple[str, ...],
) -> None:
    target, key_span, inside = _find(node, error["loc"])
    if isinstance(error["input"], Unknown) and error["type"] not in ("missing", "extra_forbidden"):
        if not bindings:
            mistakes.add(
                target.span,
                "a binding can't stand here: this value is fixed when the document is built",
                "write the value itself, or ${env.NAME}",
                target.path,
            )
        return
    kind = error["type"]
    place = f"{what}" if not inside else f"{inside} of {what}"
    if kind == "extra_forbidden":
        key = str(error["loc"][-1])
        names = [*_keys_of(model, error["loc"][:-1]), *(known if len(error["loc"]) == 1 else ())]
        unknown_key(key, key_span or target.span, target.path, place, names, mistakes)
    elif kind == "missing":
        key = error["loc"][-1]
        mistakes.add(target.span, f"{place} needs '{key}'", f"write `{key}: …`", target.path)
    elif kind in ("value_error", "assertion_error"):
        message = str(error.get("ctx", {}).get("error", error["msg"]))
        said, _, hint = message.partition("; ")
        mistakes.add(key_span or target.span, said, hint or None, target.path)
    elif kind == "literal_error":
        _tell_literal(error, target, mistakes)
    else:
        expected = _expectation(error)
        mistakes.add(target.span, f"expected {expected}, got {describe(target)}", _example(kind), target.path)


def unknown_key(key: str, span: Span, path: str, place: str, names: Iterable[str], mistakes: Mistakes) -> None:
    """Tell an unknown key, with the nearest known one."""
    names = sorted(set(names))
    near = closest(key, names)
    listed = f"Known keys: {', '.join(names)}."
    mistakes.add(span, f"unknown key '{key}' in {place}", f"did you mean '{near}'?" if near else listed, path)


def describe(node: Node) -> str:
    """Return what a node is, briefly, as messages show it; never a value from the environment."""
    match node.kind:
        case "mapping":
            return "a mapping"
        case "list":
            return "a list"
        case "bound":
            return "a binding"
        case "scalar":
            if node.shown is not None:
                return node.shown
            if node.value is None:
                return "nothing"
            if isinstance(node.value, str):
                shown = node.value if len(node.value) <= 40 else node.value[:39] + "…"
                return f"'{shown}'"
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


def _keys_of(model: type[BaseModel], loc: tuple[int | str, ...]) -> list[str]:
    """Return the field names of the model that stands at `loc` below `model`."""
    current: type[BaseModel] | None = model
    for part in loc:
        if current is None:
            return []
        if isinstance(part, str) and part in current.model_fields:
            current = _model_in(current.model_fields[part].annotation)
    return list(current.model_fields) if current else []


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
            return f"{context['ge']} or more"
        case "greater_than":
            return f"more than {context['gt']}"
        case "less_than_equal":
            return f"at most {context['le']}"
        case "less_than":
            return f"less than {context['lt']}"
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


def _example(kind: str) -> str | None:
    return {
        "list_type": "write `[…]`, or one `- …` line for each",
        "bool_type": "write true or false",
        "bool_parsing": "write true or false",
        "string_type": "put it in quotes",
        "string_pattern_mismatch": "write it like 'my-component_1'",
    }.get(kind)
