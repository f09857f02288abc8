"""Text and a position in it -> the next token: the lexer of what stands between `${` and `}`."""

from __future__ import annotations

import re
import unicodedata
from typing import Literal, NamedTuple

from graphs.language.nodes import Offsets
from graphs.language.scalars import number_of

KEYWORDS = frozenset({"and", "or", "not", "in", "as", "true", "false", "null"})

SYMBOL = re.compile(r"===|!==|==|!=|<=|>=|<>|=~|&&|\|\||\?\?|->|=>|:-|@\(|\$\{|.", re.DOTALL)
"""The longest first. Those that the language lacks are read whole, to be named in an error."""

NUMBER = re.compile(r"-?[0-9]+(?:\.[0-9]+)?(?:[eE][-+]?[0-9]+)?")
NAME = re.compile(r"[\w-]*")
SPACE = re.compile(r"\s*")
ESCAPES = {"\\": "\\", "'": "'", '"': '"', "n": "\n", "r": "\r", "t": "\t", "$": "$"}


class LanguageError(Exception):
    """A mistake in a `${…}`, at characters of the text that was parsed: what was expected and what came, and what to write."""

    def __init__(self, message: str, at: Offsets, hint: str | None = None) -> None:
        super().__init__(message, at, hint)
        self.message = message
        self.at = at
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message


class Token(NamedTuple):
    kind: Literal["name", "number", "string", "symbol", "end"]
    text: str
    """As written."""
    at: Offsets
    value: str | int | float | None = None
    """Of a number or a string."""


def lex(text: str, position: int) -> Token:
    """Return the token that starts at `position` or after the spaces there."""
    start = skip_space(text, position)
    if start == len(text):
        return Token("end", "", (start, start))
    character = text[start]
    if character in "'\"":
        return _string(text, start)
    if number := NUMBER.match(text, start):
        return _number(text, start, number.end())
    if (end := name_end(text, start)) > start and character != "-":
        return Token("name", text[start:end], (start, end))
    symbol = SYMBOL.match(text, start)
    end = symbol.end() if symbol else start + 1
    return Token("symbol", text[start:end], (start, end))


def skip_space(text: str, position: int) -> int:
    """Return where the spaces at `position` end."""
    space = SPACE.match(text, position)
    return space.end() if space else position


def name_end(text: str, position: int) -> int:
    """Return where the name at `position` ends; `position` itself when there is none.

    A name holds letters of any script with their marks, digits, `_` and `-`.
    """
    while name := NAME.match(text, position):
        position = name.end()
        if position == len(text) or not unicodedata.category(text[position]).startswith("M"):
            break
        position += 1
    return position


def _number(text: str, start: int, end: int) -> Token:
    after = name_end(text, end)
    written = text[start:after]
    value = number_of(written)
    if value is None:
        raise LanguageError(
            f"expected a number, got '{shortened(written)}'", (start, after), "names start with a letter; quote text"
        )
    return Token("number", written, (start, after), value)


def _string(text: str, start: int) -> Token:
    quote = text[start]
    characters: list[str] = []
    position = start + 1
    while position < len(text):
        character = text[position]
        if character == quote:
            end = position + 1
            return Token("string", text[start:end], (start, end), "".join(characters))
        if character == "\\":
            character = _escaped(text, position)
            position += 1
        characters.append(character)
        position += 1
    raise LanguageError("this text is never closed", (start, start + 1), f"end it with another {quote}")


def _escaped(text: str, position: int) -> str:
    escape = text[position + 1 : position + 2]
    if escape in ESCAPES:
        return ESCAPES[escape]
    raise LanguageError(
        f"unknown escape '\\{escape}'",
        (position, position + 1 + len(escape)),
        r"write \\ for a backslash; \n, \r, \t, \' and \" are known too",
    )


def shortened(text: str) -> str:
    """Return at most 40 characters of `text`, for a message."""
    return text if len(text) <= 40 else f"{text[:39]}…"
