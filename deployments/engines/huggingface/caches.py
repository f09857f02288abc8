"""Keys and values of several rows: which models' can be cut and joined, and how."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn.functional import pad
from transformers.cache_utils import DynamicCache, DynamicLayer, DynamicSlidingWindowLayer

SHARE = 0.4
"""Of the memory that is free once a model is loaded, how much keys and values may take: joining copies them."""

OF_ALL = 0.25
"""Of a machine's memory, where what is free can't be told from what only caches files."""

CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container may take of the machine's, in cgroups' two versions."""

SPARE = 64
"""Tokens of room that a layer takes ahead, at least; copying all keys for each token would cost more than the model."""


class GrowingLayer(DynamicLayer):
    """A layer's keys and values, `[rows, heads, tokens, width]`, as views of tensors with room for more tokens."""

    keys: Any
    values: Any
    _room: tuple[Tensor, Tensor] | None = None

    def update(self, key_states: Tensor, value_states: Tensor, *args: Any, **kwargs: Any) -> tuple[Tensor, Tensor]:
        del args, kwargs
        if not self.is_initialized:
            self.lazy_initialization(key_states, value_states)
        before = self.get_seq_length()
        after = before + key_states.shape[-2]
        room = self._room
        if room is None or room[0].shape[-2] < after or not _begins(self.keys, room[0]):
            room = self._grow(key_states, value_states, before, after)
        room[0][:, :, before:after] = key_states
        room[1][:, :, before:after] = value_states
        self.keys, self.values = room[0][:, :, :after], room[1][:, :, :after]
        return self.keys, self.values

    def _grow(self, keys: Tensor, values: Tensor, before: int, after: int) -> tuple[Tensor, Tensor]:
        size = after + max(SPARE, before // 4)
        room = (
            keys.new_empty((*keys.shape[:2], size, keys.shape[-1])),
            values.new_empty((*values.shape[:2], size, values.shape[-1])),
        )
        if before:
            room[0][:, :, :before] = self.keys
            room[1][:, :, :before] = self.values
        self._room = room
        return room


def _begins(keys: Tensor, room: Tensor) -> bool:
    """Return whether these keys are still the beginning of that room, all rows of it."""
    return keys.data_ptr() == room.data_ptr() and keys.shape[0] == room.shape[0]


def joinable(config: Any) -> bool:
    """Return whether rows of this model may be padded, cut and joined: all layers attend to tokens alone.

    Layers with a sliding window may: they keep all tokens here, and the model masks those outside of the window.
    """
    if getattr(config.get_text_config(decoder=True), "attention_chunk_size", None) is not None:
        return False
    return all(type(layer) in (DynamicLayer, DynamicSlidingWindowLayer) for layer in DynamicCache(config=config).layers)


def growing(config: Any) -> DynamicCache:
    """Return an empty cache for a joinable model."""
    cache: Any = DynamicCache(config=config)
    cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache


Pairs = list[tuple[Tensor, Tensor]]


def pairs(cache: DynamicCache) -> Pairs:
    """Return the keys and values of each layer that has some."""
    return [(layer.keys, layer.values) for layer in _filled(cache)]


def put(cache: DynamicCache, layers: Pairs) -> None:
    for layer, (keys, values) in zip(_filled(cache), layers, strict=True):
        layer.keys, layer.values = keys, values


def filled(config: Any, layers: Pairs) -> DynamicCache:
    """Return a cache that holds these."""
    cache = growing(config)
    for layer, (keys, values) in zip(cast("list[GrowingLayer]", cache.layers), layers, strict=True):
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
    return cache


def selected(layers: Pairs, rows: Tensor, cut: int) -> Pairs:
    """Return the given rows, without the first `cut` tokens."""
    return [(keys[rows, :, cut:], values[rows, :, cut:]) for keys, values in layers]


def joined(parts: Sequence[Pairs], length: int) -> Pairs:
    """Return the rows of all parts, each padded on the left to the length."""
    return [
        (
            torch.cat([_padded(keys, length) for keys, _ in layer]),
            torch.cat([_padded(values, length) for _, values in layer]),
        )
        for layer in zip(*parts, strict=True)
    ]


def shortened(cache: DynamicCache, length: int) -> None:
    """Take back what a failed step has added to some of the layers."""
    put(cache, [(keys[:, :, :length], values[:, :, :length]) for keys, values in pairs(cache)])


def affordable(model: Any, device: torch.device) -> int | None:
    """Return how many tokens' keys and values there is memory for; None where the model doesn't tell their size."""
    config = model.config.get_text_config(decoder=True)
    heads = getattr(config, "num_key_value_heads", None) or getattr(config, "num_attention_heads", None)
    layers, hidden = getattr(config, "num_hidden_layers", None), getattr(config, "hidden_size", None)
    if not (heads and layers and hidden):
        return None
    width = getattr(config, "head_dim", None) or hidden // config.num_attention_heads
    size = 2 * layers * heads * width * model.dtype.itemsize
    return max(1, _memory(device) // size)


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * SHARE)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min([machine, *_limits()]) * OF_ALL)


def _limits() -> Iterator[int]:
    for path in CONTAINER:
        with suppress(OSError, ValueError):  # there is no such file, or it says `max`
            yield int(Path(path).read_text())


def _filled(cache: DynamicCache) -> list[Any]:
    return [layer for layer in cache.layers if isinstance(layer, DynamicLayer) and layer.is_initialized]


def _padded(states: Tensor, length: int) -> Tensor:
    return pad(states, (0, 0, length - states.shape[-2], 0))
