"""Keys and values of several rows, cut and joined; and how many tokens' there is memory for."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import torch
from torch import Tensor
from torch.nn.functional import pad

from deployments.engines.huggingface.transformers_internals import Pairs, pairs_of, put_pairs

SHARE = 0.4
"""Of the memory that is free once a model is loaded, how much keys and values may take: joining copies them."""

OF_ALL = 0.25
"""Of a machine's memory, where what is free can't be told from what only caches files."""

CONTAINER = ("/sys/fs/cgroup/memory.max", "/sys/fs/cgroup/memory/memory.limit_in_bytes")
"""Where Linux says what a container may take of the machine's, in cgroups' two versions."""


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


def shorten(cache: Any, length: int) -> None:
    """Take back what a failed step has added to some of the layers."""
    put_pairs(cache, [(keys[:, :, :length], values[:, :, :length]) for keys, values in pairs_of(cache)])


def token_bytes(cache: Any) -> int:
    """Return the bytes that each token of a row takes in this cache; 0 where a model keeps a state of fixed size."""
    return sum(each.shape[1] * each.shape[3] * each.element_size() for pair in pairs_of(cache) for each in pair)


def affordable(size: int, device: torch.device) -> int | None:
    """Return how many tokens of so many bytes there is memory for; None where tokens take none."""
    return max(1, _memory(device) // size) if size else None


def _memory(device: torch.device) -> int:
    if device.type == "cuda":
        return int(torch.cuda.mem_get_info(device)[0] * SHARE)
    machine = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    return int(min([machine, *_limits()]) * OF_ALL)


def _limits() -> Iterator[int]:
    for path in CONTAINER:
        with suppress(OSError, ValueError):  # there is no such file, or it says `max`
            yield int(Path(path).read_text())


def _padded(states: Tensor, length: int) -> Tensor:
    return pad(states, (0, 0, length - states.shape[-2], 0))
