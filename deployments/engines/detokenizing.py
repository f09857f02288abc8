"""Token ids in, one after another; text out, whole characters only, and nothing beyond a stop string."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Protocol

REPLACEMENT = "\ufffd"
"""What decoding shows in place of a character whose bytes aren't all there."""

WINDOW = 16
"""Tokens of context that a token without a stream of its own is decoded behind."""


class Detokenizer(Protocol):
    """All texts that it gives, joined, are what the tokenizer decodes from all tokens at once."""

    def feed(self, token: int) -> str:
        """Return the text that is complete with this token."""
        ...

    def end(self) -> str:
        """Return what is left: a character that was cut."""
        ...


def detokenizer(tokenizer: Any, special: bool = False) -> Detokenizer:
    """Return a detokenizer for one answer; `special` keeps special tokens in the text."""
    if getattr(tokenizer, "is_fast", False):
        return Streamed(tokenizer, special)
    return Windowed(tokenizer, special)


class Streamed:
    """The tokenizers library's own stream."""

    def __init__(self, tokenizer: Any, special: bool = False) -> None:
        from tokenizers.decoders import DecodeStream

        self._tokenizer = tokenizer
        self._special = special
        self._stream = DecodeStream(skip_special_tokens=not special)
        self._backend = tokenizer.backend_tokenizer
        self._tokens: list[int] = []
        self._given = 0
        self._held = False

    def feed(self, token: int) -> str:
        self._tokens.append(token)
        text = self._stream.step(self._backend, token)
        self._held = text is None
        if text is None:
            return ""
        self._given += len(text)
        return text

    def end(self) -> str:
        if not self._held:
            return ""
        return _decode(self._tokenizer, self._tokens, self._special)[self._given :]


class Windowed:
    """Tokenizers written in Python: each token is decoded behind the last few, and what was known is cut off."""

    def __init__(self, tokenizer: Any, special: bool = False) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._tokens: list[int] = []
        self._start = 0
        self._known = 0
        self._given = 0

    def feed(self, token: int) -> str:
        self._tokens.append(token)
        window = self._window()
        text = window[self._known :]
        if not text or text.endswith(REPLACEMENT):
            return ""
        self._given += len(text)
        self._known = len(window)
        if len(self._tokens) - self._start > 2 * WINDOW:
            self._start = len(self._tokens) - WINDOW
            self._known = len(self._window())
        return text

    def end(self) -> str:
        return _decode(self._tokenizer, self._tokens, self._special)[self._given :]

    def _window(self) -> str:
        return _decode(self._tokenizer, self._tokens[self._start :], self._special)


def _decode(tokenizer: Any, tokens: Sequence[int], special: bool) -> str:
    return tokenizer.decode(tokens, skip_special_tokens=not special, clean_up_tokenization_spaces=False)


class Stops:
    """Text passes until one of the stop strings is complete; what may be the beginning of one is held back."""

    def __init__(self, stops: Sequence[str]) -> None:
        self._stops = tuple(stop for stop in stops if stop)
        self._held = ""

    def feed(self, text: str) -> tuple[str, bool]:
        """Return the text that can go, and whether a stop string has come."""
        if not self._stops:
            return text, False
        text, self._held = self._held + text, ""
        found = [(at + len(stop), at) for stop in self._stops if (at := text.find(stop)) >= 0]
        if found:
            return text[: min(found)[1]], True
        going = len(text) - max(_overlap(text, stop) for stop in self._stops)
        self._held = text[going:]
        return text[:going], False

    def end(self) -> str:
        """Return what was held back and turned out to be no stop string."""
        held, self._held = self._held, ""
        return held


def _overlap(text: str, stop: str) -> int:
    """Return how many of the last characters of the text could begin the stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
