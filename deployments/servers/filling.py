"""Text with `${port}` in it, and a port -> the text that is meant."""

from __future__ import annotations

from typing import cast

from deployments.upstream.request import Scalar, spell
from graphs.language import LanguageError, Scope, evaluate, parse, references

PORT = "port"


def fill(text: str, port: int) -> str:
    """Return text with its `${port}` filled in; any other `${…}` is the shell's, for the document wrote it as `\\${…}`."""
    if "${" not in text:
        return text
    try:
        template = parse(text)
    except LanguageError:
        return text
    if any(reference.name != PORT for reference in references(template)):
        return text
    return spell(cast("Scalar", evaluate(template, Scope({PORT: port}))))
