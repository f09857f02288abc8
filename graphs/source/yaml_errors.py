"""What a YAML parser says is wrong -> a mistake that says where, and what to write."""

from __future__ import annotations

import re
import unicodedata
from dataclasses import dataclass

import yaml

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
    """Tell the first character that can't stand in YAML; whether there is one."""
    found = FORBIDDEN.search(source.text)
    if found is None:
        return False
    mistakes.add(
        source.span(found.start(), found.end()),
        f"a character that YAML doesn't allow: U+{ord(found[0]):04X}",
        "remove it, or write it as an escape in a double-quoted string",
    )
    return True


def report_odd_space(source: Source, at: int, path: str, mistakes: Mistakes) -> None:
    """Tell a character that only looks like a space, where YAML wants one."""
    message, hint = _odd_space_words(source.text[at])
    mistakes.add(source.span(at, at + 1), message, hint, path)


def _odd_space_words(character: str) -> tuple[str, str]:
    name = unicodedata.name(character, "").lower()
    said = f"U+{ord(character):04X} ({name})" if name else f"U+{ord(character):04X}"
    return f"{said} only looks like a space", "type a plain space instead; text copied from elsewhere may hold others"


def spaced(text: str) -> str | None:
    """Return `key: value` for `key:value`, None for anything else."""
    found = UNSPACED.fullmatch(text)
    return f"{found[1]}: {_shortened(found[2])}" if found else None


def separated(text: str) -> str | None:
    """Return `key: value` for `key value`, None for anything else."""
    found = UNSEPARATED.fullmatch(text)
    return f"{found[1]}: {_shortened(found[2])}" if found else None


def _shortened(value: str) -> str:
    return value if len(value) <= 40 else f"{value[:39]}…"


@dataclass(frozen=True)
class _Problem:
    """What the parser said: `context` is what it was reading, begun at `begun`; the problem came at `at`."""

    source: Source
    context: str
    problem: str
    begun: int
    at: int

    @property
    def line(self) -> str:
        return self.source.lines[self.source.position(self.at)[0] - 1]

    @property
    def after_quote(self) -> bool:
        before = self.line[: self.source.position(self.at)[1] - 1].rstrip()
        return before[-1:] in ("'", '"')


Told = tuple[int, str, str | None]
"""Where, what, and what to write."""


def report_yaml_error(error: yaml.MarkedYAMLError, source: Source, mistakes: Mistakes) -> None:
    """Tell what the parser stumbled over."""
    at = error.problem_mark or error.context_mark
    end = min(at.index if at is not None else 0, len(source.text))
    begun = min(error.context_mark.index if error.context_mark is not None else end, len(source.text))
    problem = _Problem(source, error.context or "", error.problem or "this is not YAML", begun, end)
    told = _odd_space(problem) or _in_collection(problem) or _without_colon(problem) or _in_scalar(problem)
    place, message, hint = told or _elsewhere(problem)
    mistakes.add(source.span(place, place + 1), message, hint)


def _in_collection(problem: _Problem) -> Told | None:
    tab = _tab(problem)
    if tab is not None:
        return tab, "a tab where YAML wants spaces", "indent with spaces"
    if "flow" in problem.context or "flow" in problem.problem:
        quoted = _unquoted_binding(problem)
        if quoted is not None:
            return quoted, "inside { } and [ ] a binding must be quoted", 'write "${…}", with quotes around it'
        opening = max(problem.source.text.rfind(char, 0, problem.begun + 1) for char in "[{")
        bracket = problem.source.text[max(opening, 0)]
        closing = "]" if bracket == "[" else "}"
        return max(opening, 0), f"this {bracket} is never closed, or a ',' is missing in it", f"end it with {closing}"
    if problem.after_quote and ("expected <" in problem.problem or "expected key" in problem.problem):
        return problem.at, "something stands after the closing quote", "remove it, or put all of the value in quotes"
    if "expected <block end>" in problem.problem or "did not find expected key" in problem.problem:
        return (
            problem.at,
            "this line is indented unlike its neighbours",
            "give keys of one mapping the same indentation",
        )
    if "did not find expected '-' indicator" in problem.problem:
        return (
            problem.at,
            "this line is indented unlike its neighbours",
            "begin each item of the list with - at one level",
        )
    return None


