"""Rows that share one cache and one forward pass for each token."""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.modeling_outputs import BaseModelOutput

from deployments.engines.huggingface import transformers_internals as internals
from deployments.engines.huggingface.network import Network
from deployments.engines.huggingface.rows import Row

WASTE = 4096
"""Tokens of padding that joining may always cost. Beyond, padding may be as much as there are tokens."""


class Cohort(ABC):
    """If a cohort is `sturdy`, a forward pass that fails leaves it as it was; otherwise its cache is lost."""

    sturdy = True

    def __init__(self, network: Network, rows: Sequence[Row], cache: Any) -> None:
        self.network = network
        self.rows = list(rows)
        self.cache = cache
        self.width = 0
        """Tokens of each row in the cache, with padding."""

    @abstractmethod
    def fill(self, budget: int) -> Tensor | None:
        """Read about `budget` tokens of the prompts. Return the scores of the first tokens once all are read."""

    def step(self) -> Tensor:
        """Read each row's last token, and return the scores of the next."""
        return self._forward(torch.tensor([[row.tokens[-1]] for row in self.rows], device=self.network.device))

    @abstractmethod
    def keep(self, indices: Sequence[int]) -> None:
        """Remove all other rows."""

    def part(self, indices: Sequence[int]) -> Cohort:
        """Return a cohort with copies of these rows' keys and values. The rows stay here too until they are removed."""
        other = copy.copy(self)
        other.cache = copy.deepcopy(self.cache)
        other.keep(indices)
        return other

    def take_in(self, other: Cohort) -> bool:
        """Add the other cohort's rows to this one if possible, and return whether they were added."""
        del other
        return False

    @property
    def size(self) -> int:
        return len(self.rows) * self.width

    def _choose(self, indices: Sequence[int]) -> Tensor:
        self.rows = [self.rows[index] for index in indices]
        return torch.tensor(indices, device=self.network.device)

    @abstractmethod
    def _forward(self, tokens: Tensor) -> Tensor:
        """Read the same number of tokens of each row."""

    def _logits(self, count: int, **inputs: Any) -> Tensor:
        """Return what the network says of inputs that add so many tokens to the cache."""
        try:
            logits = self.network.logits(self.cache, self.width + count, **inputs)
        except Exception:
            if self.sturdy:  # what the step has added to some of the layers is taken back
                layers = internals.pairs_of(self.cache)
                cut = [(keys[:, :, : self.width], values[:, :, : self.width]) for keys, values in layers]
                internals.put_pairs(self.cache, cut)
            raise
        self.width += count
        return logits


def cohort(network: Network, rows: Sequence[Row]) -> Cohort:
    """Return a cohort of these rows. Their prompts aren't read yet."""
    config = network.model.config
    if network.encodes:
        return Encoded(network, rows, internals.encoder_decoder_cache(config))
    if network.joins:
        return Padded(network, rows, internals.growing_cache(config))
    return Uniform(network, rows, internals.DynamicCache(config=config))


def together(network: Network, rows: Sequence[Row], budget: int) -> int:
    """Return how many of the first rows can be read at once: at least one, and with padding no more than the budget."""
    longest = 0
    for count, row in enumerate(rows):
        longest = max(longest, len(row.prompt))
        if count and longest * (count + 1) > budget:
            return count
        if count and not network.encodes and not network.joins and len(row.prompt) != longest:
            return count
    return len(rows)


