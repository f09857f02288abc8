"""A template -> the references in it, and what they ask of streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from graphs.language.nodes import (
    Binding,
    Comparison,
    Constant,
    Expr,
    ListTemplate,
    Literal_,
    Logic,
    MappingTemplate,
    Not,
    Reference,
    Template,
    Text,
    flows,
)  # fmt: skip


def bindings(template: Template) -> Iterator[Binding]:
    """Yield every binding in the order it is written, without those in defaults."""
    match template:
        case Constant():
            pass
        case Binding():
            yield template
        case Text(parts=parts):
            yield from (part for part in parts if isinstance(part, Binding))
        case MappingTemplate(items=items):
            for _, item in items:
                yield from bindings(item)
        case ListTemplate(items=items):
            for item in items:
                yield from bindings(item)
        case _:
            assert_never(template)


def references(template: Template) -> Iterator[Reference]:
    """Yield every reference in the order it is written, those in defaults too."""
    for binding in bindings(template):
        yield from references_of(binding)


def references_of(binding: Binding) -> Iterator[Reference]:
    """Yield the references of one binding and of its default."""
    yield from references_in(binding.expr)
    if isinstance(binding.default, Binding):
        yield from references_of(binding.default)


def chunked_names(template: Template) -> frozenset[str]:
    """Return the names X used as `X[]`."""
    return frozenset(reference.name for reference in references(template) if reference.chunked)


def is_stream_reference(template: Template) -> bool:
    """Whether a stream stays a stream here: the whole value is one reference, under no cast that needs the whole."""
    return (
        isinstance(template, Binding)
        and isinstance(template.expr, Reference)
        and not template.expr.chunked
        and flows(template.cast)
        and flows(template.final_cast)
    )


def references_in(expr: Expr) -> Iterator[Reference]:
    """Yield the references of an expression."""
    return (leaf for leaf in leaves(expr) if isinstance(leaf, Reference))


def leaves(expr: Expr) -> Iterator[Reference | Literal_]:
    """Yield the references and the literals of an expression."""
    match expr:
        case Reference() | Literal_():
            yield expr
        case Not(operand=operand):
            yield from leaves(operand)
        case Logic(operands=operands):
            for operand in operands:
                yield from leaves(operand)
        case Comparison(left=left, right=right):
            yield from leaves(left)
            yield from leaves(right)
        case _:
            assert_never(expr)
