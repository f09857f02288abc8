"""What a parsed value is made of: templates, bindings and expressions, each with its span; and the types that `as` knows."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Literal

from graphs.stream import Value

Offsets = tuple[int, int]
"""Start and end (exclusive) of a node in the text it was parsed from, counted in characters."""


class Compilable:
    """A template: it keeps what it is compiled into (graphs.language.evaluator), so that this is done once for each.

    That is no field: it is not compared, not printed, and not pickled with the plan.
    """

    __slots__ = ("compiled",)
    compiled: Any


@dataclass(frozen=True, slots=True)
class Constant(Compilable):
    """A value with no binding in it."""

    value: Value
    kind: Literal["constant"] = "constant"


@dataclass(frozen=True, slots=True)
class Binding(Compilable):
    """`${expr as cast | default as final_cast @(annotation)}`, the whole of a value: it keeps its type."""

    expr: Expr
    at: Offsets
    """Of the whole `${…}` in the scalar's text."""
    cast: Type | None = None
    default: Default | None = None
    final_cast: Type | None = None
    annotations: tuple[Annotation, ...] = ()
    source: str | None = None
    """Where it stands (`chat.yaml:4:12`), set by the checker, for run errors."""
    kind: Literal["binding"] = "binding"


@dataclass(frozen=True, slots=True)
class Text(Compilable):
    """Text with bindings spliced into it."""

    parts: tuple[str | Binding, ...]
    kind: Literal["text"] = "text"


def spliced(parts: Iterable[str | Binding]) -> Constant | Text:
    """Return what the parts make: a text, in which neighbouring texts are one and empty ones are left out."""
    joined: list[str | Binding] = []
    for part in parts:
        if isinstance(part, str) and joined and isinstance(joined[-1], str):
            joined[-1] += part
        elif part != "":
            joined.append(part)
    if any(isinstance(part, Binding) for part in joined):
        return Text(tuple(joined))
    return Constant("".join(map(str, joined)))


@dataclass(frozen=True, slots=True)
class MappingTemplate(Compilable):
    items: tuple[tuple[str, Template], ...]
    kind: Literal["mapping"] = "mapping"


@dataclass(frozen=True, slots=True)
class ListTemplate(Compilable):
    items: tuple[Template, ...]
    kind: Literal["list"] = "list"


@dataclass(frozen=True, slots=True)
class Overlaid(Compilable):
    """A mapping laid over another: its values that aren't null replace those below. No document can write it."""

    below: Template
    above: MappingTemplate
    kind: Literal["overlaid"] = "overlaid"


Template = Constant | Binding | Text | MappingTemplate | ListTemplate | Overlaid


@dataclass(frozen=True, slots=True)
class Type:
    """`text`, `text;sse-text`, `image/png;base64`, `select/a,b,c`."""

    name: str
    at: Offsets
    subtype: str | None = None
    format: str | None = None


@dataclass(frozen=True, slots=True)
class Annotation:
    """`@(description What to ask)`."""

    name: str
    text: str
    at: Offsets


@dataclass(frozen=True, slots=True)
class Literal_:  # noqa: N801  (typing has the plain name)
    """A literal in an expression: text, number, true, false, null."""

    value: str | int | float | bool | None
    at: Offsets
    shown: str | None = None
    """What is printed instead of the value: `env.NAME` for one that came from the environment, and may be secret."""
    kind: Literal["literal"] = "literal"


@dataclass(frozen=True, slots=True)
class Reference:
    """`input.messages[0].content`; `chunked` for `response[].…`, which names the current chunk."""

    name: str
    path: tuple[str | int, ...]
    at: Offsets
    chunked: bool = False
    step_ats: tuple[Offsets, ...] = ()
    """Of the name, then of each step of the path."""
    kind: Literal["reference"] = "reference"


@dataclass(frozen=True, slots=True)
class Not:
    operand: Expr
    at: Offsets
    kind: Literal["not"] = "not"


@dataclass(frozen=True, slots=True)
class Logic:
    """`and` / `or`: gives the operand that decided, as Python does."""

    op: Literal["and", "or"]
    operands: tuple[Expr, ...]
    at: Offsets
    kind: Literal["logic"] = "logic"


Comparator = Literal["==", "!=", "<", "<=", ">", ">=", "in", "not in"]


@dataclass(frozen=True, slots=True)
class Comparison:
    op: Comparator
    left: Expr
    right: Expr
    at: Offsets
    kind: Literal["comparison"] = "comparison"


Expr = Literal_ | Reference | Not | Logic | Comparison

Default = Binding | Literal_
"""After `|`: another binding, a quoted or YAML-typed literal, or bare words."""

TEXTS = frozenset({"text", "string"})
MEDIA = frozenset({"image", "audio", "video", "file", "markdown"})
"""What the UI shows in its own way; the value passes through unchanged."""
CONVERTED = frozenset({"integer", "number", "boolean", "json", "list", "object", "base64", "select"})
TYPES = TEXTS | MEDIA | CONVERTED

STREAMED = frozenset({"sse-text", "sse-json"})
FORMATS = STREAMED | {"base64", "url", "path"}
FORMAT_OF = {"sse-text": "text", "sse-json": "json", "url": "image", "path": "file"}
"""The types that are most often meant where a format stands alone."""

ELSEWHERE = {
    "str": "text", "int": "integer", "long": "integer", "float": "number", "double": "number", "bool": "boolean",
    "array": "list", "dict": "object", "map": "object", "mapping": "object", "enum": "select",
}  # fmt: skip
"""What the types are called in other languages."""


def options(type: Type) -> tuple[str, ...]:
    """Return the choices of a `select/a,b,c`."""
    return tuple((type.subtype or "").split(",")) if type.name == "select" else ()


def flows(type: Type | None) -> bool:
    """Whether a stream stays a stream under this cast."""
    if type is None or type.name in TEXTS or type.name in MEDIA:
        return True
    return type.name == "json" and type.format in STREAMED
