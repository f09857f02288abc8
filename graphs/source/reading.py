"""YAML text in, the tree of nodes out; everything that makes it no document is a mistake with a place."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import yaml

from graphs.language import LanguageError, typed
from graphs.language import parse as parse_template
from graphs.source.pyyaml import Refused, compose
from graphs.source.text import FOREIGN_SPACE, Mistakes, Source, Span
from graphs.source.tree import Entry, ListNode, MappingNode, Node, Scalar
from graphs.source.yaml_errors import odd_space_words, report_character, report_yaml_error

MAX_NODES = 100_000
"""More than any honest document: stops a few lines of nested aliases from filling the memory."""

TEXT_TAGS = ("", "!", "tag:yaml.org,2002:str")
COLLECTION_TAGS = ("", "!", "tag:yaml.org,2002:map", "tag:yaml.org,2002:seq")


def parse(source: Source, mistakes: Mistakes) -> Node | None:
    """Return the document's tree, or None when it isn't YAML or is empty."""
    if report_character(source, mistakes):
        return None
    try:
        root = compose(source.text)
        if root is not None:
            return _Reader(source, mistakes).read(root, "", frozenset())
    except yaml.MarkedYAMLError as error:
        report_yaml_error(error, source, mistakes)
        return None
    except Refused as refused:
        mistakes.add(source.span(*refused.at), refused.message, refused.hint)
        return None
    mistakes.add(source.span(0, 0), "the document is empty", "write at least a component: `component:` with a type")
    return None


@dataclass
class _Reader:
    source: Source
    mistakes: Mistakes
    count: int = 0
    top: tuple[int, int] = (0, 0)
    """Of the value at the document's top level that is being read."""

    def read(self, node: yaml.Node, path: str, above: frozenset[int]) -> Node:
        span = self._span(node)
        if len(above) <= 1:
            self.top = (span.start, span.end)
        self.count += 1
        if self.count > MAX_NODES:
            message = f"the document has more than {MAX_NODES} values once its aliases are expanded"
            raise Refused(message, "write fewer aliases inside aliases", self.top)
        if id(node) in above:
            message, hint = "the value of this anchor contains itself", "remove the alias inside it"
            raise Refused(message, hint, (span.start, span.end))
        if isinstance(node, yaml.ScalarNode):
            return Scalar(self._value(node, span, path), span, path)
        if node.tag not in COLLECTION_TAGS:
            self._report_tag(node, span, path)
        above = above | {id(node)}
        if isinstance(node, yaml.MappingNode):
            return MappingNode(self._entries(node, path, above), span, path)
        items = [self.read(item, f"{path}[{index}]", above) for index, item in enumerate(node.value)]
        return ListNode(items, span, path)

    def _entries(self, node: yaml.MappingNode, path: str, above: frozenset[int]) -> dict[str, Entry]:
        entries: dict[str, Entry] = {}
        merged: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            span = self._span(key_node)
            key = self._key(key_node, span, path)
            if key is None:
                continue
            below = f"{path}.{key}" if path else key
            if key == "<<" and not key_node.style:
                for entry in self._merged(value_node, path, above):
                    merged.setdefault(entry.key, entry)
            elif key in entries:
                hint = f"the first is on line {entries[key].span.line}; keep one of them"
                self.mistakes.add(span, f"'{key}' is written twice", hint, below)
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

    def _key(self, node: yaml.Node, span: Span, path: str) -> str | None:
        if not isinstance(node, yaml.ScalarNode):
            hint = "quote it if it begins with { or [; a binding is written ${…}"
            self.mistakes.add(span, "a key must be text, not a mapping or a list", hint, path)
            return None
        key = str(node.value)
        odd = FOREIGN_SPACE.match(key) or FOREIGN_SPACE.search(key, len(key) - 1)
        if odd and not node.style:
            at = span.start + odd.start()
            self.mistakes.add(self.source.span(at, at + 1), *odd_space_words(self.source.text[at]), path)
            return None
        if "${" not in key:
            return key
        try:
            template = parse_template(key)
        except LanguageError:
            template = None
        if template is not None and template.kind == "constant":
            return str(template.value)
        hint = r"only values can have bindings; write the key itself, or \${ where you mean the characters"
        self.mistakes.add(span, "a key can't be a binding", hint, path)
        return None

    def _value(self, node: yaml.ScalarNode, span: Span, path: str) -> str | int | float | bool | None:
        text = str(node.value)
        if node.tag not in TEXT_TAGS:
            self._report_tag(node, span, path)
        if node.style or node.tag:
            return text
        return typed(text) if text else None

    def _report_tag(self, node: yaml.Node, span: Span, path: str) -> None:
        tag = span.text.split()[0] if span.text.startswith("!") else node.tag
        self.mistakes.add(span, f"the tag {tag} has no meaning here", "write the value without it", path)

    def _span(self, node: yaml.Node) -> Span:
        return self.source.span(node.start_mark.index, node.end_mark.index)
