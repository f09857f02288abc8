"""An error of the YAML parser in; a mistake out, with its place and what to write."""

from __future__ import annotations

import re
import unicodedata
from typing import NamedTuple

import yaml

from graphs.language.tokens import shortened
from graphs.source.pyyaml import PROBLEMS, Problem
from graphs.source.text import FOREIGN_SPACE, Mistakes, Source

FORBIDDEN = re.compile("[^\t\n\r\x20-\x7e\x85\xa0-\ud7ff\ue000-\ufffd\U00010000-\U0010ffff]")

IN_BRACES = re.compile(r"[{\[,:]\s*\$\{|\[\s*\$\{")
"""A binding that begins a value inside `{ }` or `[ ]`, where YAML takes its brace for its own."""

ODD_SPACE = re.compile(
    rf"(?:[ ]|-[ ])*(?:({FOREIGN_SPACE.pattern})\s*[\w.-]+:(?:\s|$)|[\w.-]+:({FOREIGN_SPACE.pattern}))"
)
"""A key with what only looks like a space before it, or after its ':'."""

UNSPACED = re.compile(r"([A-Za-z_][\w.-]*):(?!//)([^\s:].*)")
"""A key and its value without a space between them, which YAML takes for text."""
UNSEPARATED = re.compile(r"([A-Za-z_][\w.-]*)[ ]+([^\s:].*)")
KEY = re.compile(r":(?:\s|$)")


def report_character(source: Source, mistakes: Mistakes) -> bool:
    """Report the first character that can't stand in YAML, and return whether there is one."""
    found = FORBIDDEN.search(source.text)
    if found is None:
        return False
    message = f"a character that YAML doesn't allow: U+{ord(found[0]):04X}"
    hint = "remove it, or write it as an escape in a double-quoted string"
    mistakes.add(source.span(found.start(), found.end()), message, hint)
    return True


def odd_space_words(character: str) -> tuple[str, str]:
    """Return what is wrong with a character that only looks like a space, and what to write."""
    name = unicodedata.name(character, "").lower()
    said = f"U+{ord(character):04X} ({name})" if name else f"U+{ord(character):04X}"
    hint = "type a plain space instead; copied text may hold other characters that look like one"
    return f"{said} only looks like a space", hint


def spaced(text: str, written: re.Pattern[str] = UNSPACED) -> str | None:
    """Return `key: value` for `key:value` (with UNSEPARATED, for `key value`), None for anything else."""
    found = written.fullmatch(text)
    return f"{found[1]}: {shortened(found[2])}" if found else None


class _Stumble(NamedTuple):
    """An error of the parser: what it was reading began at `begun`, and the problem came at `at`."""

    source: Source
    problem: Problem | None
    begun: int
    at: int
    said: str

    @property
    def line(self) -> str:
        return self.source.lines[self.source.position(self.at)[0] - 1]

    @property
    def before(self) -> str:
        """The line up to the problem."""
        return self.line[: self.source.position(self.at)[1] - 1]


Found = tuple[int, str, str | None]
"""Where, what, and what to write."""


def report_yaml_error(error: yaml.MarkedYAMLError, source: Source, mistakes: Mistakes) -> None:
    """Report what the parser stumbled over."""
    at = error.problem_mark or error.context_mark
    end = min(at.index if at is not None else 0, len(source.text))
    begun = min(error.context_mark.index if error.context_mark is not None else end, len(source.text))
    context, said = error.context or "", error.problem or "this is not YAML"
    stumble = _Stumble(source, PROBLEMS.get((context, said)), begun, end, f"{said} {context}".strip())
    place, message, hint = _odd_space(stumble) or _tab(stumble) or _without_colon(stumble) or _by_problem(stumble)
    mistakes.add(source.span(place, place + 1), message, hint)


FROM_ITS_BEGINNING = (Problem.OPEN_QUOTE, Problem.NO_COLON, Problem.NO_NAME, Problem.DIRECTIVE)
"""Problems to be shown where what is wrong begins, not where the parser noticed."""


