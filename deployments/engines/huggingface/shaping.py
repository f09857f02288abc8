"""What a model's configuration bans, forces and penalises: the rules of `generate`, for one row at a time."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor

from deployments.engines.huggingface import transformers_internals as internals
from deployments.engines.huggingface.network import Network
from deployments.engines.settings import Settings

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
