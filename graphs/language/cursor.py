"""A place in a text that moves token by token over one `${…}`, and says what is wrong where it stands."""

from __future__ import annotations

from collections.abc import Generator
from contextlib import contextmanager

from graphs.language.tokens import LanguageError, Token, lex, shortened

DEEPEST = 50
"""Parentheses, `not`s and defaults inside one another beyond this are refused, well before Python's own limit."""

HINTS = {
    "=": "write == to compare",
    "===": "write ==",
    "!==": "write !=",
    "<>": "write !=",
    "=~": "patterns are not known; write 'part' in input.text",
    "&&": "write and",
    "&": "write and",
    "||": "write or; a default is written with one |",
    "??": "write | and the default",
    "?": "write | and the default; there is no a ? b : c",
    "!": "write not",
    ":-": "write | and the default",
    "{": "a binding has one pair of braces: ${input.name}",
    "${": "inside a binding a reference needs no ${ }: write input.name",
    "[": "write [0] right after a name or an index",
    "(": "there are no functions; a conversion is written as text, as integer, as json…",
    ".": "write a path without spaces: input.name",
    "+": "bindings don't calculate; text is joined by writing ${a}${b}",
    "-": "bindings don't calculate; a name with a - in it is written without spaces",
    "*": "bindings don't calculate",
    "/": "bindings don't calculate",
    "%": "bindings don't calculate",
    ";": "a format follows a type: as text;sse-text",
    "is": "write ==",
    "if": "conditions belong into a job's condition; write and, or",
    "|": "a binding has one default; for a second write | ${… | …}",
    "@(": "annotations stand at the end, after the type and the default",
}  # fmt: skip
"""What to write instead of a token that people know from elsewhere."""

WORDS_ELSEWHERE = {
    "True": "true", "TRUE": "true", "False": "false", "FALSE": "false", "None": "null", "Null": "null", "NULL": "null",
    "AND": "and", "And": "and", "OR": "or", "Or": "or", "NOT": "not", "Not": "not", "IN": "in",
}  # fmt: skip


class Cursor:
    """A place in a text, moving over one `${…}`."""

    def __init__(self, text: str, position: int) -> None:
        self.text = text
        self.position = position
        self._depth = 0
        self._openings: list[int] = []
        self._peeked: tuple[int, Token] | None = None

    def peek(self) -> Token:
        """Return the next token; several questions are asked of each, so the last one read is kept."""
        if self._peeked is None or self._peeked[0] != self.position:
            self._peeked = (self.position, lex(self.text, self.position))
        return self._peeked[1]

    def take(self) -> Token:
        token = self.peek()
        self.position = token.at[1]
        return token

    def take_symbol(self, symbol: str) -> bool:
        return self._take_if("symbol", symbol)

    def take_word(self, word: str) -> bool:
        return self._take_if("name", word)

    def take_next(self, character: str) -> bool:
        """Take `character` if it follows at once, without spaces."""
        if not self.text.startswith(character, self.position):
            return False
        self.position += len(character)
        return True

    def open_binding(self) -> int:
        """Take `${` and return where it stands."""
        self._openings.append(self.position)
        self.position += 2
        after = self.peek()
        if after.text == "}":
            at = (self._openings[-1], after.at[1])
            raise LanguageError("this binding is empty", at, "write ${input.name}")
        return self._openings[-1]

    def close_binding(self) -> int:
        """Take `}` and return where it ends."""
        if not self.take_symbol("}"):
            raise self.unexpected("}")
        self._openings.pop()
        return self.position

    @contextmanager
    def deeper(self) -> Generator[None]:
        """Stand one level deeper, within reason."""
        self._depth += 1
        if self._depth > DEEPEST:
            at = (self.position, self.position)
            raise LanguageError("this binding is nested too deeply", at, "split it up")
        yield
        self._depth -= 1

    def unexpected(self, expected: str, hint: str | None = None) -> LanguageError:
        """Return the error of finding something else than `expected` here."""
        token = self.peek()
        if token.kind == "end" or (expected == "}" and "}" not in self.text[self.position :]):
            return self.unclosed()
        meant = WORDS_ELSEWHERE.get(token.text)
        own = HINTS.get(token.text) or (f"write {meant}" if meant else None)
        wanted = f"'{expected}'" if expected == "}" else expected
        return LanguageError(f"expected {wanted}, got '{shortened(token.text)}'", token.at, own or hint)

    def unclosed(self) -> LanguageError:
        opening = self._openings[-1]
        hint = r"end it with }, or write \${ where you mean the characters"
        return LanguageError("this ${ is never closed", (opening, opening + 2), hint)

    def _take_if(self, kind: str, text: str) -> bool:
        token = self.peek()
        if token.kind != kind or token.text != text:
            return False
        self.position = token.at[1]
        return True
