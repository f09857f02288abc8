"""The log-probabilities that a model gave to tokens -> what OpenAI writes of them: each token's text, bytes and likeliest others."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

from deployments.engines.grammar.vocabulary import spelling
from deployments.engines.tokenizers import added_tokens, special_tokens

LEAST = -9999.0
"""In place of minus infinity, which JSON can't say; OpenAI's own."""


class TokenScore(NamedTuple):
    """A token that was drawn, its log-probability, and the likeliest tokens with theirs, from the first on."""

    token: int
    logprob: float
    likeliest: Sequence[tuple[int, float]] = ()


class TokenTexts:
    """What each token of one tokenizer is by itself."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer
        self._spelling = spelling(tokenizer) or str.encode
        self._plain = {*added_tokens(tokenizer), *special_tokens(tokenizer)}
        """Tokens whose names are their text."""

    def entries(self, scores: Iterable[TokenScore]) -> list[dict[str, Any]]:
        """Return an entry of OpenAI's `logprobs.content` for each token."""
        return [
            {**self._entry(token, logprob), "top_logprobs": [self._entry(*each) for each in likeliest]}
            for token, logprob, likeliest in scores
        ]

    def _entry(self, token: int, logprob: float) -> dict[str, Any]:
        said = self._bytes(token)
        return {"token": said.decode(errors="replace"), "logprob": max(logprob, LEAST), "bytes": list(said)}

    def _bytes(self, token: int) -> bytes:
        name: str | bytes | None = self._tokenizer.convert_ids_to_tokens(token)
        if name is None:  # a place of the model's vocabulary that its tokenizer doesn't use
            return b""
        if isinstance(name, bytes):
            return name
        return name.encode(errors="ignore") if token in self._plain else self._spelling(name)
