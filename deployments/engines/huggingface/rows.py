"""One answer that is being generated: its tokens, the rules for the next one, their text, and when it ends."""

from __future__ import annotations

import copy
import random
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deployments.engines.detokenizing import Detokenizer, Stops
from deployments.engines.engine import Ended, Finish, Usage
from deployments.engines.grammar.guides import Guide
from deployments.engines.huggingface import transformers_internals as internals
from deployments.engines.huggingface.network import Network
from deployments.engines.huggingface.sampling import NOTHING, pick
from deployments.engines.huggingface.scoring import LogProbabilities
from deployments.engines.huggingface.text_outlet import TextOutlet
from deployments.engines.settings import Draw, Settings
from deployments.engines.token_scores import TokenScore
from graphs.errors import AnabranchError, ComponentFailed

Rule = Callable[[Any, Any], Tensor]
"""Tokens so far and scores, each a batch of one row, in; scores out."""


class Shape:
    """A row's rules with the tokens they look at."""

    def __init__(self, rules: Sequence[Rule], before: Sequence[int], most: int, device: Any, narrows: bool) -> None:
        self.narrows = narrows
        """Its rules have applied temperature, top_k and top_p as well; what is left is drawn from as it is."""
        self._rules = tuple(rules)
        self._tokens = torch.empty(len(before) + most, dtype=torch.long, device=device)
        self._tokens[: len(before)] = torch.tensor(before, dtype=torch.long)
        self._size = len(before)

    def add(self, token: int) -> None:
        self._tokens[self._size] = token
        self._size += 1

    def apply(self, scores: Tensor) -> None:
        """Change the scores of the row's next token, in place."""
        tokens, changed = self._tokens[None, : self._size], scores[None]
        for rule in self._rules:
            changed = rule(tokens, changed)
        scores.copy_(changed[0])


class Shaper:
    """Makes the shapes of one model's rows."""

    def __init__(self, network: Network) -> None:
        self._network = network
        self._own = own = copy.deepcopy(network.own)
        # That no end comes before `least` tokens is the row's own matter, for it is asked for often.
        own.min_length = own.min_new_tokens = None
        own.temperature = own.top_k = own.top_p = None
        if not network.encodes:
            own.encoder_repetition_penalty = own.encoder_no_repeat_ngram_size = None
        if own.eos_token_id is None:
            own.exponential_decay_length_penalty = None
        # Tensors are made once, or where a rule wants one: on a busy GPU each waits for its turn, and its maker with it.
        internals.prepare_rules(own, network.device)
        self._looks_at_prompt = own.encoder_repetition_penalty not in (None, 1) or own.encoder_no_repeat_ngram_size
        self._narrows = len(self._rules(own, [0], True)) > len(self._rules(own, [0], False))
        """The model narrows what is drawn from in one of the rarer ways (min_p, typical_p, …)."""

    def shape(self, settings: Settings, prompt: Sequence[int], constrained: bool) -> Shape | None:
        """Return the shape of a row, or None where no rule applies.

        Where a schema says what may come, nothing else is forced or banned: together they could leave no token.
        """
        before = [self._network.start] if self._network.encodes else prompt
        said = copy.copy(internals.GenerationConfig() if constrained else self._own)
        said.repetition_penalty = settings.repetition_penalty
        said.max_length = len(before) + settings.most
        draw, narrows = settings.draw, self._narrows and not (settings.draw.greedy or constrained)
        if narrows:
            said.temperature, said.top_k, said.top_p = draw.temperature, draw.top_k, draw.top_p
        rules = self._rules(said, prompt, narrows)
        return Shape(rules, before, settings.most, self._network.device, narrows) if rules else None

    def _rules(self, said: Any, prompt: Sequence[int], draws: bool) -> list[Rule]:
        network = self._network
        said = copy.copy(said)
        said.do_sample = draws
        encoded = torch.tensor([list(prompt)], device=network.device) if self._looks_at_prompt else None
        before = 1 if network.encodes else len(prompt)
        return internals.rules(network.model, said, before, encoded, network.device)


