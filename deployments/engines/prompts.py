"""An Ask and a tokenizer -> the tokens of the prompt. A prompt that doesn't fit into the model's context is refused or cut."""

from __future__ import annotations

import asyncio
import sys
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from typing import Any, Literal

from deployments.engines.conversations import (
    Conversation,
    conversation,
    last_of_user,
    refuse_unreadable,
    task_params,
    template_of,
)
from deployments.engines.engine import Ask
from graphs.errors import InvalidInput

POSITIONS = ("max_position_embeddings", "n_positions", "max_seq_len", "seq_length", "max_seq_length")
"""What configurations call the context. Nearly all of transformers answer to the first name; T5's files say
`n_positions`, MPT's `max_seq_len`, and models that bring code of their own say any of them."""
OF_ENCODERS = ("max_encoder_position_embeddings", *POSITIONS)
OF_DECODERS = ("max_decoder_position_embeddings", "max_position_embeddings")
"""What encoder-decoders call the context of each half."""
ENDLESS = (
    "bloom", "cpmant", "falcon_mamba", "funnel", "longt5", "mamba", "mamba2", "mt5", "recurrent_gemma",
    "switch_transformers", "t5", "udop", "umt5", "xlnet", "xlstm",
)  # fmt: skip
"""Kinds of models whose positions have no end: relative, ALiBi, or recurrent. What they state, they were trained with."""
SHIFTED = (
    "roberta", "camembert", "mpnet", "longformer", "data2vec-text", "esm", "ibert", "lilt", "luke", "markuplm", "xmod",
)  # fmt: skip
"""Kinds of models whose first positions are taken by the padding token."""
SANE = 10_000_000
"""Tokenizers without a limit state 1e30."""
UNSTATED = 8192
"""The context of a model that has no end and states none: attention over a text of any length could take any memory."""
TOO_LONG = "context_length_exceeded"
"""What programs call the error of a prompt that doesn't fit, as OpenAI does."""
ANSWER = 256
"""Tokens kept free for the answer when a text is cut and nothing says how long the answer may be."""
LONG = 20_000
"""Characters from which reading a text would hold up the event loop."""
WIDE = 8
"""Characters for each token that are read of a longer one at first: most texts have four."""
MARGIN = 16
"""Tokens at a cut edge that may differ from those of the whole text."""

CONTINUED = ("text-generation", "chat-completion")
"""Tasks for which a text is what a decoder continues."""

Side = Literal["start", "end"]


@dataclass(frozen=True, slots=True)
class Prompt:
    ids: list[int]
    stop: tuple[str, ...] = ()
    """Where the answer ends, beside what was asked: a plain conversation has no end token."""


async def count(
    ask: Ask, tokenizer: Any, config: Any, task: str, context: int | None, max_output_length: int | None = None
) -> int:
    """Return how many tokens `prepare` gives. A prompt that isn't to be cut may have any number of them."""
    if ask.max_input_length is None:
        context, max_output_length = sys.maxsize, None
    return len((await prepare(ask, tokenizer, config, task, context, max_output_length)).ids)


async def prepare(
    ask: Ask, tokenizer: Any, config: Any, task: str, context: int | None, max_output_length: int | None = None
) -> Prompt:
    """Call `encode`, in a thread when the text is long."""
    size = len(ask.text or "") + sum(len(str(message.get("content"))) for message in ask.messages)
    if size <= LONG:
        return encode(ask, tokenizer, config, task, context, max_output_length)
    return await asyncio.to_thread(encode, ask, tokenizer, config, task, context, max_output_length)


def encode(
    ask: Ask, tokenizer: Any, config: Any, task: str, context: int | None, max_output_length: int | None = None
) -> Prompt:
    """Return the prompt. `max_output_length` is the room that its answer needs; None means one token, 0 none."""
    room = _room(config, context, max_output_length, ask.max_input_length)
    if ask.text is not None:
        return Prompt(_text(ask.text, tokenizer, config, task, room))
    talk = conversation(ask.messages, ask.tools, tokenizer, config, ask.chat_template_kwargs)
    if config.is_encoder_decoder and not template_of(tokenizer):
        return Prompt(_text(last_of_user(talk.messages), tokenizer, config, task, room, "message"))
    text = talk.text()
    if ask.begin is not None:
        ask.begin(text)
    reading = _Reading.of(tokenizer, text, room.most, "start", special=False)
    ids = reading.all if room.has_place(reading, "conversation") else _shortened(talk, tokenizer, room.most)
    return Prompt(ids, talk.stop)


