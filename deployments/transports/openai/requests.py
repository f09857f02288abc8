"""A body of chat completions or completions -> a Conversation for each choice, and how the answer is written."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

from deployments.conversations.request import Conversation, Sampling
from deployments.gateway.kept import Keep
from deployments.transports.openai.parameters import Generation


@dataclass(frozen=True, slots=True, kw_only=True)
class Wanted:
    """What a request asks for."""

    conversations: Sequence[Conversation]
    """One a choice; those of a prompt stand together."""
    stream: bool
    include_usage: bool = False
    """Whether a stream's last chunk has the usage of all choices."""
    store: bool = False
    of_a_prompt: int = 1
    """How many choices each prompt has, where there may be several prompts."""
    echo: bool = False
    """Whether each choice begins with its prompt."""

    @property
    def keep(self) -> Keep | None:
        """Return how the runs are kept, where the request asks for it."""
        return Keep() if self.store else None


def sampling(body: Generation, max_tokens: int | None) -> Sampling:
    """Return how to generate."""
    stop = body.stop if isinstance(body.stop, list) else [body.stop]
    return Sampling(
        max_tokens=max_tokens,
        min_tokens=body.min_tokens,
        temperature=body.temperature,
        top_p=body.top_p,
        top_k=None if body.top_k is None else max(0, body.top_k),
        repetition_penalty=body.repetition_penalty,
        seed=body.seed,
        stop=tuple(each for each in stop if each),
    )


def choices(conversation: Conversation, n: int | None) -> list[Conversation]:
    """Return a conversation for each of n choices: with a seed, each has one of its own."""
    seed = conversation.sampling.seed
    if seed is None:
        return [conversation] * (n or 1)
    seeds = ((seed + index + 2**63) % 2**64 - 2**63 for index in range(n or 1))
    return [replace(conversation, sampling=replace(conversation.sampling, seed=each)) for each in seeds]
