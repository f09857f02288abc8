"""A JSON Schema and a tokenizer -> a Guide, which says after each token what may come next.

Blanks between the tokens of JSON are limited: a model that has lost its way would fill its whole answer with them.
"""

from __future__ import annotations

import asyncio
import json
from collections import OrderedDict
from collections.abc import Iterable, Mapping
from functools import cache
from threading import Lock
from typing import TYPE_CHECKING, Any

from deployments.engines.grammar.dialect import Unenforceable, enforceable
from deployments.engines.grammar.vocabulary import read_vocabulary
from deployments.engines.tokenizers import changed
from graphs.errors import InvalidInput
from graphs.suggest import closest

if TYPE_CHECKING:
    from llguidance import LLMatcher, LLTokenizer
    from llguidance._lib import JsonCompileOptions
    from torch import Tensor

MAX_SCHEMA = 256 * 1024
"""The longest schema that is looked at, in characters of JSON."""
CACHED = 64
"""How many compiled grammars an engine keeps, the latest used."""
BLANK = r"\x20|\r?\n[\x20\x09]{0,64}"
"""A space, or a line break and an indentation."""
OVERRIDES: JsonCompileOptions = {"whitespace_pattern": BLANK}
"""For `grammar_from_json_schema`."""
KEYWORD: Mapping[str, Any] = {
    "x-guidance": {
        "whitespace_flexible": False, "item_separator": f",({BLANK})?", "key_separator": f":({BLANK})?",
    }
}  # fmt: skip
"""For the schema itself, where vLLM makes the grammar: blanks stand behind commas and colons alone.

Elsewhere too would be as with the other driver, but the library that vLLM brings repeats what it is told of them.
"""

_PROBE = json.dumps({"type": "object", "properties": {"a": {"type": "integer"}}})

TYPES = ("text", "json_object", "json_schema")
_KEYS = ("name", "description", "schema", "strict")
_WRITE = "write {type: json_schema, json_schema: {name: …, schema: {…}}}"

_UNWRITABLE = "the model's vocabulary has no way to write such an answer"
_IMPOSSIBLE = "no text can ever fit it"


@cache
def require_pattern() -> None:
    """Raise Unavailable where the installed llguidance does not limit blanks as OVERRIDES say."""
    from llguidance import LLMatcher

    own = LLMatcher.grammar_from_json_schema(_PROBE, overrides=OVERRIDES)
    if _allows(own, "{\n" + 65 * " ") or not _allows(own, '{\n\t"a": 1\n}'):
        raise changed("llguidance", "it does not limit blanks by 'whitespace_pattern'")


@cache
def require_keyword() -> None:
    """Raise Unavailable where the installed llguidance does not limit blanks as KEYWORD says, in a grammar as vLLM makes it.

    vLLM allows blanks anywhere unless the schema says otherwise.
    """
    from llguidance import LLMatcher

    made = LLMatcher.grammar_from_json_schema(
        json.dumps({**json.loads(_PROBE), **KEYWORD}), defaults={"whitespace_flexible": True}
    )
    if _allows(made, "{ ") or not _allows(made, '{"a":\n\t1}'):
        raise changed("llguidance", "it does not limit blanks by 'x-guidance'")


def _allows(grammar: str, text: str) -> bool:
    from llguidance import LLMatcher, LLTokenizer

    return LLMatcher(LLTokenizer("byte"), grammar, log_level=0).consume_tokens(list(text.encode()))


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
            return LLTokenizer("byte")  # a schema is only judged: vLLM makes the grammar
        require_pattern()
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


def schema_of(response_format: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    """Return what the answer must be: None for any text, {} for any JSON object, else a schema."""
    if response_format is None:
        return None
    match response_format.get("type"):
        case "text":
            return None
        case "json_object":
            return {}
        case "json_schema":
            return _schema(response_format.get("json_schema"))
        case other:
            near = closest(other, TYPES) if isinstance(other, str) else None
            hint = f"; did you mean '{near}'?" if near else ""
            raise _refusal("type", f"expected a type, one of {', '.join(TYPES)}, got {other!r}{hint}")


def _schema(wrapper: Any) -> Mapping[str, Any]:
    if not isinstance(wrapper, Mapping):
        raise _refusal("json_schema", f"expected the schema and its name, got {wrapper!r}; {_WRITE}")
    if "schema" not in wrapper and ("type" in wrapper or "properties" in wrapper):
        raise _refusal("json_schema", f"the schema stands one level too high; {_WRITE}")
    for key in wrapper:
        if key not in _KEYS:
            near = closest(str(key), _KEYS)
            hint = f"did you mean '{near}'?" if near else f"the keys are {', '.join(_KEYS)}"
            raise _refusal("json_schema", f"unknown key '{key}'; {hint}")
    schema = wrapper.get("schema")
    if not isinstance(schema, Mapping):
        raise _refusal("json_schema.schema", f"expected a JSON Schema, a mapping, got {schema!r}; {_WRITE}")
    try:
        return enforceable(schema)
    except Unenforceable as cause:
        raise refusal(cause) from None


def _refusal(key: str, message: str) -> InvalidInput:
    field = f"response_format.{key}"
    return InvalidInput(f"{field}: {message}", field=field)


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
