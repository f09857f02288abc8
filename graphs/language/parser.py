r"""The text of a scalar -> a Constant, a Binding or a Text, by recursive descent; docs/bindings.md has the grammar.

Backslashes right before a `${` pair up: `\\${x}` is a backslash and a binding.
"""

from __future__ import annotations

import re
from collections.abc import Mapping

from graphs.language import nodes
from graphs.language.cursor import Cursor
from graphs.language.expressions import parse_expression
from graphs.language.nodes import Offsets
from graphs.language.scalars import typed
from graphs.language.tokens import LanguageError, name_end, shortened, skip_space
from graphs.suggest import closest

OPEN = "${"
ANNOTATIONS = frozenset({"description"})

NOTHING: Mapping[str, str] = {}

END_OF_DEFAULT = re.compile(r"[{}|]|@\(|(?<![^\s|])as(?!\S)")
SUBTYPE = re.compile(r"[\w+.*-]+")
END_OF_SUBTYPE = re.compile(r"[;|}]|@\(|(?<!\S)as(?!\S)")
"""Where bare words end: at a symbol, an annotation, or the word `as` by itself."""


def parse(text: str) -> nodes.Constant | nodes.Binding | nodes.Text:
    """Return what `text` means: no binding, wholly one, or some spliced into it."""
    if OPEN not in text:
        return nodes.Constant(text)
    parts: list[str | nodes.Binding] = []
    position = 0
    while (opening := text.find(OPEN, position)) >= 0:
        before, escaped = _unescaped(text[position:opening])
        parts.append(before)
        if escaped:
            parts.append(OPEN)
            position = opening + len(OPEN)
        else:
            cursor = Cursor(text, opening)
            parts.append(_binding(cursor))
            position = cursor.position
    match nodes.spliced([*parts, text[position:]]):
        case nodes.Text(parts=(nodes.Binding() as binding,)):
            return binding
        case made:
            return made


