"""Text that is still growing, read as if it were all there: a reader yields where it must wait for more."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Generator
from functools import cache
from typing import TypeVar

T = TypeVar("T")
Wait = Generator[None, None, T]
"""Steps that yield until there is more text (or none will come), then return."""

SPACE = " \t\r\n"

_SPACES = re.compile(r"[ \t\r\n]*")
_IN_STRING = re.compile(r'[^"\\]*')
_OUTSIDE = re.compile(r'[^"{}\[\]]*')
_SCALAR = re.compile(r"[^\s,}\]]*")


@cache
def any_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Return what finds any of these words, the longest first; nothing, where there are none."""
    longest_first = sorted(words, key=len, reverse=True)
    return re.compile("|".join(map(re.escape, longest_first)) if words else r"(?!)")


@cache
def half_of(words: tuple[str, ...]) -> re.Pattern[str]:
    """Return what finds the beginning of any of these words at the end of a text."""
    begun = sorted({word[:size] for word in words for size in range(1, len(word))}, key=len, reverse=True)
    return re.compile(rf"(?:{'|'.join(map(re.escape, begun))})\Z" if begun else r"(?!)")


def _nothing() -> None:
    """Wait without a word."""


class Reader:
    """`at` is the next character to read; what lies before it is kept until it is forgotten."""

    def __init__(self) -> None:
        self.text = ""
        self.at = 0
        self.ended = False

    @property
    def read(self) -> str:
        return self.text[: self.at]

    def forget(self) -> None:
        """Drop what has been read; places in the text change with it."""
        self.text = self.text[self.at :]
        self.at = 0

    def peek(self) -> Wait[str]:
        """Return the next character, or "" at the end."""
        while self.at == len(self.text) and not self.ended:
            yield
        return self.text[self.at : self.at + 1]

    def word(self, words: Collection[str]) -> Wait[str]:
        """Read the longest of these words that stands here; "" for none."""
        longest = max(map(len, words), default=0)
        while True:
            rest = self.text[self.at : self.at + longest]
            if self.ended or not any(len(word) > len(rest) and word.startswith(rest) for word in words):
                break
            yield
        found = max((word for word in words if rest.startswith(word)), key=len, default="")
        self.at += len(found)
        return found

    def skip_space(self) -> Wait[None]:
        yield from self._run(_SPACES)

    def run(self, pattern: re.Pattern[str]) -> Wait[str]:
        """Read as many characters as the pattern, one class repeated, takes."""
        start = self.at
        yield from self._run(pattern)
        return self.text[start : self.at]

    def find(self, words: tuple[str, ...]) -> Wait[str]:
        """Read up to where one of these words stands first, and return it; "" at the end of the text, all of it read."""
        wanted, half = any_of(words), half_of(words)
        while True:
            found = wanted.search(self.text, self.at)
            if found:
                self.at = found.start()
                return found[0]
            begun = None if self.ended else half.search(self.text, self.at)
            self.at = begun.start() if begun else len(self.text)
            if self.ended:
                return ""
            yield

    def text_before(self, words: tuple[str, ...], give: Callable[[str], None]) -> Wait[str]:
        """Give the text before one of these words as it comes, without blanks at its end; return the word, or ""."""
        wanted, half = any_of(words), half_of(words)
        while True:
            found = wanted.search(self.text, self.at)
            begun = None if found or self.ended else half.search(self.text, self.at)
            rest = found or begun
            self.at = rest.start() if rest else len(self.text)
            certain = self.read.rstrip(SPACE)
            if certain:
                give(certain)
            if found or self.ended:
                self.forget()
                return found[0] if found else ""
            # Blanks are held with what may be the word: they may turn out to be the last.
            self.text, self.at = self.text[len(certain) :], 0
            yield

    def string(self) -> Wait[str | None]:
        """Read a JSON string and return what it says; None, and nothing read, where none begins or it is broken."""
        start = self.at
        if (yield from self.peek()) != '"' or not (yield from self._quoted()):
            return None
        try:
            # strict=False: models write line breaks into strings.
            return json.loads(self.text[start : self.at], strict=False)
        except ValueError:
            return None

    def value(self, pause: Callable[[], None] = _nothing) -> Wait[bool]:
        """Read a JSON value, its inside unjudged: brackets must close. `pause` sees `at` wherever it must wait."""
        first = yield from self.peek()
        if first == '"':
            return (yield from self._quoted(pause))
        if first not in ("{", "["):
            return bool((yield from self.run(_SCALAR)))
        depth = 0
        while True:
            yield from self._run(_OUTSIDE, pause)
            match self.text[self.at : self.at + 1]:
                case "":
                    return False
                case '"':
                    if not (yield from self._quoted(pause)):
                        return False
                    continue
                case "{" | "[":
                    depth += 1
                case _:
                    depth -= 1
            self.at += 1
            if depth == 0:
                return True

    def _quoted(self, pause: Callable[[], None] = _nothing) -> Wait[bool]:
        """Read from one quote to the other; False when the text ends before."""
        self.at += 1
        while True:
            yield from self._run(_IN_STRING, pause)
            here = self.text[self.at : self.at + 2]
            if here.startswith('"'):
                self.at += 1
                return True
            if len(here) == 2:
                self.at += 2  # a backslash, and what it escapes
            elif self.ended:
                self.at += len(here)
                return False
            else:
                pause()
                yield

    def _run(self, pattern: re.Pattern[str], pause: Callable[[], None] = _nothing) -> Wait[None]:
        while True:
            match = pattern.match(self.text, self.at)
            assert match is not None, "a repetition matches at least nothing"
            self.at = match.end()
            if self.at < len(self.text) or self.ended:
                return
            pause()
            yield
