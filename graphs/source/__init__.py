"""Text with positions: YAML text in, a tree of nodes that know their file, line, column and path out."""

from graphs.source.reading import parse
from graphs.source.text import FOREIGN_SPACE, Diagnostic, DocumentError, Mistakes, Source, Span, in_order
from graphs.source.tree import Bound, Entry, ListNode, MappingNode, Node, Scalar, leaves, offsets_in_source, replaced
from graphs.source.yaml_errors import UNSEPARATED, spaced

__all__ = [
    "FOREIGN_SPACE", "UNSEPARATED", "Bound", "Diagnostic", "DocumentError", "Entry", "ListNode", "MappingNode", "Mistakes",
    "Node", "Scalar", "Source", "Span", "in_order", "leaves", "offsets_in_source", "parse", "replaced", "spaced",
]  # fmt: skip
