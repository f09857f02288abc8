"""A cursor in a binding -> the expression there: references, literals, comparisons, `not`, `and`, `or`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal, get_args

from graphs.language.mistakes import LanguageError
from graphs.language.nodes import (
    Comparator,
    Comparison,
    Expr,
    Literal_,
    Logic,
    Not,
    Offsets,
    Reference,
)
from graphs.language.tokens import KEYWORDS, Token, lex, name_end, shortened

DEEPEST = 50
"""Parentheses, `not`s and defaults inside one another beyond this are refused, well before Python's own limit."""

CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
COMPARATORS: dict[str, Comparator] = {operator: operator for operator in get_args(Comparator)}

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
    def deeper(self) -> Iterator[None]:
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
        own = HINTS.get(token.text) or _spelled_here(token.text)
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


def parse_expression(cursor: Cursor) -> Expr:
    """Parse an or-expr."""
    operands = [_and(cursor)]
    while cursor.take_word("or"):
        operands.append(_and(cursor))
    return _logic("or", operands)


def _and(cursor: Cursor) -> Expr:
    operands = [_not(cursor)]
    while cursor.take_word("and"):
        operands.append(_not(cursor))
    return _logic("and", operands)


def _logic(op: Literal["and", "or"], operands: list[Expr]) -> Expr:
    if len(operands) == 1:
        return operands[0]
    return Logic(op, tuple(operands), _from_to(operands[0], operands[-1]))


def _not(cursor: Cursor) -> Expr:
    start = cursor.peek().at[0]
    if not cursor.take_word("not"):
        return _comparison(cursor)
    with cursor.deeper():
        operand = _not(cursor)
    return Not(operand, (start, operand.at[1]))


def _comparison(cursor: Cursor) -> Expr:
    left = _operand(cursor)
    operator = _comparator(cursor)
    if operator is None:
        return left
    right = _operand(cursor)
    again = cursor.peek()
    if again.text in COMPARATORS and again.kind != "string":
        message = f"a comparison has two sides, got a second '{again.text}'"
        raise LanguageError(message, again.at, "write a < b and b < c")
    return Comparison(operator, left, right, _from_to(left, right))


def _comparator(cursor: Cursor) -> Comparator | None:
    token = cursor.peek()
    if token.kind == "name" and token.text == "not":
        cursor.take()
        if not cursor.take_word("in"):
            raise cursor.unexpected(
                "'in' after 'not'", "write not in, or put not before the whole comparison"
            )
        return "not in"
    if token.kind not in ("name", "symbol") or token.text not in COMPARATORS:
        return None
    cursor.take()
    return COMPARATORS[token.text]


def _operand(cursor: Cursor) -> Expr:
    token = cursor.peek()
    match token.kind:
        case "number" | "string":
            cursor.take()
            return Literal_(token.value, token.at)
        case "name" if token.text in CONSTANTS:
            cursor.take()
            return Literal_(CONSTANTS[token.text], token.at)
        case "name" if token.text not in KEYWORDS and token.text not in WORDS_ELSEWHERE:
            return _reference(cursor)
        case "symbol" if token.text == "(":
            return _parenthesised(cursor)
        case "name" if token.text == "not":
            raise cursor.unexpected("a reference or a literal", "write parentheses around it: (not a)")
        case _:
            raise cursor.unexpected("a reference or a literal", 'write input.name, "text", 5, true or null')


def _parenthesised(cursor: Cursor) -> Expr:
    cursor.take()
    with cursor.deeper():
        inner = parse_expression(cursor)
    token = cursor.peek()
    if not cursor.take_symbol(")"):
        if token.text in ("|", "as"):
            hint = "defaults and types stand at the end of the binding"
            raise LanguageError(f"expected ')', got '{token.text}'", token.at, hint)
        raise cursor.unexpected("')'")
    return inner


def _reference(cursor: Cursor) -> Reference:
    name = cursor.take()
    chunked = cursor.take_next("[]")
    path: list[str | int] = []
    ats: list[Offsets] = [name.at]
    while cursor.text[cursor.position : cursor.position + 1] in (".", "["):
        step, at = _step(cursor)
        path.append(step)
        ats.append(at)
    return Reference(name.text, tuple(path), (name.at[0], cursor.position), chunked, tuple(ats))


def _step(cursor: Cursor) -> tuple[str | int, Offsets]:
    if not cursor.take_next("."):
        return _index(cursor)
    start = cursor.position
    end = name_end(cursor.text, start)
    if end == start:
        raise _no_step(cursor)
    cursor.position = end
    return cursor.text[start:end], (start, end)


def _no_step(cursor: Cursor) -> LanguageError:
    text, at = cursor.text, cursor.position
    follows = text[at : at + 1]
    if not follows or follows == "}":
        return LanguageError("expected a name after '.', got the end", (at - 1, at), "write input.name")
    if follows.isspace():
        return LanguageError("expected a name after '.', got a space", (at, at + 1), HINTS["."])
    hints = {".": "write one '.'", "[": "write [0] without the '.'"}
    hint = hints.get(follows, "a name in a path holds letters, digits, _ and -")
    return LanguageError(f"expected a name after '.', got '{follows}'", (at, at + 1), hint)


def _index(cursor: Cursor) -> tuple[int, Offsets]:
    start = cursor.position
    cursor.take_next("[")
    token = cursor.peek()
    if token.text == "]":
        hint = "write response[].choices[0], or [0] for the first of a list"
        message = "[] names the current chunk and stands after the first name only"
        raise LanguageError(message, (start, token.at[1]), hint)
    if token.kind in ("name", "string"):
        raise _key_in_brackets(token)
    if token.kind != "number" or not isinstance(token.value, int):
        raise cursor.unexpected("a whole number in [ ]", "write [0]")
    cursor.take()
    if not cursor.take_symbol("]"):
        raise cursor.unexpected("']'", "write [0]")
    return token.value, (start, cursor.position)


def _key_in_brackets(token: Token) -> LanguageError:
    key = str(token.value) if token.kind == "string" else token.text
    if not key or name_end(key, 0) < len(key):
        hint = "names in a path hold letters, digits, _ and -"
    else:
        hint = f"write .{key}"
    return LanguageError(f"expected a whole number in [ ], got {shortened(token.text)}", token.at, hint)


def _spelled_here(word: str) -> str | None:
    meant = WORDS_ELSEWHERE.get(word)
    return f"write {meant}" if meant else None


def _from_to(first: Expr, last: Expr) -> Offsets:
    return (first.at[0], last.at[1])