class Padded(Cohort):
    """Rows of any lengths, padded on the left, of a decoder all of whose layers attend to tokens alone."""

    def __init__(self, network: Network, rows: Sequence[Row], cache: Any) -> None:
        super().__init__(network, rows, cache)
        longest = max(len(row.prompt) for row in rows)
        self.pads = [longest - len(row.prompt) for row in rows]

    def fill(self, budget: int) -> Tensor | None:
        whole = self.pads[0] + len(self.rows[0].prompt)
        # Only a single row is read in pieces: a piece of nothing but padding would have nothing to attend to.
        end = whole if len(self.rows) > 1 else min(whole, self.width + budget)
        prompts = [[0] * pads + list(row.prompt) for pads, row in zip(self.pads, self.rows, strict=True)]
        logits = self._forward(torch.tensor([prompt[self.width : end] for prompt in prompts]))
        return logits if end == whole else None

    def part(self, indices: Sequence[int]) -> Cohort:
        other = copy.copy(self)
        other.cache = internals.filled_cache(self.network.model.config, internals.pairs_of(self.cache))
        other.keep(indices)
        return other

    def keep(self, indices: Sequence[int]) -> None:
        chosen = self._choose(indices)
        pads = [self.pads[index] for index in indices]
        cut = min(pads)
        layers = internals.pairs_of(self.cache)
        internals.put_pairs(self.cache, [(keys[chosen, :, cut:], values[chosen, :, cut:]) for keys, values in layers])
        self.pads = [gap - cut for gap in pads]
        self.width -= cut

    def take_in(self, other: Cohort) -> bool:
        width = max(self.width, other.width)
        wasted = width * (len(self.rows) + len(other.rows)) - self.size - other.size
        if not isinstance(other, Padded) or wasted > max(WASTE, self.size + other.size):
            return False
        layers = zip(internals.pairs_of(self.cache), internals.pairs_of(other.cache), strict=True)
        joined = [[_joined(states, width) for states in zip(*pairs, strict=True)] for pairs in layers]
        internals.put_pairs(self.cache, [(keys, values) for keys, values in joined])
        self.pads = [gap + width - part.width for part in (self, other) for gap in part.pads]
        self.rows += other.rows
        self.width = width
        return True

    def _forward(self, tokens: Tensor) -> Tensor:
        device = self.network.device
        end = self.width + tokens.shape[1]
        columns = torch.arange(end, device=device)
        mask, positions = None, columns[self.width :].expand(len(self.rows), -1)
        if any(self.pads):
            pads = torch.tensor(self.pads, device=device)[:, None]
            mask = (columns >= pads).long()
            positions = (positions - pads).clamp(min=0)
        return self._logits(tokens.shape[1], input_ids=tokens.to(device), attention_mask=mask, position_ids=positions)


class Uniform(Cohort):
    """Rows of any other decoder. They have the same length from the first token on, and are never joined."""

    sturdy = False

    def fill(self, budget: int) -> Tensor:
        del budget
        return self._forward(torch.tensor([list(row.prompt) for row in self.rows]))

    def keep(self, indices: Sequence[int]) -> None:
        self.cache.reorder_cache(self._choose(indices))

    def _forward(self, tokens: Tensor) -> Tensor:
        return self._logits(tokens.shape[1], input_ids=tokens.to(self.network.device))


class Encoded(Cohort):
    """Rows of an encoder-decoder. Their prompts were encoded together, and their answers have the same length."""

    _read: Tensor
    _mask: Tensor
    """What the encoder has made of the prompts, from `fill` on."""

    def fill(self, budget: int) -> Tensor:
        del budget
        prompts, self._mask = self.network.padded([row.prompt for row in self.rows])
        encoder = self.network.model.get_encoder()
        self._read = encoder(input_ids=prompts, attention_mask=self._mask).last_hidden_state
        return self._forward(torch.full((len(self.rows), 1), self.network.start, device=self.network.device))

    def keep(self, indices: Sequence[int]) -> None:
        chosen = self._choose(indices)
        self.cache.reorder_cache(chosen)
        self._read, self._mask = self._read[chosen], self._mask[chosen]

    def _forward(self, tokens: Tensor) -> Tensor:
        read = BaseModelOutput(last_hidden_state=self._read)
        return self._logits(1, attention_mask=self._mask, encoder_outputs=read, decoder_input_ids=tokens)


def _joined(parts: Sequence[Tensor], length: int) -> Tensor:
    """Return the keys, or the values, of the rows of all parts, each padded on the left to the length."""
    return torch.cat([pad(part, (0, 0, length - part.shape[-2], 0)) for part in parts])
