"""What a model component drives: an Ask in, text as it is generated out, and at last how it ended."""

from __future__ import annotations

import asyncio
from abc import ABC, abstractmethod
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

from deployments.engines.tool_calls.pieces import Piece, ResponseTemplate

T = TypeVar("T")
R = TypeVar("R")
Finish = Literal["stop", "length", "tool_calls"]
"""As OpenAI says it: an end token or a stop string, no more room, or calls of tools."""


@dataclass(frozen=True, slots=True)
class Sampling:
    """How to generate; None is as the model's own configuration says."""

    max_output_length: int | None = None
    fit_output: bool | None = None
    """Whether the answer may be shorter than that, where the context has no room for it."""
    min_output_length: int | None = None
    do_sample: bool | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    num_beams: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    @property
    def needed(self) -> int | None:
        """The room that the answer needs, if it needs any that is known."""
        return None if self.fit_output else self.max_output_length


@dataclass(frozen=True, slots=True)
class Ask:
    """One request of generation: a text, or the messages of a conversation."""

    text: str | None = None
    messages: Sequence[Mapping[str, Any]] = ()
    tools: Sequence[Mapping[str, Any]] = ()
    chat_template_kwargs: Mapping[str, Any] = field(default_factory=dict[str, Any])
    """What the chat template is told beside the messages and the tools."""
    tags: Sequence[str] = ()
    """What marks reasoning and calls of tools in the text: shown also where it is a special token, as no other is."""
    parse: bool = False
    """Whether the engine gives reasoning and calls of tools apart, as one that `parses` can."""
    begin: Callable[[str], None] | None = None
    """Told the end of the prompt before the first piece: the chat template may have begun the answer."""
    json_schema: Mapping[str, Any] | None = None
    """What the text must be; {} for any JSON object."""
    sampling: Sampling = field(default_factory=Sampling)
    max_input_length: int | None = None
    logprobs: int | None = None
    """Whether to give the log-probability of each token, and of how many of the likeliest beside it."""
    streaming: bool = True
    """Whether the reader takes pieces; beams, say, can't give any."""


@dataclass(frozen=True, slots=True)
class LogProbs:
    """Log-probabilities as OpenAI writes them, of the tokens whose text comes next."""

    entries: list[dict[str, Any]]


@dataclass(frozen=True, slots=True)
class Usage:
    prompt_tokens: int = 0
    completion_tokens: int = 0


@dataclass(frozen=True, slots=True)
class Ended:
    """The last thing an engine says of an Ask; without it the answer was cut."""

    finish: Finish
    usage: Usage
    stop_sequence: str | None = None
    """The stop string before which the answer ended."""


@dataclass(frozen=True, slots=True)
class Pooled:
    """What embedding or classifying a list of texts gives: one entry for each text."""

    values: list[Any]
    """Vectors as lists of floats; or lists of {label, score}, the likeliest first."""
    usage: Usage


class Engine(ABC):
    """A model, loaded. Many Asks at once; each fails alone."""

    @property
    def chat_template(self) -> str | None:
        """What the model's template says, of calls of tools among others."""
        return None

    @property
    def response_template(self) -> ResponseTemplate | None:
        """What the model itself says of how its answers are read."""
        return None

    @property
    def parses(self) -> bool:
        """Whether the engine can tell reasoning and calls of tools apart by itself."""
        return False

    @abstractmethod
    def generate(self, ask: Ask) -> AsyncGenerator[Piece | LogProbs | Ended, None]:
        """Yield text as it is generated, never half a character, then Ended. Closing it frees its place within a step.

        Where they are asked for, LogProbs come before the text of their tokens, each token's once and in order.
        """

    @abstractmethod
    async def count(self, ask: Ask) -> int:
        """Return how many tokens the prompt has. It may have more than the model can read."""

    @abstractmethod
    async def pool(self, texts: Sequence[str], batch_size: int, max_input_length: int | None) -> Pooled:
        """Return a vector for each text, or its labels with their scores, as the model's task says."""

    @abstractmethod
    async def healthy(self) -> None:
        """Raise when the model can't answer any more."""

    @abstractmethod
    async def aclose(self) -> None:
        """Stop what runs and let go of the memory."""


async def for_each(items: Sequence[T], work: Callable[[T], Awaitable[R]], at_once: int) -> list[R]:
    """Do the work for `at_once` items at a time. The first failure stops the others, and is the one that is raised."""
    room = asyncio.Semaphore(at_once)

    async def one(item: T) -> R:
        async with room:
            return await work(item)

    tasks = [asyncio.ensure_future(one(item)) for item in items]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