def context_length(config: Any, tokenizer: Any, override: int | None = None) -> int | None:
    """Return how many tokens the model can read; None where it has no end and states none.

    `override` can only lower a limit that is built in. A model that may have a limit and states none is refused: it
    would read positions that it does not have.
    """
    network = _half(config, "encoder")
    endless = network.model_type in ENDLESS
    stated = _positions(network, OF_ENCODERS)
    if stated is None and tokenizer.model_max_length < SANE:
        stated = tokenizer.model_max_length
    if override is None and stated is None and not endless:
        raise InvalidInput(
            f"the model's configuration ({network.model_type}) does not state how many tokens it can read; look at the "
            "model's page, and write `options: {max_model_len: …}`",
            field="options.max_model_len",
        )
    if override is None or stated is None:
        return override or stated
    return override if endless else min(override, stated)


def answer_length(config: Any) -> int | None:
    """Return how many tokens the decoder of an encoder-decoder has positions for; None where they have no end."""
    return _positions(_half(config, "decoder"), OF_DECODERS)


def _half(config: Any, name: str) -> Any:
    """Return the configuration of one half, where two models were put together to an encoder-decoder."""
    # getattr: only a model that was put together (encoder-decoder) has halves with configurations of their own.
    half: Any = getattr(config, name, None)
    return (config if half is None else half).get_text_config()


def _positions(network: Any, names: Sequence[str]) -> int | None:
    # getattr: each kind of model has one or two of these names; `context_length` refuses one that has none.
    found = (getattr(network, name, None) for name in names)
    stated: int | None = next((each for each in found if isinstance(each, int) and each > 0), None)
    if stated is not None and any(kind in network.model_type for kind in SHIFTED):
        stated -= (network.pad_token_id or 0) + 1
    return stated


def task_prefix(config: Any, task: str) -> str:
    """Return what the model was trained to read before a text of this task: T5 reads `summarize: `."""
    found = [
        params.get("prefix")
        for name, params in task_params(config).items()
        if name.startswith(task) and isinstance(params, dict)
    ]
    return found[0] or "" if len(found) == 1 else ""


@dataclass(frozen=True, slots=True)
class _Room:
    """How many tokens a prompt may have, and why."""

    context: int
    stated: bool
    answer: int
    """Of the context, kept for the answer."""
    asked: int | None
    """The max_output_length that was asked for."""
    cut: int | None
    """Longer prompts are cut to this; None refuses them."""

    @property
    def most(self) -> int:
        return self.context - self.answer if self.cut is None else self.cut

    def has_place(self, reading: _Reading, what: str) -> bool:
        """Return whether there is room for all tokens; raise where there isn't, and none may be cut."""
        if reading.length <= self.most or self.cut is not None:
            return reading.length <= self.most
        has = f"the {what} has {'' if reading.whole else 'more than '}{reading.length} tokens"
        # Clients know the error by these words: LiteLLM and others look for them, whatever the code is.
        length = f"{self.context}" if self.stated else f"taken to be {self.context} (it states none)"
        limit = f"this model's maximum context length is {length}"
        write = f"write `max_input_length: {max(1, self.context - max(self.answer, min(ANSWER, self.context // 4)))}`"
        if self.asked and self.answer:
            said = f"{has} and max_output_length is {self.asked}, but {limit}"
            write = f"write `max_input_length: {self.context - self.answer}`"
        else:
            said = f"{has}, but {limit}"
        field = "text" if what == "text" else "messages"
        raise InvalidInput(f"{said}; shorten it, or {write} to have it cut", field=field, code=TOO_LONG)


