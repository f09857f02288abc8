"""Infer a workflow's input fields from the bindings that read them: drafts in, InputFields out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field, replace

from graphs.checker.bindings import fields_of
from graphs.checker.jobs import Draft
from graphs.language import bindings
from graphs.language.nodes import Binding, Comparison, Expr, Literal_, Reference, Template
from graphs.plan import InputField, WorkflowCall
from graphs.stream import Value


@dataclass
class _Seen:
    """What is known so far of one field."""

    known: InputField
    options: list[str] = field(default_factory=list[str])


Inputs = Callable[[str], tuple[InputField, ...]]
"""The input fields of another workflow, by its id."""


def infer(drafts: Mapping[str, Draft], output: Template | None, inputs: Inputs) -> tuple[InputField, ...]:
    """Return the fields in the order the document reads them."""
    seen: dict[str, _Seen] = {}
    for draft in drafts.values():
        for key in draft.node.entries:
            if key not in ("component", "do") and (template := draft.template(key)) is not None:
                _collect(template, seen)
        if draft.call is not None:
            _collect(draft.call.input, seen)
            _follow(draft, seen, inputs)
        if (template := draft.template("do", "output")) is not None:
            _collect(template, seen)
    if output is not None:
        _collect(output, seen)
    return tuple(_finished(each) for each in seen.values())


def _collect(template: Template, seen: dict[str, _Seen], names: Mapping[str, str] | None = None) -> None:
    """Note every `input.NAME` below a template; with `names`, NAME is first translated (and unknown ones left out)."""
    for binding in bindings(template):
        for each, plain in _bindings(binding):
            for reference in _references(each.expr):
                if reference.name != "input" or not reference.path or not isinstance(reference.path[0], str):
                    continue
                name = reference.path[0]
                if names is not None:
                    if name not in names:
                        continue
                    name = names[name]
                entry = seen.setdefault(name, _Seen(InputField(name, required=False)))
                whole = isinstance(each.expr, Reference) and len(reference.path) == 1
                if whole:
                    entry.known = _learn(entry.known, each, plain)
                entry.options += [text for text in _compared(each.expr, name) if text not in entry.options]


def _bindings(binding: Binding) -> Iterator[tuple[Binding, bool]]:
    """Yield a binding and those its default leads to; False for these, which are read only when the first is missing."""
    yield binding, True
    inner = binding.default
    while isinstance(inner, Binding):
        yield inner, False
        inner = inner.default


def _learn(known: InputField, binding: Binding, plain: bool) -> InputField:
    """Add what one binding says: its type, its default, its description."""
    cast = binding.cast or binding.final_cast
    default = binding.default.value if isinstance(binding.default, Literal_) else None
    type = cast.name if cast is not None else _type_of(default)
    notes = {each.name: each.text for each in binding.annotations}
    learned = known
    if known.type == "any" and type != "any":
        learned = replace(
            learned,
            type="text" if type == "string" else type,
            subtype=cast.subtype if cast else None,
            format=cast.format if cast else None,
            options=tuple((cast.subtype or "").split(",")) if type == "select" and cast else (),
        )
    return replace(
        learned,
        default=learned.default if learned.default is not None else default,
        required=learned.required or (plain and binding.default is None),
        description=learned.description or notes.get("description"),
    )


def _type_of(default: Value) -> str:
    match default:
        case bool():
            return "boolean"
        case int():
            return "integer"
        case float():
            return "number"
        case str():
            return "text"
        case _:
            return "any"


def _follow(draft: Draft, seen: dict[str, _Seen], inputs: Inputs) -> None:
    """Go on into what is called: what a job hands on as it is, the bindings there describe."""
    names = _handed_on(draft.call.input) if draft.call is not None else {}
    if isinstance(draft.call, WorkflowCall):
        inner = _handed_on(draft.call.action_input)
        for field in inputs(draft.call.workflow):
            name = _translated(_translated(field.name, inner), names)
            if name is not None:
                entry = seen.setdefault(name, _Seen(InputField(name, required=False)))
                entry.known = _merged(entry.known, field)
    elif draft.call is not None and draft.called is not None:
        action = draft.called.action(draft.call.action)
        if action is not None:
            _collect(action.input, seen, names)


def _handed_on(given: Template) -> Mapping[str, str] | None:
    """Return the fields that are handed on as they are, by their new names; None when all are, under their own."""
    if isinstance(given, Binding) and isinstance(given.expr, Reference) and given.expr.name == "input":
        return None if not given.expr.path else {}
    return {
        inner: str(template.expr.path[0])
        for inner, template in (fields_of(given) or {}).items()
        if isinstance(template, Binding)
        and isinstance(template.expr, Reference)
        and template.expr.name == "input"
        and len(template.expr.path) == 1
        and template.default is None
    }


def _translated(name: str | None, names: Mapping[str, str] | None) -> str | None:
    return name if names is None or name is None else names.get(name)


def _merged(known: InputField, field: InputField) -> InputField:
    """Return a field with what another workflow says of it where nothing is known yet."""
    if known.type == "any":
        known = replace(
            known, type=field.type, subtype=field.subtype, format=field.format, options=known.options or field.options
        )
    return replace(
        known,
        default=known.default if known.default is not None else field.default,
        required=known.required or field.required,
        description=known.description or field.description,
    )


def _finished(seen: _Seen) -> InputField:
    learned = seen.known
    if seen.options and not learned.options and learned.type in ("any", "text"):
        learned = replace(learned, type="text", options=tuple(seen.options))
    return replace(learned, required=False) if learned.default is not None else learned


def _references(expr: Expr) -> Iterator[Reference]:
    match expr.kind:
        case "reference":
            yield expr
        case "literal":
            return
        case "not":
            yield from _references(expr.operand)
        case "logic":
            for operand in expr.operands:
                yield from _references(operand)
        case "comparison":
            yield from _references(expr.left)
            yield from _references(expr.right)


def _compared(expr: Expr, name: str) -> Iterator[str]:
    """Yield the texts that `input.NAME` is compared with: the options a person can choose from."""
    match expr.kind:
        case "comparison":
            yield from _compared_in(expr, name)
        case "not":
            yield from _compared(expr.operand, name)
        case "logic":
            for operand in expr.operands:
                yield from _compared(operand, name)
        case _:
            return


def _compared_in(comparison: Comparison, name: str) -> Iterator[str]:
    if comparison.op != "==":
        return
    sides = (comparison.left, comparison.right)
    for one, other in (sides, sides[::-1]):
        if (
            isinstance(one, Reference)
            and one.name == "input"
            and one.path == (name,)
            and isinstance(other, Literal_)
            and isinstance(other.value, str)
        ):
            yield other.value
