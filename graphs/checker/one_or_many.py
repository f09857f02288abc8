"""The mappings under a singular key or its plural, as one list with their ids; and whether a mistake hides others."""

from __future__ import annotations

import re
from collections.abc import Container, Iterable

from graphs import document
from graphs.document.field_types import ID_PATTERN
from graphs.source import MappingNode, Mistakes, Node, Span
from graphs.validation import as_mapping, describe, nearest_key

ARTICLE = {"component": "a", "workflow": "a", "action": "an", "job": "a"}


def one_or_many(parent: MappingNode, singular: str, mistakes: Mistakes) -> tuple[list[MappingNode], bool]:
    """Return the mappings under `singular` (one) or its plural (a list), and whether no mistake hides others."""
    before = len(mistakes.found)
    nodes = _mappings(parent, singular, mistakes)
    written = bool(parent.entries.keys() & {singular, f"{singular}s"})
    clean = len(mistakes.found) == before and all(map(_has_known_id, nodes))
    return nodes, clean and (written or parent.entries.keys() <= {*document.DOCUMENT_KEYS})


def _has_known_id(node: MappingNode) -> bool:
    """Return whether a node's id is known: it is valid, or left out on purpose."""
    given = node.get("id")
    if given is None:
        return not any(nearest_key(key, ("id",)) for key in node.entries)
    id = given.value if given.kind == "scalar" else False
    return id is None or (isinstance(id, str) and re.fullmatch(ID_PATTERN, id) is not None)


def _mappings(parent: MappingNode, singular: str, mistakes: Mistakes) -> list[MappingNode]:
    plural = f"{singular}s"
    one, many = parent.entries.get(singular), parent.entries.get(plural)
    found: list[Node] = []
    if one and many:
        message, hint = f"'{singular}' and '{plural}' can't both be written", f"move it into the list of {plural}"
        mistakes.add(one, message, hint)
    if one and one.node.kind == "list":
        message, hint = f"expected '{singular}' to be one mapping, got a list", f"write `{plural}:` for a list"
        mistakes.add(one, message, hint)
        found += one.node.items
    elif one:
        found.append(one.node)
    if many and many.node.kind == "list":
        found += many.node.items
    elif many:
        message = f"expected '{plural}' to be a list, got {describe(many.node)}"
        mistakes.add(many, message, _as_list(many.node, singular))
    mappings: list[MappingNode] = []
    for node in found:
        if node.kind == "mapping":
            mappings.append(node)
        else:
            expected = f"expected {ARTICLE[singular]} {singular} to be a mapping, got {describe(node)}"
            mistakes.add(node, expected, as_mapping(node))
    return mappings


def _as_list(node: Node, singular: str) -> str:
    """Return how to write as a list what was meant as one."""
    if node.kind == "mapping" and node.entries and all(each.node.kind == "mapping" for each in node.entries.values()):
        return f"write `- id: {next(iter(node.entries))}` and its keys below, and so on for each"
    return f"begin each with `- `, or write `{singular}:` for a single one"


def identify(
    nodes: Iterable[MappingNode], singular: str, mistakes: Mistakes, reserved: Container[str] = ()
) -> list[str]:
    """Return an id for each: its own, or what it is for the one that may have none. Report ids used twice."""
    ids: list[str] = []
    first: dict[str, Span] = {}
    unnamed: Span | None = None
    for node in nodes:
        given = node.given("id")
        if given is None:
            if unnamed is not None:
                hint = f"only one may have none, and it is on line {unnamed.line}; give this one an `id`"
                mistakes.add(node, f"a second {singular} without an id", hint)
            elif singular in first:
                message = f"the {singular} without an id is called '{singular}', and another is too"
                mistakes.add(node, message, "give it an `id`")
            unnamed = unnamed or node.span
            ids.append(singular)
            continue
        name = as_id(given)
        if name in first or (name == singular and unnamed is not None):
            message = f"two {singular}s are called '{name}'"
            hint = f"the first is on line {first.get(name, unnamed or node.span).line}; give this one another id"
            mistakes.add(given, message, hint)
        elif name in reserved:
            mistakes.add(given, f"the id '{name}' is reserved", "choose another")
        first.setdefault(name, given.span)
        ids.append(name)
    return ids


def as_id(node: Node) -> str:
    """Return an id as text; for a mapping or a list, text that no id can be."""
    if node.kind != "scalar":
        return f"?{node.span}"
    return node.value if isinstance(node.value, str) else describe(node)
