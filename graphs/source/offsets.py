"""Find where in its source each character of a scalar's value stands."""

from __future__ import annotations

from functools import lru_cache

from graphs.source.text import Source, Span


@lru_cache(maxsize=64)  # a value with many bindings is asked for each of them
def offsets_in_source(source: Source, span: Span, value: str) -> tuple[int, ...]:
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
    return (*offsets, min(at, len(text)))


def _seek(text: str, at: int, char: str, style: str) -> int:
    """Skip what the value doesn't have, to where `char` is written."""
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
