"""A template and a scope -> its value. Each template is compiled once, into closures: it may run for every chunk."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, assert_never

from graphs.errors import BindingFailed
from graphs.language import nodes
from graphs.language.casts import cast
from graphs.language.operators import Unfit, contains, equal, splice, truth, whole
from graphs.language.printer import print_binding
from graphs.language.references import leaves, references, references_in, text_names
from graphs.language.texts import decoded
from graphs.stream import Stream, Value, kind_of


@dataclass(frozen=True, slots=True)
class Scope:
    """The names a template can see; `chunks` holds the current chunk of those read as `X[]`."""

    names: Mapping[str, Value]
    chunks: Mapping[str, Value] = field(default_factory=dict[str, Value])


Evaluate = Callable[[Scope], Value]

DIGITS = re.compile(r"[0-9]{1,15}")
"""A step that is an index into a list, written as a name: `choices.0`."""


class Compiled:
    """What a template is compiled into."""

    __slots__ = ("chunk", "chunked", "names", "texts", "value")

    def __init__(self, template: nodes.Template) -> None:
        read = tuple(references(template))
        self.names = frozenset(reference.name for reference in read)
        """The names that it reads."""
        self.chunked = frozenset(reference.name for reference in read if reference.chunked)
        """The names X that it reads as `X[]`."""
        self.texts = text_names(template) if self.chunked else frozenset[str]()
        """Those of them whose chunks it reads as text."""
        self.value = _compile(template, flow=True)
        """Gives the value; a reference that is the whole of it may give a Stream as it is."""
        self.chunk = _compile(template, flow=False) if self.chunked else self.value
        """Gives what is made of one chunk of a stream."""


def compiled(template: nodes.Template) -> Compiled:
    """Return what the template is compiled into: by the first call, which leaves it on the template."""
    try:
        return template.compiled
    except AttributeError:
        made = Compiled(template)
        object.__setattr__(template, "compiled", made)
        return made


def evaluate(template: nodes.Template, scope: Scope) -> Value:
    """Return the template's value. Raise BindingFailed, or NeedsWhole for a stream that must be joined first."""
    return compiled(template).value(scope)


def _compile(template: nodes.Template, flow: bool) -> Evaluate:
    match template:
        case nodes.Constant(value=value):
            return lambda _: value
        case nodes.Binding():
            return _binding(template, flow)
        case nodes.Text(parts=parts):
            pieces = [_piece(part) for part in parts]
            return lambda scope: "".join([piece(scope) for piece in pieces])
        case nodes.MappingTemplate(items=items):
            entries = [(key, _compile(item, flow)) for key, item in items]
            return lambda scope: {key: entry(scope) for key, entry in entries}
        case nodes.ListTemplate(items=items):
            members = [_compile(item, flow) for item in items]
            return lambda scope: [member(scope) for member in members]
        case nodes.Overlaid(below=below, above=above):
            return _laid_over(_compile(below, flow), _compile(above, flow))
        case _:
            assert_never(template)


def _laid_over(below: Evaluate, above: Evaluate) -> Evaluate:
    def overlaid(scope: Scope) -> Value:
        under = below(scope)
        over = {key: value for key, value in above(scope).items() if value is not None}
        return {**under, **over} if isinstance(under, Mapping) else over

    return overlaid


# --- bindings --------------------------------------------------------------------------------------------------------


def _binding(binding: nodes.Binding, flow: bool) -> Evaluate:
    expr = binding.expr
    # What a cast needs whole is joined before it, not after: a stream that is made for each evaluation is joined for none.
    flow = flow and nodes.flows(binding.final_cast)
    is_reference = isinstance(expr, nodes.Reference)
    read = _reference(expr, flow and nodes.flows(binding.cast)) if is_reference else _expression(expr)
    if binding.cast is not None:
        read = _converted(read, binding.cast, binding)
    if binding.default is not None:
        default = binding.default
        otherwise = _binding(default, flow) if isinstance(default, nodes.Binding) else _expression(default)
        read = _or_default(read, otherwise)
    if binding.final_cast is not None:
        read = _converted(read, binding.final_cast, binding)
    # Where nothing can be unfit, chunks are spared the frame that would name the binding.
    is_plain = binding.cast is None and binding.final_cast is None and is_reference
    return read if is_plain else _named(read, binding)


def _named(read: Callable[[Any], Value], binding: nodes.Binding) -> Callable[[Any], Value]:
    def named(given: Any) -> Value:
        try:
            return read(given)
        except Unfit as unfit:
            raise _failed(binding, unfit) from None

    return named


def _failed(binding: nodes.Binding, unfit: Unfit) -> BindingFailed:
    """Return the error of a binding that can't be evaluated: it names the binding, where it stands, and what came."""
    text = print_binding(binding)
    where = f" at {binding.source}" if binding.source else ""
    shown = f" {unfit.shown}" if unfit.shown and not _may_hold_secret(binding) else ""
    details: dict[str, object] = {"binding": text}
    if binding.source:
        details["where"] = binding.source
    read = {each.path for each in references_in(binding.expr) if each.name == "input"}
    if len(read) == 1 and (path := read.pop()):
        details["field"] = ".".join(map(str, path))
    return BindingFailed(f"{text}{where}: {unfit.message}{shown}", **details)


