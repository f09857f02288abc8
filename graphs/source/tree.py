"""What a document's tree is made of: scalars, mappings and lists, each with its place and its path."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

from graphs.language.nodes import Template
from graphs.source.text import Span


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


@dataclass(frozen=True)
class Entry:
    """One `key: value` of a mapping; a mistake about it is shown at its key."""

    key: str
    key_span: Span
    node: Node

    @property
    def span(self) -> Span:
        return self.key_span

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


@dataclass(frozen=True)
class ListNode:
    items: list[Node]
    span: Span
    path: str
    kind: Literal["list"] = "list"


Node = Scalar | Bound | MappingNode | ListNode


def replaced(node: Node, change: Callable[[Scalar | Bound], Node]) -> Node:
    """Return a tree with each of its values changed."""
    match node.kind:
        case "mapping":
            each = node.entries.items()
            entries = {key: Entry(key, entry.key_span, replaced(entry.node, change)) for key, entry in each}
            return MappingNode(entries, node.span, node.path)
        case "list":
            return ListNode([replaced(item, change) for item in node.items], node.span, node.path)
        case _:
            return change(node)
