"""A cursor in a binding -> the expression there; docs/bindings.md has the grammar."""

from __future__ import annotations

from collections.abc import Callable
from typing import Literal, get_args

from graphs.language.cursor import HINTS, WORDS_ELSEWHERE, Cursor
from graphs.language.nodes import Comparator, Comparison, Expr, Literal_, Logic, Not, Offsets, Reference
from graphs.language.tokens import KEYWORDS, LanguageError, Token, name_end, shortened

CONSTANTS: dict[str, bool | None] = {"true": True, "false": False, "null": None}
COMPARATORS: dict[str, Comparator] = {operator: operator for operator in get_args(Comparator)}


def parse_expression(cursor: Cursor) -> Expr:
    """Parse an or-expr."""
    return _logic(cursor, "or", _and)


def _and(cursor: Cursor) -> Expr:
    return _logic(cursor, "and", _not)


def _logic(cursor: Cursor, op: Literal["and", "or"], operand: Callable[[Cursor], Expr]) -> Expr:
    operands = [operand(cursor)]
    while cursor.take_word(op):
        operands.append(operand(cursor))
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
    if again.text in COMPARATORS or again.text == "not":
        message = f"a comparison has two sides, got a second '{again.text}'"
        raise LanguageError(message, again.at, "write a < b and b < c")
    return Comparison(operator, left, right, _from_to(left, right))


def _comparator(cursor: Cursor) -> Comparator | None:
    token = cursor.peek()
    if token.kind == "name" and token.text == "not":
        cursor.take()
        if not cursor.take_word("in"):
            hint = "write not in, or put not before the whole comparison"
            raise cursor.unexpected("'in' after 'not'", hint)
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
        case "symbol" if token.text == "[":
            hint = "a list can't be written out; write input.name == 'a' or input.name == 'b'"
            raise LanguageError("expected a reference or a literal, got '['", token.at, hint)
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
    if token.text == "*":
        hint = "write [0] for the first of a list, [-1] for the last; each chunk of a stream is response[]"
        raise LanguageError("expected a whole number in [ ], got '*'", token.at, hint)
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


def _from_to(first: Expr, last: Expr) -> Offsets:
    return (first.at[0], last.at[1])
