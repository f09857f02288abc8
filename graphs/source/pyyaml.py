"""The one file that knows PyYAML: YAML text in, the nodes of its one document out; and the texts of its parser's errors.

PyYAML promises no wording of its errors. `PROBLEMS` holds every text that we read, and a test provokes each of them
with the installed version. A text that isn't there is shown as the parser gave it.
"""

from __future__ import annotations

from collections.abc import Iterator
from enum import Enum

import yaml

MAX_DEPTH = 100
"""Mappings and lists inside one another. Deeper ones would exhaust the stack."""
TOO_DEEP, TOO_DEEP_HINT = "the document is nested too deeply here", f"at most {MAX_DEPTH} levels are allowed"

if not yaml.__with_libyaml__:
    raise ImportError("PyYAML was built without libyaml, which anabranch needs; install one of PyYAML's own wheels")


class Problem(Enum):
    """What the parser can stumble over, as far as we have words of our own for it: what is wrong, and what to write."""

    TOO_DEEP = TOO_DEEP, TOO_DEEP_HINT
    FLOW = "this {0} is never closed, or a ',' is missing in it", "end it with {0}"
    FLOW_COLON = "inside { } and [ ] a space must follow this ':'", "write the space, or put the value in quotes"
    NEIGHBOURS = (
        "this line is not indented like the lines around it",
        "keys of one mapping need the same indentation, and so do the `- ` of one list",
    )
    ESCAPE = "YAML has no such escape", r"write \\ for a backslash, or use single quotes"
    OPEN_QUOTE = "this quote is never closed", "end it with the same quote"
    COLON = (
        "no key can stand before this ':'",
        "indent the line like the lines around it, or put the value in quotes if the ':' belongs to it",
    )
    NO_COLON = "this key has no ':'", "write `key: value`"
    FIRST_CHARACTER = "a value can't begin with {0}", "put it in quotes"
    BLOCK_TEXT = "after | or > the text begins on the next line", "put the value in quotes if it is one line"
    LIST = "a list can't begin here", "write `- ` on a line of its own below the key"
    NO_NAME = "a name must follow here", "write &name or *name, or quote a value that begins with & or *"
    DIRECTIVE = "a line can't begin with %", "put the value in quotes"
    AFTER_END = "the document has ended before this", "write `key: value` lines, all keys at one level"


PROBLEMS: dict[tuple[str, str], Problem] = {
    ("while increasing flow level", "exceeded maximum nesting depth"): Problem.TOO_DEEP,
    ("while increasing block level", "exceeded maximum nesting depth"): Problem.TOO_DEEP,
    ("while parsing a flow sequence", "did not find expected ',' or ']'"): Problem.FLOW,
    ("while parsing a flow mapping", "did not find expected ',' or '}'"): Problem.FLOW,
    ("while parsing a flow node", "did not find expected node content"): Problem.FLOW,
    ("while scanning a plain scalar", "found unexpected ':'"): Problem.FLOW_COLON,
    ("while parsing a block mapping", "did not find expected key"): Problem.NEIGHBOURS,
    ("while parsing a block collection", "did not find expected '-' indicator"): Problem.NEIGHBOURS,
    ("while parsing a quoted scalar", "found unknown escape character"): Problem.ESCAPE,
    ("while parsing a quoted scalar", "did not find expected hexdecimal number"): Problem.ESCAPE,
    ("while parsing a quoted scalar", "found invalid Unicode character escape code"): Problem.ESCAPE,
    ("while scanning a quoted scalar", "found unexpected end of stream"): Problem.OPEN_QUOTE,
    ("while scanning a quoted scalar", "found unexpected document indicator"): Problem.OPEN_QUOTE,
    ("", "mapping values are not allowed in this context"): Problem.COLON,
    ("while scanning a simple key", "could not find expected ':'"): Problem.NO_COLON,
    ("while scanning for the next token", "found character that cannot start any token"): Problem.FIRST_CHARACTER,
    ("while parsing a block node", "did not find expected node content"): Problem.FIRST_CHARACTER,
    ("while scanning a block scalar", "did not find expected comment or line break"): Problem.BLOCK_TEXT,
    ("while scanning a block scalar", "found an indentation indicator equal to 0"): Problem.BLOCK_TEXT,
    ("", "block sequence entries are not allowed in this context"): Problem.LIST,
    ("while scanning an alias", "did not find expected alphabetic or numeric character"): Problem.NO_NAME,
    ("while scanning an anchor", "did not find expected alphabetic or numeric character"): Problem.NO_NAME,
    ("while scanning a directive", "found unknown directive name"): Problem.DIRECTIVE,
    ("", "did not find expected <document start>"): Problem.AFTER_END,
}
"""The parser's texts: what it was reading, and what it found there."""


class Refused(Exception):
    """A document that is YAML, and still too much or in need of something that isn't there."""

    def __init__(self, message: str, hint: str | None, at: tuple[int, int]) -> None:
        super().__init__(message)
        self.message, self.hint, self.at = message, hint, at


def compose(text: str) -> yaml.Node | None:
    """Return the root, None for an empty document. Raises `yaml.MarkedYAMLError`, or `Refused`.

    PyYAML's own composer takes any depth, resolves tags by YAML 1.1, and takes no anchor twice.
    """
    events = yaml.parse(text, Loader=yaml.CSafeLoader)
    root: yaml.Node | None = None
    for event in events:
        if isinstance(event, yaml.DocumentStartEvent):
            if root is not None:
                hint = "write one document per file, and name several files"
                raise Refused("a second document begins here", hint, _at(event))
            root = _node(next(events), events, {}, 0)
    return root


def _node(event: yaml.Event, events: Iterator[yaml.Event], anchors: dict[str, yaml.Node], depth: int) -> yaml.Node:
    """Return the node that begins with an event, and take those that belong to it."""
    if isinstance(event, yaml.AliasEvent):
        name = str(event.anchor)
        if name not in anchors:
            message, hint = f"there is no anchor '{name}' before this alias", f"write &{name} before the value it names"
            raise Refused(message, hint, _at(event))
        return anchors[name]
    assert isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent)
    tag, start, end = str(event.tag or ""), event.start_mark, event.end_mark
    if isinstance(event, yaml.ScalarEvent):
        node = yaml.ScalarNode(tag, event.value, start, end, event.style)
    elif isinstance(event, yaml.MappingStartEvent):
        node = yaml.MappingNode(tag, [], start, end)
    else:
        node = yaml.SequenceNode(tag, [], start, end)
    if event.anchor is not None:
        anchors[event.anchor] = node
    if isinstance(node, yaml.CollectionNode):
        if depth == MAX_DEPTH:
            raise Refused(TOO_DEEP, TOO_DEEP_HINT, _at(event))
        items: list[yaml.Node] = []
        while not isinstance(event := next(events), yaml.CollectionEndEvent):
            items.append(_node(event, events, anchors, depth + 1))
        node.value = items if isinstance(node, yaml.SequenceNode) else list(zip(items[::2], items[1::2], strict=True))
        node.end_mark = event.end_mark
    return node


def _at(event: yaml.Event) -> tuple[int, int]:
    return event.start_mark.index, event.end_mark.index