def _may_hold_secret(binding: nodes.Binding) -> bool:
    """Whether a value from the environment stands in the binding: then no value of it is shown."""
    default = binding.default
    if isinstance(default, nodes.Binding) and _may_hold_secret(default):
        return True
    read = [*leaves(binding.expr), *([default] if isinstance(default, nodes.Literal_) else [])]
    return any(isinstance(leaf, nodes.Literal_) and leaf.shown is not None for leaf in read)


def _piece(part: str | nodes.Binding) -> Callable[[Scope], str]:
    if isinstance(part, str):
        return lambda _: part
    read = _binding(part, flow=False)
    return _named(lambda scope: splice(read(scope)), part)


def _or_default(read: Evaluate, default: Evaluate) -> Evaluate:
    def read_or_default(scope: Scope) -> Value:
        value = read(scope)
        return default(scope) if value is None else value

    return read_or_default


def _converted(read: Evaluate, type: nodes.Type, binding: nodes.Binding) -> Evaluate:
    convert = cast(type)

    def converted(scope: Scope) -> Value:
        value = read(scope)
        if not isinstance(value, Stream):
            return convert(value)
        # Every other type that takes a stream leaves it as it is.
        return decoded(value, _named(convert, binding)) if type.name in nodes.TEXTS else value

    return converted


# --- expressions -----------------------------------------------------------------------------------------------------


def _expression(expr: nodes.Expr) -> Evaluate:
    match expr:
        case nodes.Literal_(value=value):
            return lambda _: value
        case nodes.Reference():
            return _reference(expr, flow=False)
        case nodes.Not(operand=operand):
            negated = _expression(operand)
            return lambda scope: not truth(negated(scope))
        case nodes.Logic():
            return _logic(expr)
        case nodes.Comparison():
            return _comparison(expr)
        case _:
            assert_never(expr)


def _logic(logic: nodes.Logic) -> Evaluate:
    *firsts, last = [_expression(operand) for operand in logic.operands]
    decides = logic.op == "or"

    def decided(scope: Scope) -> Value:
        for operand in firsts:
            value = operand(scope)
            if truth(value) is decides:
                return value
        return last(scope)

    return decided


def _comparison(comparison: nodes.Comparison) -> Evaluate:
    left, right = _expression(comparison.left), _expression(comparison.right)
    compare = COMPARATORS[comparison.op]

    def compared(scope: Scope) -> Value:
        try:
            return compare(left(scope), right(scope))
        except RecursionError:
            raise Unfit("the values are nested too deeply to compare") from None

    return compared


def _ordered(compare: Callable[[Value, Value], bool]) -> Callable[[Value, Value], bool]:
    def ordered(left: Value, right: Value) -> bool:
        kinds = {kind_of(left), kind_of(right)}
        if kinds != {"text"} and not kinds <= {"an integer", "a number"}:
            raise Unfit(f"expected two numbers or two texts to order, got {kind_of(left)} and {kind_of(right)}")
        return compare(left, right)

    return ordered


COMPARATORS: Mapping[nodes.Comparator, Callable[[Value, Value], bool]] = {
    "==": equal,
    "!=": lambda left, right: not equal(left, right),
    "<": _ordered(operator.lt),
    "<=": _ordered(operator.le),
    ">": _ordered(operator.gt),
    ">=": _ordered(operator.ge),
    "in": lambda left, right: contains(right, left),
    "not in": lambda left, right: not contains(right, left),
}


# --- references ------------------------------------------------------------------------------------------------------


def _reference(reference: nodes.Reference, flow: bool) -> Evaluate:
    name, path = reference.name, reference.path

    def read_chunk(scope: Scope) -> Value:
        chunks = scope.chunks
        value = chunks[name] if name in chunks else whole(scope.names.get(name))
        return walk(value, path) if path else value

    def read(scope: Scope) -> Value:
        value = walk(scope.names.get(name), path)
        return value if flow else whole(value)

    return read_chunk if reference.chunked else read


def walk(value: Value, path: tuple[str | int, ...]) -> Value:
    """Return what lies at `path` in `value`; null for missing keys, wrong containers and indices out of range.

    A negative index counts from the end: `messages[-1]` is the last. In a list `.0` is what `[0]` is; only in a
    mapping it is a key.
    """
    for step in path:
        kind = type(value)
        if kind is dict:
            value = value.get(step)
        elif kind is list and type(step) is int:
            value = value[step] if -len(value) <= step < len(value) else None
        else:
            value = _step(value, step)
    return value


def _step(value: Value, step: str | int) -> Value:
    match value:
        case Stream():
            return walk(whole(value), (step,))
        case Mapping():
            return value.get(step)
        case list() | tuple() if isinstance(step, int) or DIGITS.fullmatch(step):
            index = int(step)
            return value[index] if -len(value) <= index < len(value) else None
        case _:
            return None
