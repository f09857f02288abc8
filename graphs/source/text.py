"""One text and places in it; mistakes found there, and how they are shown: the line, a caret under the mistake, a hint."""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_right
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path, PurePath
from typing import Literal, NamedTuple, Protocol

from graphs.errors import AnabranchError

FOREIGN_SPACE = re.compile(r"[\xa0\u1680\u2000-\u200b\u202f\u205f\u2060\u3000\ufeff]")
"""What looks like a space and is text to YAML: pasted from web pages, or typed in Chinese, Japanese and Korean."""

WIDEST = 160
"""Of a line that is shown: of a longer one, the part around the mistake."""


@dataclass(frozen=True)
class Source:
    """One text and the name people know it by. Lines end with LF."""

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

    @cached_property
    def file(self) -> str:
        """Its name without a folder."""
        return PurePath(self.name).name

    @property
    def folder(self) -> Path:
        """Return where its relative paths begin: beside the file, or, for text that is none, the working directory."""
        return Path(self.name).absolute().parent

    def span(self, start: int, end: int) -> Span:
        """Return the span of text[start:end], cut at the end of its first line."""
        line, column = self.position(start)
        return Span(self, start, max(min(end, self._line_starts[line] - 1), start), line, column)

    def line_start(self, line: int) -> int:
        """Return the offset of a line's first character; lines count from 1."""
        return self._line_starts[line - 1]

    def position(self, offset: int) -> tuple[int, int]:
        """Return the line and column of an offset, both from 1."""
        line = min(bisect_right(self._line_starts, offset), len(self.lines))
        return line, offset - self._line_starts[line - 1] + 1


class Span(NamedTuple):
    """A piece of a source, on one line."""

    source: Source
    start: int
    end: int
    line: int
    column: int

    @property
    def text(self) -> str:
        return self.source.text[self.start : self.end]

    def __str__(self) -> str:
        return f"{self.source.name}:{self.line}:{self.column}"


class Place(Protocol):
    """What a mistake can be about: a node of a document's tree, or an entry of a mapping."""

    @property
    def span(self) -> Span: ...
    @property
    def path(self) -> str: ...


Kind = Literal["mistake", "warning"]


class Diagnostic(NamedTuple):
    """One mistake or warning: where it is, what is wrong, and what to write instead."""

    span: Span
    message: str
    hint: str | None = None
    path: str = ""
    kind: Kind = "mistake"

    def render(self) -> str:
        """Return `file:line:column: message`, the line with a caret under the mistake, and the hint."""
        gutter = f"{self.span.line:>5} | "
        before, marked, after = _window(self.span)
        pad = "".join("\t" if char == "\t" else " " * _width(char) for char in before)
        caret = "^" * max(1, sum(_width(char) for char in marked))
        line = f"{gutter}{before}{marked}{after}".rstrip()
        message = f"warning: {self.message}" if self.kind == "warning" else self.message
        shown = [f"{self.span}: {message}", line, f"{' ' * len(gutter)}{pad}{caret}"]
        if self.hint:
            shown.append(f"   {self.hint}")
        return "\n".join(shown)


class DocumentError(AnabranchError):
    """A document that doesn't compile: carries every diagnostic, and prints them all."""

    type = "invalid_document"
    status = 400

    def __init__(self, diagnostics: list[Diagnostic]) -> None:
        self.diagnostics = in_order(diagnostics)
        super().__init__("\n".join(diagnostic.render() for diagnostic in self.diagnostics))

    def __reduce__(self) -> tuple[object, ...]:
        return (type(self), (self.diagnostics,))


def _window(span: Span) -> tuple[str, str, str]:
    """Return what stands on the line before, at and after the mistake; of a long line, the part around it."""
    line = "".join(_printable(char) for char in span.source.lines[span.line - 1])
    start = span.column - 1
    end = start + len(span.text)
    before, marked, after = line[:start], line[start:end], line[end:]
    if len(line) > WIDEST:
        marked = marked if len(marked) <= WIDEST // 2 else f"{marked[: WIDEST // 2]}…"
        before = before if len(before) <= WIDEST // 2 else f"…{before[-WIDEST // 2 :]}"
        after = after if len(after) <= WIDEST // 4 else f"{after[: WIDEST // 4]}…"
    return before, marked, after


def _printable(char: str) -> str:
    """Show a control character as a mark of its own: a terminal would obey it."""
    obeyed = char != "\t" and unicodedata.category(char) in ("Cc", "Cs", "Zl", "Zp")
    return "\N{REPLACEMENT CHARACTER}" if obeyed else char


def _width(char: str) -> int:
    if unicodedata.category(char) in ("Mn", "Me", "Cf"):
        return 0
    return 2 if unicodedata.east_asian_width(char) in "WF" else 1


@dataclass
class Mistakes:
    """Diagnostics as they are found; the checker goes on after each, so that all are reported at once."""

    found: list[Diagnostic] = field(default_factory=list[Diagnostic])
    warnings: list[Diagnostic] = field(default_factory=list[Diagnostic])
    """What stops nothing and is probably not what was meant."""
    broken: list[Span] = field(default_factory=list[Span])
    secrets: dict[str, str] = field(default_factory=dict[str, str])
    """Values that no message may show, each with what it shows instead."""

    def warn(self, place: Span | Place, message: str, hint: str | None = None, path: str = "") -> None:
        """Report a warning, as `add` does."""
        self.add(place, message, hint, path, "warning")

    def add(
        self, place: Span | Place, message: str, hint: str | None = None, path: str = "", kind: Kind = "mistake"
    ) -> None:
        """Report a mistake, unless its place is known to be broken; what several aliases share is reported once."""
        known = self.found if kind == "mistake" else self.warnings
        span, path = (place, path) if isinstance(place, Span) else (place.span, path or place.path)
        new = Diagnostic(span, self._hidden(message), hint and self._hidden(hint), path, kind)
        repeated = any((each.span, each.message) == (new.span, new.message) for each in known)
        if not repeated and not any(_within(new.span, each) for each in self.broken):
            known.append(new)

    def silence(self, span: Span) -> None:
        """Report nothing more about a value whose mistake is reported: what follows from it would only confuse."""
        self.broken.append(span)

    def _hidden(self, message: str) -> str:
        for secret, shown in self.secrets.items():
            message = message.replace(secret, shown)
        return message

    def __bool__(self) -> bool:
        return bool(self.found)


def in_order(diagnostics: list[Diagnostic]) -> list[Diagnostic]:
    """Return diagnostics in the order of the documents, and of each document's text."""
    order = {name: index for index, name in enumerate(dict.fromkeys(each.span.source.name for each in diagnostics))}
    return sorted(diagnostics, key=lambda each: (order[each.span.source.name], each.span.start))


def _within(inner: Span, outer: Span) -> bool:
    return inner.source is outer.source and outer.start <= inner.start and inner.end <= max(outer.end, outer.start + 1)
