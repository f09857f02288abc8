"""Text with positions: YAML text in, a tree of nodes that know their file, line, column and path out."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal

import yaml

from graphs.language import typed
from graphs.language.nodes import Template

MAX_NODES = 100_000
"""More than any honest document: stops a few lines of nested aliases from filling the memory."""

_Loader = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


@dataclass(frozen=True)
class Source:
    """One text and the name people know it by."""

    name: str
    text: str = field(repr=False)

    @cached_property
    def lines(self) -> list[str]:
        return self.text.split("\n")

    @cached_property
    def _line_starts(self) -> list[int]:
        starts = [0]
        for line in self.lines:
            starts.append(starts[-1] + len(line) + 1)
        return starts

    def span(self, start: int, end: int) -> Span:
        """Return the span of text[start:end], cut at the end of its first line."""
        line, column = self.position(start)
        return Span(self, start, max(min(end, self._line_starts[line] - 1), start), line, column)

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line and column of an offset, both from 1."""
        low, high = 0, len(self._line_starts) - 1
        while low < high - 1:
            middle = (low + high) // 2
            if self._line_starts[middle] <= offset:
                low = middle
            else:
                high = middle
        return low + 1, offset - self._line_starts[low] + 1


@dataclass(frozen=True)
class Span:
    """A piece of a source, on one line."""

    source: Source
    start: int
    end: int
    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


@dataclass(frozen=True)
class Diagnostic:
    """One mistake: where it is, what is wrong, and what to write instead."""

    span: Span
    message: str
    hint: str | None = None
    path: str = ""

    def render(self) -> str:
        """Return `file:line:column: message`, the line with a caret under the mistake, and the hint."""
        span = self.span
        line = span.source.lines[span.line - 1].rstrip("\r") if span.line <= len(span.source.lines) else ""
        gutter = f"{span.line:>5} | "
        lead = line[: span.column - 1]
        pad = "".join("\t" if char == "\t" else " " * _width(char) for char in lead)
        caret = "^" * max(1, sum(_width(char) for char in span.source.text[span.start : span.end]))
        shown = [f"{span}: {self.message}", f"{gutter}{line}", f"{' ' * len(gutter)}{pad}{caret}"]
        if self.hint:
            shown.append(f"   {self.hint}")
        return "\n".join(shown)


def _within(inner: Span, outer: Span) -> bool:
    return inner.source is outer.source and outer.start <= inner.start and inner.end <= max(outer.end, outer.start + 1)


def _width(char: str) -> int:
    if unicodedata.combining(char):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


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
    """One `key: value` of a mapping."""

    key: str
    key_span: Span
    node: Node


@dataclass(frozen=True)
class Mapping:
    entries: dict[str, Entry]
    span: Span
    path: str
    kind: Literal["mapping"] = "mapping"

    def get(self, key: str) -> Node | None:
        entry = self.entries.get(key)
        return entry.node if entry else None


@dataclass(frozen=True)
class Sequence:
    items: list[Node]
    span: Span
    path: str
    kind: Literal["list"] = "list"


Node = Scalar | Bound | Mapping | Sequence


@dataclass
class Mistakes:
    """Diagnostics as they are found; the checker goes on after each, so that all are told at once."""

    found: list[Diagnostic] = field(default_factory=list[Diagnostic])
    broken: list[Span] = field(default_factory=list[Span])

    def add(self, span: Span, message: str, hint: str | None = None, path: str = "") -> None:
        diagnostic = Diagnostic(span, message, hint, path)
        if diagnostic not in self.found and not any(_within(span, each) for each in self.broken):
            self.found.append(diagnostic)

    def silence(self, span: Span) -> None:
        """Tell nothing more about a value whose mistake is told: what follows from it would only confuse."""
        self.broken.append(span)

    def sorted(self) -> list[Diagnostic]:
        return sorted(self.found, key=lambda each: (each.span.source.name, each.span.start))

    def __bool__(self) -> bool:
        return bool(self.found)


def parse(source: Source, mistakes: Mistakes) -> Node | None:
    """Return the document's tree, or None when it isn't YAML or is empty."""
    try:
        root: yaml.Node | None = yaml.compose(source.text, Loader=_Loader)  # pyright: ignore[reportUnknownMemberType]
    except yaml.MarkedYAMLError as error:
        _add_yaml_error(error, source, mistakes)
        return None
    except yaml.reader.ReaderError as error:
        position = error.position if isinstance(error.position, int) else 0
        mistakes.add(
            source.span(position, position + 1),
            f"a character that YAML doesn't allow: U+{ord(_character(error)):04X}",
            "remove it, or write it as an escape in a double-quoted string",
        )
        return None
    except (RecursionError, ValueError):
        mistakes.add(source.span(0, 0), "the document is nested too deeply")
        return None
    if root is None:
        mistakes.add(source.span(0, 0), "the document is empty", "write at least one component, see docs/document.md")
        return None
    try:
        return _Reader(source, mistakes).read(root, "", frozenset())
    except (RecursionError, _TooMany) as error:
        mistakes.add(
            source.span(0, 0), str(error) if isinstance(error, _TooMany) else "the document is nested too deeply"
        )
        return None


def _character(error: yaml.reader.ReaderError) -> str:
    character = error.character
    return character if isinstance(character, str) else chr(int(character))


