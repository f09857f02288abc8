"""What a model's configuration bans, forces and penalises: transformers' own rules, for one row at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from transformers.generation import logits_process as process

from deployments.engines.settings import Settings

Rule = Callable[[Any, Any], Tensor]
"""Tokens so far and scores, each a batch of one row, in; scores out."""


class Shape:
    """A row's rules with the tokens they look at."""

    def __init__(self, rules: Sequence[Rule], before: Sequence[int], most: int, device: Any) -> None:
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


def shape(
    settings: Settings,
    own: Any,
    *,
    prompt: Sequence[int],
    before: Sequence[int],
    encodes: bool,
    constrained: bool,
    device: Any,
) -> Shape | None:
    """Return the shape of a row, or None where no rule applies; `before` is what its decoder has seen.

    The order is that of `generate`. No end before `least` tokens is the row's own matter, for it is asked for often.
    Where a schema says what may come, nothing else is forced or banned: together they could leave no token.
    """
    if constrained:
        rules: list[Rule] = list(_penalised(settings))
        return Shape(rules, before, settings.most, device) if rules else None
    rules = [
        *_on_repetition(settings, own, prompt if encodes else None, device),
        *_on_ends(settings, own, len(before), device),
        *_on_tokens(own, len(before), device),
    ]
    if not settings.draw.greedy:
        rules += [_warmed(rule, settings.draw.temperature) for rule in _on_shares(own)]
    return Shape(rules, before, settings.most, device) if rules else None


def _on_repetition(settings: Settings, own: Any, encoded: Sequence[int] | None, device: Any) -> Iterator[Rule]:
    """Tensors are made where a rule wants one: on a busy GPU each would have to wait for its turn, and the caller with it."""
    if own.sequence_bias is not None:
        yield process.SequenceBiasLogitsProcessor(own.sequence_bias)
    if encoded is not None and own.encoder_repetition_penalty not in (None, 1.0):
        read: Any = torch.tensor([encoded], device=device)
        yield process.EncoderRepetitionPenaltyLogitsProcessor(own.encoder_repetition_penalty, read)
    yield from _penalised(settings)
    if own.no_repeat_ngram_size:
        yield process.NoRepeatNGramLogitsProcessor(own.no_repeat_ngram_size)
    if encoded is not None and own.encoder_no_repeat_ngram_size:
        read: Any = torch.tensor([encoded], device=device)
        yield process.EncoderNoRepeatNGramLogitsProcessor(own.encoder_no_repeat_ngram_size, read)
    if own.bad_words_ids is not None:
        yield process.NoBadWordsLogitsProcessor(own.bad_words_ids, _ends(settings, device))


def _penalised(settings: Settings) -> Iterator[Rule]:
    if settings.repetition_penalty != 1.0:
        yield process.RepetitionPenaltyLogitsProcessor(settings.repetition_penalty)


def _ends(settings: Settings, device: Any) -> Tensor:
    return torch.tensor(sorted(settings.ends), dtype=torch.long, device=device)


def _on_ends(settings: Settings, own: Any, before: int, device: Any) -> Iterator[Rule]:
    if own.forced_bos_token_id is not None:
        yield process.ForcedBOSTokenLogitsProcessor(own.forced_bos_token_id)
    if own.forced_eos_token_id is not None:
        yield process.ForcedEOSTokenLogitsProcessor(before + settings.most, own.forced_eos_token_id, str(device))
    if own.remove_invalid_values:
        yield process.InfNanRemoveLogitsProcessor()
    if own.exponential_decay_length_penalty is not None and settings.ends:
        ends = _ends(settings, device)
        yield process.ExponentialDecayLengthPenalty(own.exponential_decay_length_penalty, ends, before)


def _on_tokens(own: Any, before: int, device: Any) -> Iterator[Rule]:
    if own.suppress_tokens is not None:
        yield process.SuppressTokensLogitsProcessor(own.suppress_tokens, device=device)
    if own.begin_suppress_tokens is not None:
        begin = before + (before == 1 and own.forced_bos_token_id is not None)
        yield process.SuppressTokensAtBeginLogitsProcessor(own.begin_suppress_tokens, begin, device=device)


def _on_shares(own: Any) -> Iterator[Rule]:
    """Yield the rarer ways to narrow what is drawn from."""
    if own.min_p is not None:
        yield process.MinPLogitsWarper(own.min_p)
    if own.typical_p is not None and own.typical_p < 1:
        yield process.TypicalLogitsWarper(own.typical_p)
    if own.epsilon_cutoff:
        yield process.EpsilonLogitsWarper(own.epsilon_cutoff)
    if own.eta_cutoff:
        yield process.EtaLogitsWarper(own.eta_cutoff)


def _warmed(rule: Rule, temperature: float) -> Rule:
    """These judge shares as they are after the temperature, which is applied later, for all rows at once."""

    def apply(tokens: Tensor, scores: Tensor) -> Tensor:
        return rule(tokens, scores / temperature) * temperature

    return apply