class Row:
    """One request's answer. Once it is submitted, only the inference thread uses it, except for `cancelled`."""

    def __init__(
        self,
        prompt: Sequence[int],
        settings: Settings,
        *,
        detokenizer: Detokenizer,
        outlet: TextOutlet,
        shape: Shape | None = None,
        constraint: Guide | None = None,
        logprobs: int | None = None,
        streaming: bool = True,
    ) -> None:
        self.prompt = prompt
        self.settings = settings
        self.outlet = outlet
        self.tokens: list[int] = []
        self.logprobs = logprobs
        """Of how many of the likeliest tokens it wants the log-probabilities, beside its own; None wants none."""
        self.scores: list[TokenScore] = []
        """Those that haven't been sent."""
        self.cancelled = False
        self.failed = False
        self.ended: Ended | None = None
        self._detokenizer = detokenizer
        self._stops = Stops(settings.stops)
        self.draw = Draw(1.0) if shape is not None and shape.narrows else settings.draw
        self._shape = shape
        self._constraint = constraint
        # Python's random generator gives the same numbers on every device.
        self._chance = random.Random(settings.seed)
        self._streaming = streaming
        self._unsent = ""
        self._banned: Tensor | None = None

    @property
    def over(self) -> bool:
        return self.ended is not None or self.failed or self.cancelled

    def shaped(self) -> bool:
        """Return whether any rule changes the scores of the next token."""
        return self._shape is not None or self._constraint is not None or self._early()

    def shape(self, scores: Tensor) -> None:
        """Change the scores of this row's next token, in place."""
        if self._early():
            if self._banned is None:
                self._banned = torch.tensor(sorted(self.settings.ends), dtype=torch.long, device=scores.device)
            scores[self._banned] = -torch.inf
        # Rules come after the ban, because one may force an end token.
        if self._shape is not None:
            self._shape.apply(scores)
        if self._constraint is not None:
            self._constraint.mask(scores)

    def chance(self) -> float:
        return 0.0 if self.draw.greedy else self._chance.random()

    def take(self, token: int) -> str:
        """Add a token, and return the text that can be sent. Sets `ended` if it was the last."""
        self.tokens.append(token)
        if self._shape is not None:
            self._shape.add(token)
        complete = self._constraint is not None and self._constraint.accept(token)
        if token in self.settings.ends:
            cut = self.settings.forced_end and self._full()
            return self._end("length" if cut else "stop")
        text = self._detokenizer.feed(token)
        if self.settings.stops and not self._early():
            text, stopped = self._stops.feed(text)
            if stopped:
                return self._end("stop", text, flush=False)
        if complete or self._full():
            return self._end("stop" if complete else "length", text)
        if self._streaming:
            return text
        self._unsent += text
        return ""

    def sent_scores(self) -> Sequence[TokenScore]:
        """Return the scores that go with the text that is sent now."""
        if not self.scores:
            return ()
        sent, self.scores = self.scores, []
        return sent

    def finish(self, tokens: Sequence[int]) -> str:
        """Take a whole answer, as beam search returns it, and return its text."""
        sent: list[str] = []
        for token in tokens:
            sent.append(self.take(token))
            if self.ended is not None:
                return "".join(sent)
        return "".join(sent) + self._end("stop")

    def _early(self) -> bool:
        return len(self.tokens) < self.settings.least and self._constraint is None

    def _full(self) -> bool:
        return len(self.tokens) >= self.settings.most

    def _end(self, finish: Finish, text: str = "", flush: bool = True) -> str:
        if flush:
            rest, stopped = self._stops.feed(self._detokenizer.end())
            text += rest if stopped else rest + self._stops.end()
            finish = "stop" if stopped else finish
        self.ended = Ended(finish, Usage(len(self.prompt), len(self.tokens)), self._stops.found)
        return self._unsent + text


def choose(logits: Tensor, rows: Sequence[Row]) -> list[int | AnabranchError]:
    """Return each row's next token, or the error that it has none. May change `logits` in place."""
    scores = logits.float()
    likely = LogProbabilities(scores, rows)
    failed: dict[int, AnabranchError] = {}
    for index, row in enumerate(rows):
        if not row.shaped():
            continue
        try:
            row.shape(scores[index])
        except AnabranchError as error:
            failed[index] = error
        except Exception as error:  # noqa: BLE001 -- the rules of one answer must not end the others
            failed[index] = ComponentFailed(f"choosing a token failed: {type(error).__name__}: {error}")
    tokens = pick(scores, [row.draw for row in rows], [row.chance() for row in rows])
    likely.tell(tokens)
    return [failed.get(index) or (_no_token() if token == NOTHING else token) for index, token in enumerate(tokens)]


def _no_token() -> ComponentFailed:
    return ComponentFailed(
        "the model gave no usable scores for the next token: they are not numbers, or every token is banned; "
        "write `precision: float32`, or loosen the parameters"
    )