def _add_yaml_error(error: yaml.MarkedYAMLError, source: Source, mistakes: Mistakes) -> None:
    mark = error.problem_mark or error.context_mark
    offset = mark.index if mark is not None else 0
    line = source.lines[mark.line] if mark is not None and mark.line < len(source.lines) else ""
    problem = error.problem or "this is not YAML"
    if "\t" in line[: len(line) - len(line.lstrip())] or source.text[offset : offset + 1] == "\t":
        message, hint = "a tab where YAML wants spaces", "indent with spaces"
    elif "alias" in problem:
        message, hint = problem, "define the anchor with & before using it with *"
    elif "expected a single document" in f"{error.context} {problem}":
        message, hint = "a second document begins here", "write one document to a file, and give several files instead"
    elif "mapping values are not allowed" in problem:
        message = "a ':' where no key can be"
        hint = "indent the line to the level of its neighbours, or quote the value if the ':' belongs to it"
    elif "could not find expected ':'" in problem:
        message, hint = "a key without its ':'", "write `key: value`"
    elif "expected <block end>" in problem:
        message, hint = "this line is indented unlike its neighbours", "give keys of one mapping the same indentation"
    else:
        message, hint = f"not valid YAML: {problem}", error.context
    mistakes.add(source.span(offset, offset + 1), message, hint)


class _TooMany(Exception):
    pass


@dataclass
class _Reader:
    source: Source
    mistakes: Mistakes
    count: int = 0

    def read(self, node: yaml.Node, path: str, above: frozenset[int]) -> Node:
        self.count += 1
        if self.count > MAX_NODES:
            raise _TooMany(f"the document has more than {MAX_NODES} values once its aliases are expanded")
        span = self._span(node)
        if id(node) in above:
            raise _TooMany("an alias contains itself")
        above = above | {id(node)}
        if isinstance(node, yaml.MappingNode):
            return Mapping(self._entries(node, path, above), span, path)
        if isinstance(node, yaml.SequenceNode):
            items = [self.read(item, f"{path}[{index}]", above) for index, item in enumerate(node.value)]
            return Sequence(items, span, path)
        assert isinstance(node, yaml.ScalarNode)
        return Scalar(self._value(node, span), span, path)

    def _entries(self, node: yaml.MappingNode, path: str, above: frozenset[int]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            span = self._span(key_node)
            key = self._key(key_node, span)
            if key is None:
                continue
            below = f"{path}.{key}" if path else key
            if key == "<<" and not key_node.style:
                for entry in self._merged(value_node, path, above):
                    merged.setdefault(entry.key, entry)
            elif key in entries:
                first = entries[key].key_span
                self.mistakes.add(
                    span, f"'{key}' is written twice", f"the first is on line {first.line}; keep one of them", below
                )
            else:
                entries[key] = Entry(key, span, self.read(value_node, below, above))
        return {**merged, **entries}

    def _merged(self, node: yaml.Node, path: str, above: frozenset[int]) -> Iterator[Entry]:
        if isinstance(node, yaml.MappingNode):
            read = self.read(node, path, above)
            assert read.kind == "mapping"
            yield from read.entries.values()
        elif isinstance(node, yaml.SequenceNode):
            for item in node.value:
                yield from self._merged(item, path, above)
        else:
            self.mistakes.add(self._span(node), "expected a mapping after '<<'", "write `<<: *anchor`", path)

    def _key(self, node: yaml.Node, span: Span) -> str | None:
        if isinstance(node, yaml.ScalarNode):
            return str(node.value)
        self.mistakes.add(span, "a key must be text, not a mapping or a list", "quote it if it begins with { or [")
        return None

    def _value(self, node: yaml.ScalarNode, span: Span) -> str | int | float | bool | None:
        text = str(node.value)
        if self.source.text[span.start : span.start + 1] == "!":
            if node.tag != "tag:yaml.org,2002:str":
                self.mistakes.add(span, f"the tag {node.tag!r} has no meaning here", "write a plain value")
            return text
        if node.style:
            return text
        return typed(text) if text else None

    def _span(self, node: yaml.Node) -> Span:
        return self.source.span(node.start_mark.index, node.end_mark.index)


def offsets_in_source(source: Source, span: Span, value: str) -> list[int]:
    """Return, for each character of a scalar's value, where it stands in the source (one more for its end).

    Block and folded scalars lose indentation, quoted ones their escapes: the two texts are walked side by side.
    """
    text, at = source.text, span.start
    while at < len(text) and text[at] in "&!" and value[:1] not in ("&", "!"):  # an anchor or a tag stands before
        at = _after_word(text, at)
    style = text[at : at + 1]
    if style in "|>" and value[:1] != style:
        at = text.find("\n", at) + 1
    elif style in ("'", '"'):
        at += 1
    offsets: list[int] = []
    for char in value:
        at = _seek(text, at, char, style)
        offsets.append(min(at, len(text)))
        at += _written_length(text, at, style)
    return [*offsets, min(at, len(text))]


def _seek(text: str, at: int, char: str, style: str) -> int:
    """Move over what the value lost, to where `char` was written."""
    if char in " \n":
        return at
    while (
        at < len(text)
        and text[at] != char
        and (text[at] in " \n\r\t" or (style == '"' and text[at : at + 2] == "\\\n"))
    ):
        at += 1
    return at


def _written_length(text: str, at: int, style: str) -> int:
    if style == "'" and text[at : at + 2] == "''":
        return 2
    if style == '"' and text[at : at + 1] == "\\":
        return {"x": 4, "u": 6, "U": 10}.get(text[at + 1 : at + 2], 2)
    return 1


def _after_word(text: str, at: int) -> int:
    while at < len(text) and not text[at].isspace():
        at += 1
    while at < len(text) and text[at].isspace():
        at += 1
    return at
