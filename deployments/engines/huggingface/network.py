"""A loaded model, and how it wants to be called."""

from __future__ import annotations

import inspect
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from deployments.engines.huggingface.caches import joinable


@dataclass(frozen=True, slots=True)
class Network:
    model: Any
    device: torch.device
    encodes: bool
    """It reads the prompt with an encoder of its own."""
    joins: bool
    """Rows of different lengths can share its cache."""
    takes: frozenset[str]
    """The arguments of its forward pass."""
    start: int = 0
    """What a decoder begins with, where an encoder reads the prompt."""

    @property
    def own(self) -> Any:
        """How the model's authors want it to generate."""
        return self.model.generation_config

    def wait(self) -> None:
        """Return once what was asked of it is done: a GPU takes orders ahead."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def logits(self, **inputs: Any) -> Tensor:
        """Return the scores of each row's next token; what the model doesn't take, it isn't given."""
        inputs["logits_to_keep"] = 1
        inputs["use_cache"] = True
        given = {name: value for name, value in inputs.items() if name in self.takes}
        return self.model(**given).logits[:, -1]


def network(model: Any, device: Any) -> Network:
    """Look at what the model takes."""
    takes = frozenset(inspect.signature(model.forward).parameters)
    encodes = bool(model.config.is_encoder_decoder)
    return Network(
        model=model,
        device=torch.device(device),
        encodes=encodes,
        joins=not encodes and "position_ids" in takes and "past_key_values" in takes and joinable(model.config),
        takes=takes | {"use_cache"},
        start=_start(model.generation_config) if encodes else 0,
    )


def _start(own: Any) -> int:
    start = own.decoder_start_token_id if own.decoder_start_token_id is not None else own.bos_token_id
    return start[0] if isinstance(start, list) else start or 0
