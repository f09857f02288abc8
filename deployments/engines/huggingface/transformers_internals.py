"""The one file that uses what transformers doesn't promise to keep: caches, arguments of a forward pass, `generate`'s rules.

All that is needed is looked up when this file is imported or a model is loaded. What is missing is told with the versions.
"""

from __future__ import annotations

import inspect
from collections.abc import Sequence
from typing import Any, cast

import torch
import transformers
from torch import Tensor

from graphs.errors import ComponentFailed, Unavailable

VERSIONS = f"transformers {transformers.__version__}, torch {torch.__version__}"

try:
    from transformers import GenerationConfig, GenerationMixin
    from transformers.cache_utils import (
        CacheLayerMixin,
        DynamicCache,
        DynamicLayer,
        EncoderDecoderCache,
        get_layer_types_and_kwargs,
    )
except ImportError as error:
    raise Unavailable(
        f"the driver huggingface doesn't work with {VERSIONS}: {error}; "
        "install the versions it was tested with: pip install 'anabranch[huggingface]'"
    ) from error

NEEDED: tuple[tuple[type, tuple[str, ...]], ...] = (
    (DynamicLayer, ("update", "lazy_initialization", "get_seq_length", "get_mask_sizes", "batch_select_indices")),
    (DynamicCache, ("get_seq_length", "has_previous_state", "reorder_cache", "is_sliding")),
    (EncoderDecoderCache, ("get_seq_length", "reorder_cache")),
    (GenerationMixin, ("_get_logits_processor",)),
)
"""What is overridden here, or called though it is private."""


def refuse_without(needed: Sequence[tuple[type, Sequence[str]]] = NEEDED) -> None:
    """Raise if a class lacks one of its needed members."""
    # getattr: what is missing is collected, and raised below
    missing = [f"{owner.__name__}.{name}" for owner, names in needed for name in names if not hasattr(owner, name)]
    if missing:
        raise Unavailable(
            f"the driver huggingface doesn't work with {VERSIONS}: there is no {', '.join(missing)}; "
            "install the versions it was tested with: pip install 'anabranch[huggingface]'"
        )


refuse_without()

# ---- a model's forward pass

CACHE_NAMES = ("cache", "past_key_values", "cache_params")
"""What a forward pass calls its cache: transformers since 5.24, before it, and before it where a model is recurrent.
Code that models bring keeps the old names."""


def cache_argument(model: Any) -> str:
    """Return the name of the argument by which the model takes its cache."""
    takes = arguments(model)
    for name in CACHE_NAMES:
        if name in takes:
            return name
    raise Unavailable(
        f"the model's class {type(model).__name__} can't generate here: its forward pass takes no cache "
        f"(none of its arguments is named {', '.join(CACHE_NAMES)}; {VERSIONS}); take another model"
    )


def require(model: Any, *names: str) -> None:
    """Raise unless the model's forward pass has an argument of each name."""
    takes = arguments(model)
    missing = [name for name in names if name not in takes]
    if missing:
        raise Unavailable(
            f"the model's class {type(model).__name__} can't generate here: its forward pass takes no "
            f"{' and no '.join(missing)} ({VERSIONS}); take another model"
        )


def arguments(model: Any) -> set[str]:
    """Return the names that a forward pass lists. `use_cache` counts where all others are handed on.

    transformers wraps forward passes by `functools.wraps`, so the signature is that of the model's own function.
    """
    # getattr: nothing is left out by it; `require` and `cache_argument` raise for what is needed and not listed
    parameters = inspect.signature(model.forward).parameters
    names = {name for name, parameter in parameters.items() if parameter.kind is not parameter.VAR_KEYWORD}
    return names | {"use_cache"} if len(names) < len(parameters) else names


# ---- caches

SPARE = 64
"""Tokens of room that a layer takes ahead, at least; copying all keys for each token would cost more than the model."""