def _in_scalar(problem: _Problem) -> Told | None:
    if "quoted scalar" in problem.context:
        if "escape" in problem.problem or "hexdecimal" in problem.problem:
            at = max(problem.source.text.rfind("\\", 0, problem.at + 1), problem.begun)
            return at, "an escape that YAML doesn't know", r"write \\ for a backslash, or use single quotes"
        return problem.begun, "this quote is never closed", "end it with the same quote"
    if "mapping values are not allowed" in problem.problem:
        hint = "indent the line to the level of its neighbours, or quote the value if the ':' belongs to it"
        before = problem.line[: problem.source.position(problem.at)[1] - 1]
        return problem.at, "a ':' where no key can be", "put the whole value in quotes" if "${" in before else hint
    if "could not find expected ':'" in problem.problem:
        return problem.begun, "a key without its ':'", "write `key: value`"
    if "cannot start any token" in problem.problem or "expected node content" in problem.problem:
        character = problem.source.text[problem.at : problem.at + 1]
        return problem.at, f"a value can't begin with {character}", "put it in quotes"
    if "block scalar" in problem.context:
        return problem.at, "after | or > the text begins on the next line", "put the value in quotes if it is one line"
    return None


def _elsewhere(problem: _Problem) -> Told:
    if "block sequence entries are not allowed" in problem.problem:
        return problem.at, "a list can't begin here", "write `- ` on a line of its own below the key"
    if "alias" in problem.context or "anchor" in problem.context:
        hint = "write &name or *name, or quote a value that begins with & or *"
        return problem.begun, "a name should follow here", hint
    if "directive" in problem.context:
        return problem.begun, "a line can't begin with %", "put the value in quotes"
    if "<document start>" in problem.problem:
        return problem.at, "the document has ended before this", "write `key: value` lines, all keys at one level"
    return problem.at, f"not valid YAML: {problem.problem}", problem.context or None


def _odd_space(problem: _Problem) -> Told | None:
    number = problem.source.position(problem.at)[0]
    for line in dict.fromkeys((problem.source.position(problem.begun)[0], max(number - 1, 1), number)):
        if found := ODD_SPACE.match(problem.source.lines[line - 1]):
            at = problem.source.line_start(line) + found.start(1 if found[1] else 2)
            return at, *_odd_space_words(problem.source.text[at])
    return None


def _without_colon(problem: _Problem) -> Told | None:
    """Tell the line that YAML takes for text, as no ':' with a space after it is there; it stumbles only later."""
    if "mapping values are not allowed" in problem.problem:
        number = _text_above(problem)
    elif "could not find expected ':'" in problem.problem:
        number = problem.source.position(problem.begun)[0]
    else:
        return None
    if number is None:
        return None
    line = problem.source.lines[number - 1]
    text = line.lstrip(" -")
    at = problem.source.line_start(number) + len(line) - len(text)
    text = text.rstrip()
    if unspaced := UNSPACED.fullmatch(text):
        return at + unspaced.end(1), "a space is missing after this ':'", f"write `{spaced(text)}`"
    meant = separated(text) or f"{_shortened(text)}:"
    if "could not find" in problem.problem:
        return at, "a key without its ':'", f"write `{meant}`"
    hint = f"write `{meant}` if it is a key, or put all of the text in quotes"
    return at, "this line has no ':', and a line with a key follows it", hint


def _text_above(problem: _Problem) -> int | None:
    """Return the number of the line that begins the text which runs on into the problem's; None if a key begins it."""
    number, column = problem.source.position(problem.at)
    if KEY.search(problem.line[: column - 1]):
        return None
    first: int | None = None
    for above in range(number - 1, 0, -1):
        text = problem.source.lines[above - 1].strip()
        if not text or text.startswith("#"):
            continue
        if KEY.search(text):
            return first if text.endswith(":") or ": #" in text else None
        first = above
        if text.startswith("- "):
            break
    return first


def _tab(problem: _Problem) -> int | None:
    """Return where a tab indents the line of the problem, or stands at the problem itself."""
    if problem.source.text[problem.at : problem.at + 1] == "\t":
        return problem.at
    indent = problem.line[: len(problem.line) - len(problem.line.lstrip())]
    if "\t" not in indent:
        return None
    return (
        problem.source.span(problem.at, problem.at).start
        - problem.source.position(problem.at)[1]
        + 1
        + indent.index("\t")
    )


def _unquoted_binding(problem: _Problem) -> int | None:
    text = problem.source.text
    found = IN_BRACES.search(text, problem.begun, max(problem.at + 2, problem.begun))
    return found.end() - 2 if found else None
