"""Components, workflows, actions or jobs in; the id of each out: its own, or a fallback for one without."""

from __future__ import annotations

import re
from collections.abc import Iterable

from graphs.document.field_types import ID_PATTERN
from graphs.source import MappingNode, Mistakes, Node, Span
from graphs.validation import describe

PLURAL = {"component": "components", "workflow": "workflows", "action": "actions", "job": "jobs"}


def identify(
    nodes: Iterable[tuple[MappingNode, Span]], singular: str, fallback: str, reserved: Iterable[str], mistakes: Mistakes
) -> list[str]:
    """Return an id for each: its own, or the fallback for the one that may have none. Report ids used twice."""
    ids: list[str] = []
    first: dict[str, Span] = {}
    unnamed: Span | None = None
    for node, span in nodes:
        given = node.get("id")
        if given is None or (given.kind == "scalar" and given.value is None):
            if unnamed is not None:
                message, known = (
                    f"a second {singular} without an id",
                    f"only one may have none, and it is on line {unnamed.line}",
                )
                mistakes.add(span, message, f"{known}; give this one an `id`", node.path)
            elif fallback in first:
                message = f"the {singular} without an id is called '{fallback}', and another is too"
                mistakes.add(span, message, "give it an `id`", node.path)
            unnamed = unnamed or span
            ids.append(fallback)
            continue
        name = as_id(given)
        if name in first or (name == fallback and unnamed is not None):
            message = f"two {PLURAL[singular]} are called '{name}'"
            hint = f"the first is on line {first.get(name, unnamed or span).line}; give this one another id"
            mistakes.add(given, message, hint)
        elif name in reserved:
            message = f"the id '{name}' is reserved"
            mistakes.add(given, message, "choose another")
        first.setdefault(name, given.span)
        ids.append(name)
    return ids


def as_id(node: Node) -> str:
    """Return an id as text; for a mapping or a list, text that no id can be."""
    if node.kind != "scalar":
        return f"?{node.span}"
    return node.value if isinstance(node.value, str) else describe(node)


def is_id(node: Node) -> bool:
    """Return whether a node can be an id; null means none."""
    if node.kind != "scalar":
        return False
    return node.value is None or (isinstance(node.value, str) and re.fullmatch(ID_PATTERN, node.value) is not None)
