"""The one file that knows python-dotenv: the text of a `.env` in, its variables out; lines that are none are mistakes.

Its public `dotenv_values` logs a line that it can't read and goes on without the variable. Its parser, which is not
public, says which line that is: hence this file.
"""

from __future__ import annotations

import re
from io import StringIO

from dotenv.parser import parse_stream

from graphs.source.text import Mistakes, Source


def variables(source: Source, mistakes: Mistakes) -> dict[str, str]:
    """Return the variables as they are written, nothing in them replaced; no message shows a value."""
    shown = Source(source.name, "\n".join(map(_without_value, source.lines)))
    known: dict[str, str] = {}
    for statement in parse_stream(StringIO(source.text)):
        text = statement.original.string
        if statement.error:
            line = statement.original.line + text[: len(text) - len(text.lstrip())].count("\n")
            start, hint = shown.line_start(line), "close what is quoted; a comment begins with #"
            mistakes.add(shown.span(start, start + len(shown.lines[line - 1])), "expected NAME=value", hint)
        elif statement.key is not None and statement.value is not None:
            known[statement.key] = statement.value
    return known


def _without_value(line: str) -> str:
    """Return what a message may show of a line that may hold a secret."""
    name = re.match(r"\s*(export\s+)?\w+\s*=", line)
    return f"{name[0]}…" if name else "…" if line.strip() else ""
