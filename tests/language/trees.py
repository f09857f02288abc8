"""Templates compared and generated: equality that ignores where nodes stand, and strategies for whole templates."""

from __future__ import annotations

import string
from dataclasses import fields, is_dataclass
from typing import Any

from hypothesis import strategies as st

from graphs.language.nodes import Annotation, Binding, Comparison, Constant, Literal_, Logic, Not, Reference, Text, Type
from graphs.language.tokens import KEYWORDS

POSITIONS = {"at", "step_ats", "source"}
NOWHERE = (0, 0)


def shape(node: Any) -> Any:
    """Return the node as nested tuples, without positions; values keep their type, so that 1 is not true."""
    if is_dataclass(node):
        kept = [field.name for field in fields(node) if field.name not in POSITIONS]
        return (type(node).__name__, *(shape(getattr(node, name)) for name in kept))
    if isinstance(node, tuple):
        return tuple(shape(item) for item in node)
    return (type(node).__name__, node)


letters = string.ascii_letters + "éß가中あ_"
heads = st.builds(str.__add__, st.sampled_from(letters), st.text(letters + string.digits + "-", max_size=6)).filter(
    lambda name: (
        name not in KEYWORDS and name.casefold() not in {"none", "and", "or", "not", "in", "true", "false", "null"}
    )
)
steps = st.one_of(
    st.text(letters + string.digits + "-", min_size=1, max_size=6),
    st.sampled_from(sorted(KEYWORDS)),
    st.integers(-3, 20),
)
texts = st.text(st.sampled_from("ab '\"\\${}|@()[].;\né가🙂"), max_size=8)
numbers = st.one_of(st.integers(-(10**30), 10**30), st.floats(allow_nan=False, allow_infinity=False))
scalars = st.one_of(st.none(), st.booleans(), numbers, texts)

literals = st.builds(Literal_, scalars, st.just(NOWHERE))
references = st.builds(
    Reference, heads, st.lists(steps, max_size=3).map(tuple), st.just(NOWHERE), chunked=st.booleans()
)

choices = st.lists(st.sampled_from(["a", "b c", "gpt-4.1", "가"]), min_size=1, max_size=3).map(",".join)
formats = st.sampled_from([None, "sse-text", "sse-json", "base64", "url", "path"])
types = st.one_of(
    st.builds(
        Type,
        st.sampled_from(["text", "string", "integer", "number", "boolean", "json", "list", "object", "base64"]),
        st.just(NOWHERE),
        st.none(),
        formats,
    ),
    st.builds(Type, st.just("select"), st.just(NOWHERE), choices, st.none()),
    st.builds(
        Type, st.sampled_from(["image", "audio"]), st.just(NOWHERE), st.sampled_from([None, "png", "svg+xml"]), formats
    ),
)
notes = st.builds(
    Annotation,
    st.just("description"),
    st.text(st.sampled_from("ab ()\\}가"), min_size=1, max_size=8).map(lambda text: f"x{text}x"),
    st.just(NOWHERE),
)


def logic(operands: st.SearchStrategy[Any]) -> st.SearchStrategy[Logic]:
    several = st.lists(operands, min_size=2, max_size=3).map(tuple)
    return st.builds(Logic, st.sampled_from(["and", "or"]), several, st.just(NOWHERE))


comparators = st.sampled_from(["==", "!=", "<", "<=", ">", ">=", "in", "not in"])
expressions = st.recursive(
    st.one_of(literals, references),
    lambda inner: st.one_of(
        st.builds(Not, inner, st.just(NOWHERE)),
        logic(inner),
        st.builds(Comparison, comparators, inner, inner, st.just(NOWHERE)),
    ),
    max_leaves=6,
)


def binding(default: st.SearchStrategy[Any]) -> st.SearchStrategy[Binding]:
    return st.builds(
        lambda expr, cast, default, final, notes: Binding(
            expr, NOWHERE, cast, default, final if default is not None or cast is not None else None, notes
        ),
        expressions,
        st.none() | types,
        st.none() | default,
        st.none() | types,
        st.lists(notes, max_size=2).map(tuple),
    )


bindings = st.recursive(binding(literals), binding, max_leaves=3)


def spliced(parts: list[str | Binding]) -> Constant | Binding | Text:
    """Return the template `parse` would make of these parts: neighbouring texts are one, empty ones none."""
    joined: list[str | Binding] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    match joined:
        case []:
            return Constant("")
        case [str() as text]:
            return Constant(text)
        case [Binding() as only]:
            return only
        case several:
            return Text(tuple(several))


templates = st.lists(st.one_of(texts, bindings), max_size=4).map(spliced)

json_values = st.recursive(
    scalars,
    lambda inner: st.one_of(
        st.lists(inner, max_size=3), st.dictionaries(st.text(letters, max_size=3), inner, max_size=3)
    ),
    max_leaves=8,
)
