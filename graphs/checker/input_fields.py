"""Infer a workflow's input fields from the bindings that read them: drafts in, InputFields out."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import cache
from typing import NamedTuple

from graphs.checker.bindings import fields_of
from graphs.checker.drafts import Draft
from graphs.document import job_types
from graphs.language import bindings, references
from graphs.language.nodes import Binding, Expr, Literal_, Reference, Template, options
from graphs.language.references import references_in
from graphs.plan import InputField, WorkflowCall


@dataclass
class _Seen:
    """What is known so far of one field."""

    known: InputField
    required: bool = False
    options: list[str] = field(default_factory=list[str])


class _HandedOn(NamedTuple):
    """A field that a call's input passes on without a default; `whole` if it passes the field itself, not a part."""

    name: str
    whole: bool = True


_Names = Mapping[str, _HandedOn] | None
"""The fields that are passed on, by their names in the called action; None if all are, under their own names."""

TYPES: Mapping[type, str] = {bool: "boolean", int: "integer", float: "number", str: "text"}
"""What a default says of its field."""
ORDERS = frozenset({"<", "<=", ">", ">="})

Inputs = Callable[[str], tuple[InputField, ...]]
"""The input fields of another workflow, by its id."""


def infer(drafts: Mapping[str, Draft], output: Template | None, inputs: Inputs) -> tuple[InputField, ...]:
    """Return the fields in the order the document reads them."""
    seen: dict[str, _Seen] = {}
    inputs = cache(inputs)
    for draft in drafts.values():
        given = "do" if isinstance(draft.spec, job_types.ForEachJob) else "input"
        for key in draft.node.entries:
            if draft.call is not None and key == given:
                _collect_given(draft.call.input, _read_there(draft, inputs), seen)
            elif key not in ("component", "do") and (template := draft.template(key)) is not None:
                _collect(template, seen)
        _follow(draft, seen, inputs)
        if (template := draft.template("do", "output")) is not None:
            _collect(template, seen)
    if output is not None:
        _collect(output, seen)
    return tuple(_finished(each) for each in seen.values())


def _collect_given(given: Template, read: frozenset[str], seen: dict[str, _Seen]) -> None:
    """Note what a call's input reads. A field that is only passed on is required if the called action requires it."""
    fields = fields_of(given)
    if fields is None:
        _collect(given, seen)
        return
    for name, template in fields.items():
        _collect(template, seen, decides=name not in read or _handed(template) is None)


def _collect(template: Template, seen: dict[str, _Seen], names: _Names = None, *, decides: bool = True) -> None:
    """Note every `input.NAME` below a template; with `names`, NAME is first translated (and unknown ones left out).

    With `decides`, a field that the template needs is required.
    """
    for binding in bindings(template):
        for each, plain in _bindings(binding):
            needed = frozenset(_needed(each)) if decides and plain else frozenset[str]()
            for reference in references_in(each.expr):
                written = _field(reference)
                handed = _translated(written, names) if written is not None else None
                if written is None or handed is None:
                    continue
                entry = seen.setdefault(handed.name, _Seen(InputField(handed.name)))
                entry.required |= written in needed
                if not handed.whole:
                    continue
                if isinstance(each.expr, Reference) and len(reference.path) == 1:
                    entry.known = _learn(entry.known, each)
                entry.options += [text for text in _compared(each.expr, written) if text not in entry.options]


def _field(reference: Reference) -> str | None:
    """Return the NAME of `input.NAME` and of what lies below it."""
    first = reference.path[0] if reference.name == "input" and reference.path else None
    return first if isinstance(first, str) else None


def _needed(binding: Binding) -> Iterator[str]:
    """Yield the fields without which a binding gives null, as it has no default, or fails."""
    if not isinstance(binding.expr, Reference):
        yield from _ordered(binding.expr)
    elif binding.default is None and (name := _field(binding.expr)) is not None:
        yield name


def _ordered(expr: Expr) -> Iterator[str]:
    """Yield the fields that are always ordered, which fails on null; `input.n and input.n > 5` doesn't always."""
    match expr.kind:
        case "comparison":
            for side in (expr.left, expr.right):
                name = _field(side) if isinstance(side, Reference) and expr.op in ORDERS else None
                yield from _ordered(side) if name is None else (name,)
        case "not":
            yield from _ordered(expr.operand)
        case "logic":
            yield from _ordered(expr.operands[0])
        case _:
            return


