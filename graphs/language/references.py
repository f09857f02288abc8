"""A template -> the references in it, and what they ask of streams."""

from __future__ import annotations

from collections.abc import Iterator
from typing import assert_never

from graphs.language import nodes


def bindings(template: nodes.Template) -> Iterator[nodes.Binding]:
    """Yield every binding in the order it is written, without those in defaults."""
    match template:
        case nodes.Constant():
            pass
        case nodes.Binding():
            yield template
        case nodes.Text(parts=parts):
            yield from (part for part in parts if isinstance(part, nodes.Binding))
        case nodes.MappingTemplate(items=items):
            for _, item in items:
                yield from bindings(item)
        case nodes.ListTemplate(items=items):
            for item in items:
                yield from bindings(item)
        case nodes.Overlaid(below=below, above=above):
            yield from bindings(below)
            yield from bindings(above)
        case _:
            assert_never(template)


def references(template: nodes.Template) -> Iterator[nodes.Reference]:
    """Yield every reference in the order it is written, those in defaults too."""
    for binding in bindings(template):
        yield from references_of(binding)


def references_of(binding: nodes.Binding) -> Iterator[nodes.Reference]:
    """Yield the references of one binding and of its default."""
    yield from references_in(binding.expr)
    if isinstance(binding.default, nodes.Binding):
        yield from references_of(binding.default)


def chunked_names(template: nodes.Template) -> frozenset[str]:
    """Return the names X used as `X[]`."""
    return frozenset(reference.name for reference in references(template) if reference.chunked)


def text_names(template: nodes.Template) -> frozenset[str]:
    """Return the names X whose chunks are read as text: spliced into a text, or cast to one. Bytes are then decoded over the
    borders of chunks, so that no character is split."""
    match template:
        case nodes.Text():
            read = bindings(template)
        case nodes.Binding(cast=cast, final_cast=final) if any(
            each and each.name in nodes.TEXTS for each in (cast, final)
        ):
            read = [template]
        case nodes.MappingTemplate(items=items):
            return frozenset[str]().union(*(text_names(item) for _, item in items))
        case nodes.ListTemplate(items=items):
            return frozenset[str]().union(*(text_names(item) for item in items))
        case nodes.Overlaid(below=below, above=above):
            return text_names(below) | text_names(above)
        case _:
            return frozenset()
    chunks = [each.expr for each in read if isinstance(each.expr, nodes.Reference) and each.expr.chunked]
    return frozenset(chunk.name for chunk in chunks if not chunk.path)


def is_stream_reference(template: nodes.Template) -> bool:
    """Whether a stream stays a stream here: the whole value is one reference, under no cast that needs the whole."""
    return (
        isinstance(template, nodes.Binding)
        and isinstance(template.expr, nodes.Reference)
        and not template.expr.chunked
        and nodes.flows(template.cast)
        and nodes.flows(template.final_cast)
    )


def references_in(expr: nodes.Expr) -> Iterator[nodes.Reference]:
    """Yield the references of an expression."""
    return (leaf for leaf in leaves(expr) if isinstance(leaf, nodes.Reference))


def leaves(expr: nodes.Expr) -> Iterator[nodes.Reference | nodes.Literal_]:
    """Yield the references and the literals of an expression."""
    match expr:
        case nodes.Reference() | nodes.Literal_():
            yield expr
        case nodes.Not(operand=operand):
            yield from leaves(operand)
        case nodes.Logic(operands=operands):
            for operand in operands:
                yield from leaves(operand)
        case nodes.Comparison(left=left, right=right):
            yield from leaves(left)
            yield from leaves(right)
        case _:
            assert_never(expr)
