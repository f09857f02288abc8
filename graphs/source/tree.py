"""What a document's tree is made of: scalars, mappings and lists, each with its place and its path.

Also: where in its source each character of a scalar's value stands.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from typing import Literal, NamedTuple

from graphs.language.nodes import Template
from graphs.source.text import Source, Span


@dataclass(frozen=True)
class Scalar:
    """A value; `shown` replaces it in messages when it came from the environment."""

    value: str | int | float | bool | None
    span: Span
    path: str
    shown: str | None = None
    kind: Literal["scalar"] = "scalar"


@dataclass(frozen=True)
class Bound:
    """A scalar with bindings in it."""

    template: Template
    scalar: Scalar
    kind: Literal["bound"] = "bound"

    @property
    def span(self) -> Span:
        return self.scalar.span

    @property
    def path(self) -> str:
        return self.scalar.path


class Entry(NamedTuple):
    """One `key: value` of a mapping; a mistake about it is shown at its key."""

    key: str
    span: Span
    """Of the key."""
    node: Node

    @property
    def path(self) -> str:
        return self.node.path


@dataclass(frozen=True)
class MappingNode:
    entries: dict[str, Entry]
    span: Span
    path: str
    kind: Literal["mapping"] = "mapping"

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.node if entry else None

    def given(self, key: str) -> Node | None:
        """Return the value at a key; a null leaves it out."""
        node = self.get(key)
        return None if node is None or (node.kind == "scalar" and node.value is None) else node

    def having(self, entries: dict[str, Entry]) -> MappingNode:
        """Return a mapping at the same place with other entries."""
        return MappingNode(entries, self.span, self.path)


@dataclass(frozen=True)
class ListNode:
    items: list[Node]
    span: Span
    path: str
    kind: Literal["list"] = "list"


Node = Scalar | Bound | MappingNode | ListNode


def leaves(node: Node) -> Iterator[Scalar | Bound]:
    """Yield every value below a node."""
    match node.kind:
        case "mapping":
            for entry in node.entries.values():
                yield from leaves(entry.node)
        case "list":
            for item in node.items:
                yield from leaves(item)
        case _:
            yield node


def replaced(node: Node, change: Callable[[Scalar | Bound], Node]) -> Node:
    """Return a tree with each of its values changed."""
    match node.kind:
        case "mapping":
            each = node.entries.items()
            return node.having({key: Entry(key, entry.span, replaced(entry.node, change)) for key, entry in each})
        case "list":
            return ListNode([replaced(item, change) for item in node.items], node.span, node.path)
        case _:
            return change(node)


PROPERTIES = re.compile(r"(?:[&!]\S*\s*)*")
"""An anchor and a tag before a value."""


def offsets_in_source(source: Source, span: Span, value: str) -> Sequence[int]:
    """Return, for each character of a scalar's value, where it stands in the source (one more for its end)."""
    text, at = source.text, span.start
    before = None if value.startswith(("&", "!")) else PROPERTIES.match(text, at)
    at = before.end() if before else at
    style = text[at : at + 1]
    if style in "|>" and value[:1] != style:
        at = text.find("\n", at) + 1
    elif style in ("'", '"'):
        at += 1
    # Most values stand in the source as they are; in quotes, what is escaped there can't be told from what isn't here.
    if text.startswith(value, at) and ESCAPE.get(style, "\0") not in value:
        return range(at, at + len(value) + 1)
    return _side_by_side(text, at, value, style)


ESCAPE = {"'": "'", '"': "\\"}
"""What begins an escape, by the quotes that it stands in."""


@lru_cache(maxsize=64)  # a value with many bindings is asked for each of them
def _side_by_side(text: str, at: int, value: str, style: str) -> tuple[int, ...]:
    """Walk both texts: block and folded scalars lose indentation, quoted ones their escapes."""
    offsets: list[int] = []
    for char in value:
        at = _seek(text, at, char, style)
        offsets.append(min(at, len(text)))
        at += _written_length(text, at, style)
    return (*offsets, min(at, len(text)))


def _seek(text: str, at: int, char: str, style: str) -> int:
    """Skip what the value doesn't have, to where `char` is written."""
    if char in " \n":
        return at
    skipped = (" ", "\n", "\r", "\t", *(("\\\n",) if style == '"' else ()))
    while text[at : at + 1] != char and text.startswith(skipped, at):
        at += 1
    return at


def _written_length(text: str, at: int, style: str) -> int:
    if style == "'" and text[at : at + 2] == "''":
        return 2
    if style == '"' and text[at : at + 1] == "\\":
        return {"x": 4, "u": 6, "U": 10}.get(text[at + 1 : at + 2], 2)
    return 1