def _by_problem(stumble: _Stumble) -> Found:
    at, problem, text = stumble.at, stumble.problem, stumble.source.text
    if problem is None:
        return at, f"this is not valid YAML: {stumble.said}", None
    message, hint = problem.value
    match problem:
        case Problem.FLOW:
            quoted = IN_BRACES.search(text, stumble.begun, max(at + 2, stumble.begun))
            if quoted is not None:
                binding = "inside { } and [ ] a binding must be quoted", 'write "${…}", with quotes around it'
                return quoted.end() - 2, *binding
            opening = max(0, *(text.rfind(char, 0, stumble.begun + 1) for char in "[{"))
            return opening, message.format(text[opening]), hint.format("]" if text[opening] == "[" else "}")
        case Problem.NEIGHBOURS if stumble.before.rstrip()[-1:] in ("'", '"'):
            return at, "there is text after the closing quote", "remove it, or put the whole value in quotes"
        case Problem.COLON if "${" in stumble.before:
            return at, message, "put the whole value in quotes"
        case Problem.ESCAPE:
            return max(text.rfind("\\", 0, at + 1), stumble.begun), message, hint
        case Problem.FIRST_CHARACTER:
            return at, message.format(text[at : at + 1]), hint
        case _:
            return stumble.begun if problem in FROM_ITS_BEGINNING else at, message, hint


def _odd_space(stumble: _Stumble) -> Found | None:
    number = stumble.source.position(stumble.at)[0]
    for line in dict.fromkeys((stumble.source.position(stumble.begun)[0], max(number - 1, 1), number)):
        if found := ODD_SPACE.match(stumble.source.lines[line - 1]):
            at = stumble.source.line_start(line) + found.start(1 if found[1] else 2)
            return at, *odd_space_words(stumble.source.text[at])
    return None


def _without_colon(stumble: _Stumble) -> Found | None:
    """Find the line that YAML takes for text, as it has no ':' followed by a space; the parser stumbles only later."""
    if stumble.problem not in (Problem.COLON, Problem.NO_COLON):
        return None
    colon = stumble.problem is Problem.COLON
    number = _text_above(stumble) if colon else stumble.source.position(stumble.begun)[0]
    if number is None:
        return None
    line = stumble.source.lines[number - 1]
    text = line.lstrip(" -")
    at = stumble.source.line_start(number) + len(line) - len(text)
    text = text.rstrip()
    if unspaced := UNSPACED.fullmatch(text):
        return at + unspaced.end(1), "a space is missing after this ':'", f"write `{spaced(text)}`"
    meant = spaced(text, UNSEPARATED) or f"{shortened(text)}:"
    if not colon:
        return at, Problem.NO_COLON.value[0], f"write `{meant}`"
    hint = f"write `{meant}` if it is a key, or put the whole text in quotes"
    return at, "this line has no ':', and a line with a key follows it", hint


def _text_above(stumble: _Stumble) -> int | None:
    """Return the number of the line that begins the text which runs on into the problem's; None if a key begins it."""
    number = stumble.source.position(stumble.at)[0]
    if KEY.search(stumble.before):
        return None
    first: int | None = None
    for above in range(number - 1, 0, -1):
        text = stumble.source.lines[above - 1].strip()
        if not text or text.startswith("#"):
            continue
        if KEY.search(text):
            return first if text.endswith(":") or ": #" in text else None
        first = above
        if text.startswith("- "):
            break
    return first


def _tab(stumble: _Stumble) -> Found | None:
    """Find the tab that stands at the problem, or indents its line."""
    indent = stumble.line[: len(stumble.line) - len(stumble.line.lstrip())]
    if stumble.source.text[stumble.at : stumble.at + 1] == "\t":
        at = stumble.at
    elif "\t" in indent:
        at = stumble.at - len(stumble.before) + indent.index("\t")
    else:
        return None
    return at, "a tab where YAML wants spaces", "indent with spaces"