JOINABLE = {"full_attention", "sliding_attention"}
"""Layers whose keys and values can be padded, cut and joined. One with a sliding window keeps all tokens here, and the
model masks those outside of the window. Chunks begin at fixed positions, so padding would shift them."""


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


Pairs = list[tuple[Tensor, Tensor]]
"""Keys and values, layer by layer."""


def joinable(config: Any) -> bool:
    """Return whether rows of this model may be padded, cut and joined: all its layers attend to tokens alone."""
    kinds, _ = get_layer_types_and_kwargs(config.get_text_config(decoder=True))
    return JOINABLE.issuperset(kinds)


def growing_cache(config: Any) -> DynamicCache:
    """Return an empty cache for a joinable model."""
    cache: Any = DynamicCache(config=config)
    cache.layers = [GrowingLayer() for _ in cache.layers]
    return cache


def encoder_decoder_cache(config: Any) -> EncoderDecoderCache:
    own = growing_cache(config) if joinable(config) else DynamicCache(config=config)
    return EncoderDecoderCache(own, DynamicCache(config=config))


def filled_cache(config: Any, pairs: Pairs) -> DynamicCache:
    """Return a cache of a joinable model that holds these."""
    cache = growing_cache(config)
    for layer, (keys, values) in zip(cast("list[GrowingLayer]", cache.layers), pairs, strict=True):
        layer.lazy_initialization(keys, values)
        layer.keys, layer.values = keys, values
    return cache


def pairs_of(cache: Any) -> Pairs:
    """Return the keys and values of each layer that has some; of an encoder-decoder's cache, the decoder's own."""
    return [(layer.keys, layer.values) for layer in _filled(cache)]


def put_pairs(cache: Any, pairs: Pairs) -> None:
    for layer, (keys, values) in zip(_filled(cache), pairs, strict=True):
        layer.keys, layer.values = keys, values


def token_bytes(cache: Any) -> int:
    """Return the bytes that each token of a row takes in this cache; 0 where a model keeps a state of fixed size."""
    return sum(each.shape[1] * each.shape[3] * each.element_size() for pair in pairs_of(cache) for each in pair)


def refuse_short(cache: Any, length: int) -> None:
    """Raise unless the cache holds so many tokens: a model that was given it and used another would answer nonsense."""
    own = _own(cache)
    attends = any(isinstance(layer, CacheLayerMixin) for layer in own.layers)
    if attends and own.get_seq_length() != length:
        raise ComponentFailed(
            f"the model doesn't use the cache it is given: expected {length} tokens in it, got {own.get_seq_length()}"
        )
    if not attends and not own.has_previous_state():
        raise ComponentFailed("the model doesn't use the cache it is given: expected a state in it, got none")


def _own(cache: Any) -> Any:
    return cache.self_attention_cache if isinstance(cache, EncoderDecoderCache) else cache


def _filled(cache: Any) -> list[Any]:
    return [layer for layer in _own(cache).layers if isinstance(layer, DynamicLayer) and layer.is_initialized]


# ---- the rules of `generate`


def prepare_rules(said: GenerationConfig, device: torch.device) -> None:
    """Make the tensor of end tokens: `generate` keeps it in this attribute, and its rules read it there."""
    ends = said.eos_token_id
    tokens = [ends] if isinstance(ends, int) else ends
    private = cast("Any", said)
    private._eos_token_tensor = None if tokens is None else torch.tensor(tokens, device=device)  # noqa: SLF001


def rules(model: Any, said: GenerationConfig, before: int, encoded: Tensor | None, device: torch.device) -> list[Any]:
    """Return the rules that `generate` would apply to the scores of one row's next token, in its order.

    `before` counts the tokens of the row's decoder before the first new one, `encoded` is what an encoder has read.
    """
    build = model._get_logits_processor  # noqa: SLF001
    return list(build(said, input_ids_seq_length=before, encoder_input_ids=encoded, device=str(device)))
