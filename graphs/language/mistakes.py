"""The error of a text that doesn't parse: what was expected and what came, where, and what to write."""

from __future__ import annotations

from graphs.language.nodes import Offsets


class LanguageError(Exception):
    """A mistake in a `${…}`, at characters of the text that was parsed."""

    def __init__(self, message: str, at: Offsets, hint: str | None = None) -> None:
        super().__init__(message, at, hint)
        self.message = message
        self.at = at
        self.hint = hint

    def __str__(self) -> str:
        return f"{self.message}; {self.hint}" if self.hint else self.message
