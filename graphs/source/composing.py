"""YAML text in, the nodes of its one document out: flat or deep, what is too much is refused before it costs anything."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import Any

import yaml

MAX_DEPTH = 100
"""Mappings and lists inside one another. Deeper ones would exhaust the stack, YAML's own composer's too."""

LOADER: Any = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class Refused(Exception):
    """A document that is YAML, and still too much or in need of something that isn't there."""

    def __init__(self, message: str, hint: str | None, at: tuple[int, int]) -> None:
        super().__init__(message)
        self.message, self.hint, self.at = message, hint, at


@dataclass
class _Open:
    """A mapping or list whose end has not come yet."""

    node: yaml.CollectionNode
    items: list[yaml.Node] = field(default_factory=list[yaml.Node])


def compose(text: str) -> yaml.Node | None:
    """Return the root, None for an empty document; raises `yaml.YAMLError` or `Refused`."""
    loader = LOADER(text)
    try:
        return _compose(_events(loader))
    finally:
        loader.dispose()


def _events(loader: Any) -> Iterator[yaml.Event]:
    while loader.check_event():
        yield loader.get_event()


def _compose(events: Iterator[yaml.Event]) -> yaml.Node | None:
    anchors: dict[str, yaml.Node] = {}
    opened: list[_Open] = []
    root: yaml.Node | None = None
    documents = 0
    for event in events:
        match event:
            case yaml.DocumentStartEvent():
                documents += 1
                if documents > 1:
                    hint = "write one document to a file, and give several files instead"
                    raise Refused("a second document begins here", hint, _at(event))
            case yaml.MappingStartEvent() | yaml.SequenceStartEvent():
                if len(opened) == MAX_DEPTH:
                    raise Refused(
                        "the document is nested too deeply here", f"{MAX_DEPTH} levels are the most", _at(event)
                    )
                opened.append(_Open(_collection(event)))
                if event.anchor is not None:
                    anchors[event.anchor] = opened[-1].node
            case _:
                node = _complete(event, opened, anchors)
                if node is None:
                    continue
                if opened:
                    opened[-1].items.append(node)
                elif documents:
                    root = node
    return root


def _collection(event: yaml.MappingStartEvent | yaml.SequenceStartEvent) -> yaml.CollectionNode:
    cls = yaml.MappingNode if isinstance(event, yaml.MappingStartEvent) else yaml.SequenceNode
    return cls(str(event.tag or ""), [], event.start_mark, event.end_mark)


def _complete(event: yaml.Event, opened: list[_Open], anchors: dict[str, yaml.Node]) -> yaml.Node | None:
    """Return the node that ends with this event, None when none does."""
    match event:
        case yaml.ScalarEvent():
            node = yaml.ScalarNode(str(event.tag or ""), event.value, event.start_mark, event.end_mark, event.style)
            if event.anchor is not None:
                anchors[event.anchor] = node
            return node
        case yaml.AliasEvent():
            name = str(event.anchor)
            if name in anchors:
                return anchors[name]
            raise Refused(
                f"no anchor '{name}' stands before this alias", f"write &{name} before the value it names", _at(event)
            )
        case yaml.MappingEndEvent() | yaml.SequenceEndEvent():
            done = opened.pop()
            done.node.end_mark = event.end_mark
            done.node.value = (
                list(zip(done.items[::2], done.items[1::2], strict=True))
                if isinstance(done.node, yaml.MappingNode)
                else done.items
            )
            return done.node
        case _:
            return None


def _at(event: yaml.Event) -> tuple[int, int]:
    return event.start_mark.index, event.end_mark.index