def _bindings(binding: Binding) -> Iterator[tuple[Binding, bool]]:
    """Yield a binding with True, and those in its default with False: these are read only if the first gives nothing."""
    yield binding, True
    inner = binding.default
    while isinstance(inner, Binding):
        yield inner, False
        inner = inner.default


def _learn(known: InputField, binding: Binding) -> InputField:
    """Add what one binding says: its type, its default, its description."""
    cast = binding.cast or binding.final_cast
    # What comes from the environment (`shown` says how it is written) is not for clients to see: no default, no option.
    given = binding.default if isinstance(binding.default, Literal_) and binding.default.shown is None else None
    default = given.value if given else None
    description = {each.name: each.text for each in binding.annotations}.get("description")
    learned = InputField(known.name, TYPES.get(type(default), "any"), default=default, description=description)
    if cast is not None:
        name = "text" if cast.name == "string" else cast.name
        learned = learned._replace(type=name, subtype=cast.subtype, format=cast.format, options=options(cast))
    return _merged(known, learned)


def _read_there(draft: Draft, inputs: Inputs) -> frozenset[str]:
    """Return the names in a call's input that the called action or workflow reads one by one."""
    if isinstance(draft.call, WorkflowCall):
        inner = _handed_on(draft.call.action_input)
        names = (_translated(field.name, inner) for field in inputs(draft.call.workflow))
        return frozenset(each.name for each in names if each is not None)
    read = [each for template in draft.templates for each in references(template) if each.name == "input"]
    return frozenset(str(each.path[0]) for each in read) if all(each.path for each in read) else frozenset()


def _follow(draft: Draft, seen: dict[str, _Seen], inputs: Inputs) -> None:
    """Follow a call: the bindings of the called action describe the fields that the job passes on."""
    if draft.call is None:
        return
    names = _handed_on(draft.call.input)
    if isinstance(draft.call, WorkflowCall):
        inner = _handed_on(draft.call.action_input)
        for field in inputs(draft.call.workflow):
            between = _translated(field.name, inner)
            handed = _translated(between.name, names) if between is not None else None
            if between is None or handed is None:
                continue
            entry = seen.setdefault(handed.name, _Seen(InputField(handed.name)))
            if between.whole and handed.whole:
                entry.known = _merged(entry.known, field)
            entry.required |= field.required
    for template in draft.templates:
        _collect(template, seen, names)


def _handed_on(given: Template) -> _Names:
    """Return the fields that are passed on, by their new names; None if all are, under their own."""
    if isinstance(given, Binding) and isinstance(given.expr, Reference) and given.expr.name == "input":
        return None if not given.expr.path else {}
    handed = {inner: _handed(template) for inner, template in (fields_of(given) or {}).items()}
    return {inner: each for inner, each in handed.items() if each is not None}


def _handed(template: Template) -> _HandedOn | None:
    """Return the field that a template `input.NAME…` passes on; None if it has a default."""
    if not isinstance(template, Binding) or not isinstance(template.expr, Reference) or template.default is not None:
        return None
    name = _field(template.expr)
    return _HandedOn(name, len(template.expr.path) == 1) if name is not None else None


def _translated(name: str, names: _Names) -> _HandedOn | None:
    return _HandedOn(name) if names is None else names.get(name)


def _merged(known: InputField, field: InputField) -> InputField:
    """Return a field, completed by what else is known of it."""
    typed = field if known.type == "any" else known
    return known._replace(
        type=typed.type,
        subtype=typed.subtype,
        format=typed.format,
        options=known.options or typed.options,
        default=known.default if known.default is not None else field.default,
        description=known.description or field.description,
    )


def _finished(seen: _Seen) -> InputField:
    learned = seen.known
    if seen.options and not learned.options and learned.type in ("any", "text"):
        learned = learned._replace(type="text", options=tuple(seen.options))
    return learned._replace(required=seen.required, default=None if seen.required else learned.default)


def _compared(expr: Expr, name: str) -> Iterator[str]:
    """Yield the texts that `input.NAME` is compared with: the options a person can choose from."""
    match expr.kind:
        case "comparison" if expr.op == "==":
            for one, other in ((expr.left, expr.right), (expr.right, expr.left)):
                read = isinstance(one, Reference) and one.name == "input" and one.path == (name,)
                if read and isinstance(other, Literal_) and isinstance(other.value, str) and other.shown is None:
                    yield other.value
        case "not":
            yield from _compared(expr.operand, name)
        case "logic":
            for operand in expr.operands:
                yield from _compared(operand, name)
        case _:
            return