def _room(config: Any, context: int | None, max_output_length: int | None, max_input_length: int | None) -> _Room:
    stated = context is not None
    context = UNSTATED if context is None else context
    # An encoder-decoder's answer has positions of its own.
    answer = 0 if config.is_encoder_decoder else 1 if max_output_length is None else max_output_length
    if answer >= context:
        raise InvalidInput(
            f"max_output_length is {max_output_length}, and the model's context is {context}, prompt included; lower it",
            field="params.max_output_length",
        )
    cut = None
    if max_input_length is not None:
        kept = answer if config.is_encoder_decoder or max_output_length is not None else min(ANSWER, context // 4)
        cut = min(max_input_length, context - kept)
    return _Room(context, stated, answer, max_output_length, cut)


def _text(text: str, tokenizer: Any, config: Any, task: str, room: _Room, what: str = "text") -> list[int]:
    """Return the tokens of a text; `what` is it called where it doesn't fit."""
    refuse_unreadable(text, "text")
    if not text.strip():
        raise InvalidInput("the text is empty; send what the model should read", field="text")
    prefix = task_prefix(config, task)
    if prefix and not text.startswith(prefix):
        text = prefix + text
    # A text to continue keeps its end; a text to translate, summarize or classify keeps its beginning.
    keep: Side = "end" if task in CONTINUED and not config.is_encoder_decoder else "start"
    reading = _Reading.of(tokenizer, text, room.most, keep, special=True)
    return reading.all if room.has_place(reading, what) else reading.cut(room.most, keep)


def _shortened(talk: Conversation, tokenizer: Any, most: int) -> list[int]:
    """Drop as few of the oldest turns as possible: a binary search, one reading a step."""

    @cache
    def reading(start: int) -> _Reading:
        return _Reading.of(tokenizer, talk.text(start), most, "start", special=False)

    starts = talk.starts()
    first = bisect_left(starts, True, key=lambda start: reading(start).length <= most)
    if first == len(starts):
        raise InvalidInput(
            f"the last message and the system's have at least {reading(starts[-1]).length} tokens together, and "
            f"max_input_length allows {most}; shorten them, or raise max_input_length",
            field="messages",
            code=TOO_LONG,
        )
    return reading(starts[first]).all


@dataclass(frozen=True, slots=True)
class _Reading:
    """The tokens of a text, between the special ones around it. Of a text that is far too long only a part is read."""

    before: list[int]
    ids: list[int]
    after: list[int]
    whole: bool

    @classmethod
    def of(cls, tokenizer: Any, text: str, most: int, keep: Side, *, special: bool) -> _Reading:
        """Read as much of the text as it takes to know whether it is longer than `most` tokens."""
        width = max(LONG, (most + MARGIN) * WIDE)
        while True:
            whole = len(text) <= width
            part = text if whole else text[:width] if keep == "start" else text[-width:]
            reading = cls._read(tokenizer, part, special, whole)
            if whole or len(reading.ids) > most + MARGIN:
                return reading
            width *= 4

    @classmethod
    def _read(cls, tokenizer: Any, text: str, special: bool, whole: bool) -> _Reading:
        read = tokenizer(
            text, add_special_tokens=special, return_special_tokens_mask=special, return_attention_mask=False,
            return_token_type_ids=False, verbose=False,
        )  # fmt: skip
        ids: list[int] = list(read["input_ids"])
        mask: Sequence[int] = read["special_tokens_mask"] if special else ()
        start = next((index for index, mark in enumerate(mask) if not mark), len(ids) if special else 0)
        end = len(ids) - next((index for index, mark in enumerate(reversed(mask)) if not mark), 0)
        return cls(ids[:start], ids[start:end], ids[end:] if end > start else [], whole)

    @property
    def all(self) -> list[int]:
        return [*self.before, *self.ids, *self.after]

    @property
    def length(self) -> int:
        return len(self.before) + len(self.ids) + len(self.after)

    def cut(self, most: int, keep: Side) -> list[int]:
        """Return the first or the last of the tokens, with the special ones around them."""
        room = max(1, most - len(self.before) - len(self.after))
        return [*self.before, *(self.ids[:room] if keep == "start" else self.ids[-room:]), *self.after]
