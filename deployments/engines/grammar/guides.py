"""A JSON Schema and a tokenizer -> a Guide, which says after each token what may come next."""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from threading import Lock
from typing import TYPE_CHECKING, Any

from deployments.engines.grammar.blanks import OVERRIDES, require_blanks
from deployments.engines.grammar.dialect import Unenforceable
from deployments.engines.grammar.vocabulary import read_vocabulary
from graphs.errors import InvalidInput

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from torch import Tensor

MAX_SCHEMA = 256 * 1024
"""The longest schema that is looked at, in characters of JSON."""
CACHED = 64
"""How many compiled grammars an engine keeps, the latest used."""

_UNWRITABLE = "the model's vocabulary has no way to write such an answer"
_IMPOSSIBLE = "no text can ever fit it"


class Grammars:
    """The grammars of one engine's tokenizer, compiled once each, off the event loop."""

    def __init__(self, tokenizer: Any, eos_ids: Iterable[int]) -> None:
        self._tokenizer = tokenizer
        self._eos_ids = tuple(eos_ids)
        self._lock = Lock()
        self._vocabulary: LLTokenizer | None = None
        self._compiled: OrderedDict[str, LLMatcher] = OrderedDict()

    async def compile(self, schema: Mapping[str, Any]) -> Guide:
        """Return a new row's guide; {} is any JSON object. InvalidInput when the schema can't be enforced."""
        try:
            return await asyncio.to_thread(self._guide, schema)
        except Unenforceable as cause:
            raise refusal(cause) from None

    async def judge(self, schema: Mapping[str, Any]) -> None:
        """Raise Unenforceable where `compile` would refuse."""
        await asyncio.to_thread(self._guide, schema)

    def _guide(self, schema: Mapping[str, Any]) -> Guide:
        text = _as_text(schema or {"type": "object"})
        # One at a time: the first needs the vocabulary, which takes longest, and the same schema often comes in crowds.
        with self._lock:
            matcher = self._compiled.get(text)
            if matcher is None:
                matcher = self._compiled[text] = self._compile(text)
                if len(self._compiled) > CACHED:
                    self._compiled.popitem(last=False)
            self._compiled.move_to_end(text)
            return Guide(matcher.deep_copy())

    def _compile(self, text: str) -> LLMatcher:
        from llguidance import LLMatcher

        require_blanks()
        if self._vocabulary is None:
            self._vocabulary = self._read()
        try:
            grammar = LLMatcher.grammar_from_json_schema(text, overrides=OVERRIDES)
        except ValueError as error:
            raise Unenforceable(str(error)) from None
        matcher = LLMatcher(self._vocabulary, grammar, log_level=0)
        _check(matcher)
        if not any(matcher.compute_bitmask()) or matcher.is_error():
            raise Unenforceable(_IMPOSSIBLE if self._tokenizer is None else _UNWRITABLE)
        return matcher

    def _read(self) -> LLTokenizer:
        from llguidance import LLTokenizer

        if self._tokenizer is None:
            return LLTokenizer("byte")
        vocabulary: Any = read_vocabulary(self._tokenizer, self._eos_ids)
        return LLTokenizer(vocabulary, eos_token=list(self._eos_ids))


JUDGE = Grammars(None, ())
"""Grammars over bytes, which tell whether a schema can be enforced before a model is asked; whichever its tokenizer."""


class Guide:
    """One row's place in its grammar."""

    def __init__(self, matcher: LLMatcher) -> None:
        self._matcher = matcher

    def mask(self, logits: Tensor) -> None:
        """Set what must not come next to -inf, in place; `logits` is one row's, as wide as the model makes it."""
        import numpy as np
        import torch

        packed = np.frombuffer(self._matcher.compute_bitmask(), dtype=np.uint8)
        self._check()
        banned = torch.from_numpy(np.unpackbits(~packed, bitorder="little").view(np.bool_))
        known = min(len(banned), len(logits))
        logits[:known].masked_fill_(banned[:known].to(logits.device), float("-inf"))
        logits[known:] = float("-inf")

    def accept(self, token: int) -> bool:
        """Take the token that was sampled; True when the JSON is complete, and the row with it."""
        if not self._matcher.consume_token(token):
            self._check()
        return self._matcher.is_stopped()

    def _check(self) -> None:
        try:
            _check(self._matcher)
        except Unenforceable as cause:
            raise refusal(cause) from None


def refusal(cause: Unenforceable) -> InvalidInput:
    """Return what the caller is told whose answer should have fitted the schema."""
    return InvalidInput(
        f"this JSON Schema can't be enforced: {cause}; simplify it, or write response_format: {{type: json_object}}",
        field="response_format",
    )


def _as_text(schema: Mapping[str, Any]) -> str:
    try:
        text = json.dumps(schema, ensure_ascii=False, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise Unenforceable(f"it is no JSON ({error})") from None
    try:
        text.encode()
    except UnicodeEncodeError:
        raise Unenforceable("there is half of a surrogate pair in it, which is no character") from None
    if len(text) > MAX_SCHEMA:
        raise Unenforceable(f"it is {len(text)} characters long, and {MAX_SCHEMA} is the most")
    return text


def _check(matcher: LLMatcher) -> None:
    if matcher.is_error():
        raise Unenforceable(_cause(matcher.get_error().strip()))


def _cause(error: str) -> str:
    """Say in one line what the library says in many, without its advice to programmers and its inner state."""
    if error == "NoExtensionBias":
        return _UNWRITABLE
    first, _, rest = error.partition("\n")
    if first == "regex parse error:":
        pattern, reason = rest.lstrip().partition("\n")[0], rest.rpartition("error: ")[2]
        return f"the pattern {pattern}: {reason}"
    return first.partition(". Enable ")[0]
