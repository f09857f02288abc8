"""Token ids in, one after another; text out, whole characters only, and nothing beyond a stop string."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from typing import Any, Protocol

from deployments.engines.tokenizers import backend, byte_tokens, decoder_steps, special_tokens

REPLACEMENT = "\ufffd"
"""What decoding shows in place of a character whose bytes aren't all there."""

WINDOW = 16
"""Tokens of context behind which a tokenizer that is written in Python decodes the next one."""


class Detokenizer(Protocol):
    """All texts that it returns, joined, are what the tokenizer decodes from all tokens at once.

    There is one exception, because text that was sent can't be taken back: where a tokenizer falls back on bytes and
    some bytes of a row are not characters, the tokenizer shows none of that row's characters; here the valid ones stay.
    """

    def feed(self, token: int) -> str:
        """Return the text that is complete with this token."""
        ...

    def end(self) -> str:
        """Return what is left: a character that was cut."""
        ...


class Detokenizers:
    """Makes the detokenizers of one tokenizer, one for each answer."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._special = special_tokens(tokenizer)
        self._backend = backend(tokenizer)
        self._bytes = byte_tokens(tokenizer) if "ByteFallback" in decoder_steps(tokenizer) else {}

    @property
    def special(self) -> tuple[str, ...]:
        """Return all tokens that are not text of an answer."""
        return tuple(self._special.values())

    def make(self, tags: Collection[str] = ()) -> Detokenizer:
        """Return a detokenizer that shows no special tokens but these."""
        shown = {id for id, name in self._special.items() if name in tags}
        made: Detokenizer
        if self._backend is None:
            made = WindowDetokenizer(self._tokenizer, special=bool(shown))
        else:
            made = StreamDetokenizer(self._tokenizer, self._backend, special=bool(shown))
        if self._bytes:
            made = ByteDetokenizer(made, self._bytes)
        return HidingDetokenizer(made, self._special.keys() - shown)


class HidingDetokenizer:
    """Leaves out tokens that are not text."""

    def __init__(self, inner: Detokenizer, hidden: Collection[int]) -> None:
        self._inner = inner
        self._hidden = hidden
        self.end = inner.end

    def feed(self, token: int) -> str:
        return "" if token in self._hidden else self._inner.feed(token)


class ByteDetokenizer:
    """Passes tokens that are single bytes on to the tokenizer one whole character at a time.

    A byte that is not part of a character would change the characters before it. It is shown as REPLACEMENT, and the
    tokenizer gets the byte of another character in its place, so that the text that follows is decoded behind something.
    """

    STAND_IN = "?"

    def __init__(self, inner: Detokenizer, bytes_of: Mapping[int, int]) -> None:
        self._inner = inner
        self._bytes_of = bytes_of
        self._stand_in = next((id for id, byte in bytes_of.items() if byte == ord(self.STAND_IN)), None)
        self._pending: list[int] = []

    def feed(self, token: int) -> str:
        if token not in self._bytes_of:
            return self._broken() + self._inner.feed(token)
        before = self._broken() if self._pending and self._is_character(token) is False else ""
        complete = self._is_character(token)
        self._pending.append(token)
        if not complete:
            return before + (self._broken() if complete is False else "")
        tokens, self._pending = self._pending, []
        return before + "".join(map(self._inner.feed, tokens))

    def end(self) -> str:
        return self._broken() + self._inner.end()

    def _is_character(self, token: int) -> bool | None:
        """Return whether the pending bytes and this one are a character; None while more bytes may complete one."""
        try:
            bytes(self._bytes_of[each] for each in (*self._pending, token)).decode()
        except UnicodeDecodeError as error:
            return None if error.reason == "unexpected end of data" else False
        return True

    def _broken(self) -> str:
        """Give the pending bytes up."""
        count, self._pending = len(self._pending), []
        if self._stand_in is None:
            return REPLACEMENT * count
        shown = [self._inner.feed(self._stand_in).removesuffix(self.STAND_IN) for _ in range(count)]
        return "".join(f"{text}{REPLACEMENT}" for text in shown)


class _Reading:
    """The tokens of an answer so far, and how many characters of their text were given."""

    def __init__(self, tokenizer: Any, special: bool) -> None:
        self._tokenizer = tokenizer
        self._special = special
        self._tokens: list[int] = []
        self._given = 0

    def _text(self, start: int = 0) -> str:
        return self._tokenizer.decode(
            self._tokens[start:], skip_special_tokens=not self._special, clean_up_tokenization_spaces=False
        )

    def end(self) -> str:
        return self._text()[self._given :]


class StreamDetokenizer(_Reading):
    """The tokenizers library's own stream."""

    def __init__(self, tokenizer: Any, inner: Any, special: bool) -> None:
        from tokenizers.decoders import DecodeStream

        super().__init__(tokenizer, special)
        self._stream = DecodeStream(skip_special_tokens=not special)
        self._inner = inner
        self._held = False

    def feed(self, token: int) -> str:
        self._tokens.append(token)
        text = self._stream.step(self._inner, token)
        self._held = text is None
        self._given += len(text or "")
        return text or ""

    def end(self) -> str:
        return super().end() if self._held else ""


class WindowDetokenizer(_Reading):
    """For tokenizers in Python: decodes each token behind the last few, and cuts off the text that is known already."""

    _start = 0
    _known = 0

    def feed(self, token: int) -> str:
        self._tokens.append(token)
        window = self._text(self._start)
        text = window[self._known :]
        if not text or text.endswith(REPLACEMENT):
            return ""
        self._given += len(text)
        self._known = len(window)
        if len(self._tokens) - self._start > 2 * WINDOW:
            self._start = len(self._tokens) - WINDOW
            self._known = len(self._text(self._start))
        return text


class _Holding:
    """Looks for words in text that comes in pieces; text that may begin one of them is held back."""

    def __init__(self, words: Collection[str]) -> None:
        self._words = tuple(filter(None, words))
        self._firsts = frozenset(word[0] for word in self._words)
        self._held = ""

    def end(self) -> str:
        """Return the text that was held back and did not become one of the words."""
        held, self._held = self._held, ""
        return held

    def _find(self, text: str) -> tuple[int, int] | None:
        """Return where the word that is complete first ends, and where it begins."""
        return min(((at + len(word), at) for word in self._words if (at := text.find(word)) >= 0), default=None)

    def _hold(self, text: str) -> str:
        going = len(text) - max(_overlap(text, word) for word in self._words)
        self._held = text[going:]
        return text[:going]


class Stops(_Holding):
    """Lets text pass until a stop string is complete."""

    found: str | None = None
    """The stop string that came."""

    def feed(self, text: str) -> tuple[str, bool]:
        """Return the text that can be sent, and whether a stop string has come."""
        if not self._words:
            return text, False
        text = self.end() + text
        found = self._find(text)
        if found is None:
            return self._hold(text), False
        end, start = found
        self.found = text[start:end]
        return text[:start], True


class Without(_Holding):
    """Removes these words from text."""

    def feed(self, text: str) -> str:
        rest, passed = self.end() + text, ""
        if self._firsts.isdisjoint(rest):
            return rest
        while found := self._find(rest):
            end, start = found
            passed, rest = passed + rest[:start], rest[end:]
        return passed + self._hold(rest)


def _overlap(text: str, stop: str) -> int:
    """Return how many of the last characters of the text could begin the stop string."""
    longest = min(len(text), len(stop) - 1)
    return next((size for size in range(longest, 0, -1) if text.endswith(stop[:size])), 0)