def _unescaped(before: str) -> tuple[str, bool]:
    r"""Return the text before a `${` and whether that is escaped: `\${` is a literal, `\\${` a backslash and a binding."""
    kept = before.rstrip("\\")
    backslashes = len(before) - len(kept)
    return kept + "\\" * (backslashes // 2), backslashes % 2 == 1


def _binding(cursor: Cursor) -> nodes.Binding:
    with cursor.deeper():
        opening = cursor.open_binding()
        expr = parse_expression(cursor)
        cast = _cast(cursor)
        default = _default(cursor)
        final_cast = _cast(cursor, after_default=default is not None)
        annotations = _annotations(cursor)
        end = cursor.close_binding()
    return nodes.Binding(expr, (opening, end), cast, default, final_cast, annotations)


# --- types -----------------------------------------------------------------------------------------------------------


def _cast(cursor: Cursor, after_default: bool = False) -> nodes.Type | None:
    if not cursor.take_word("as"):
        return None
    token = cursor.peek()
    if token.kind != "name":
        raise cursor.unexpected("a type after 'as'", "write as text, as integer, as json…")
    cursor.take()
    if token.text in nodes.FORMATS - nodes.TYPES:
        hint = f"write the type before it: as {nodes.FORMAT_OF[token.text]};{token.text}"
        raise LanguageError(f"'{token.text}' is a format, not a type", token.at, hint)
    remark = "; quote a default that has the word 'as' in it" if after_default else ""
    _check_known(token.text, token.at, "type", nodes.TYPES, nodes.ELSEWHERE, remark)
    subtype = _subtype(cursor, token.text) if cursor.take_next("/") else None
    if token.text == "select" and subtype is None:
        raise LanguageError("select needs its choices", token.at, "write select/a,b,c")
    format = _format(cursor) if cursor.take_next(";") else None
    return nodes.Type(token.text, (token.at[0], cursor.position), subtype, format)


def _subtype(cursor: Cursor, name: str) -> str:
    start = cursor.position
    end = _end_of_words(END_OF_SUBTYPE, cursor.text, start)
    written = cursor.text[start:end]
    cursor.position = start + len(written.rstrip())
    if name == "select":
        return _choices(written, (start, max(cursor.position, start)))
    subtype = SUBTYPE.match(written)
    if subtype is None:
        cursor.position = start
        raise cursor.unexpected(f"a kind of {name} after '/'", f"write {name}/png or {name} alone")
    cursor.position = start + subtype.end()
    return subtype[0]


def _choices(written: str, at: Offsets) -> str:
    choices = [choice.strip() for choice in written.split(",")]
    if not all(choices):
        raise LanguageError("a choice of this select is empty", at, "write select/a,b,c")
    return ",".join(choices)


def _format(cursor: Cursor) -> str:
    start = skip_space(cursor.text, cursor.position)
    end = name_end(cursor.text, start)
    if end == start:
        *formats, last = sorted(nodes.FORMATS)
        raise cursor.unexpected("a format after ';'", f"write {', '.join(formats)} or {last}")
    cursor.position = end
    format = cursor.text[start:end]
    _check_known(format, (start, end), "format", nodes.FORMATS)
    return format


def _check_known(
    word: str, at: Offsets, what: str, known: frozenset[str], elsewhere: Mapping[str, str] = NOTHING, remark: str = ""
) -> None:
    if word in known:
        return
    meant = elsewhere.get(word.casefold()) or closest(word, known)
    suggestion = f"did you mean '{meant}'? " if meant else ""
    hint = f"{suggestion}{what}s are {', '.join(sorted(known))}{remark}"
    raise LanguageError(f"unknown {what} '{shortened(word)}'", at, hint)


# --- defaults --------------------------------------------------------------------------------------------------------


def _default(cursor: Cursor) -> nodes.Default | None:
    if not cursor.take_symbol("|"):
        return None
    start = skip_space(cursor.text, cursor.position)
    if cursor.text.startswith(OPEN, start):
        cursor.position = start
        return _binding(cursor)
    if cursor.text[start : start + 1] in ("'", '"'):
        token = cursor.take()
        return nodes.Literal_(token.value, token.at)
    return _bare_words(cursor, start)


def _bare_words(cursor: Cursor, start: int) -> nodes.Literal_:
    text = cursor.text
    end = _end_of_words(END_OF_DEFAULT, text, start)
    words = text[start:end].rstrip()
    cursor.position = start + len(words)
    follows = text[end : end + 1]
    if end == len(text):
        raise cursor.unclosed()
    if follows == "{" or words.startswith("["):
        raise _container_default(words, (start, end + 1) if follows == "{" else (start, end))
    if not words:
        hint = 'write | "" for empty text, | null for null'
        raise LanguageError("expected a default after '|', got nothing", (start, end + 1), hint)
    if follows == "|":
        raise LanguageError(
            "a binding has one default", (end, end + 1), f'write | ${{… | …}} for a second, or quote it: | "{words} |…"'
        )
    return nodes.Literal_(typed(words), (start, cursor.position))


def _container_default(words: str, at: Offsets) -> LanguageError:
    if words.startswith("["):
        return LanguageError("a default can't be a list as it stands", at, "write it as JSON text: | '[]' as list")
    if not words:
        return LanguageError("a default can't be a mapping as it stands", at, "write it as JSON text: | '{}' as object")
    return LanguageError("a default is one binding or plain words, not both", at, 'quote text with braces: | "a {b}"')


def _end_of_words(ends: re.Pattern[str], text: str, start: int) -> int:
    end = ends.search(text, start)
    return end.start() if end else len(text)


# --- annotations -----------------------------------------------------------------------------------------------------


def _annotations(cursor: Cursor) -> tuple[nodes.Annotation, ...]:
    annotations: list[nodes.Annotation] = []
    while cursor.peek().text == "@(":
        annotations.append(_annotation(cursor))
    token = cursor.peek()
    if annotations and token.text in ("|", "as"):
        hint = "annotations come last: write @(…) after the type and the default"
        raise LanguageError(f"expected '}}', got '{token.text}'", token.at, hint)
    return tuple(annotations)


def _annotation(cursor: Cursor) -> nodes.Annotation:
    opening = cursor.take()
    word = cursor.peek()
    if word.kind != "name":
        raise cursor.unexpected("a word after '@('", "write @(description What to ask)")
    cursor.take()
    _check_known(word.text, word.at, "annotation", ANNOTATIONS)
    text, end = _annotation_text(cursor, opening.at[0])
    if not text:
        raise LanguageError("this annotation says nothing", (opening.at[0], end), f"write @({word.text} …)")
    cursor.position = end
    return nodes.Annotation(word.text, text, (opening.at[0], end))


def _annotation_text(cursor: Cursor, opening: int) -> tuple[str, int]:
    r"""Return the text up to the `)` that closes the annotation, and where that ends; `\(`, `\)` and `\\` are literal."""
    text, position, depth = cursor.text, cursor.position, 1
    characters: list[str] = []
    while position < len(text):
        character = text[position]
        if character == "\\" and text[position + 1 : position + 2] in ("(", ")", "\\"):
            position += 1
            character = text[position]
        elif character in "()":
            depth += 1 if character == "(" else -1
            if depth == 0:
                return "".join(characters).strip(), position + 1
        characters.append(character)
        position += 1
    raise LanguageError("this annotation is never closed", (opening, opening + 2), "end it with )")
