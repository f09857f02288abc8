"""A loaded model, and how it is called."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
from torch import Tensor
from torch.nn.utils.rnn import pad_sequence

from deployments.engines.huggingface import transformers_internals as internals
from graphs.errors import Unavailable


@dataclass(frozen=True, slots=True)
class Network:
    model: Any
    tokenizer: Any
    device: torch.device
    encodes: bool
    """It reads the prompt with an encoder of its own."""
    joins: bool
    """Rows of different lengths can share its cache."""
    cache_argument: str
    trims: bool
    """It can leave out the scores of all tokens but the last. This saves memory alone, so a model may lack it."""
    start: int = 0
    """What a decoder begins with, where an encoder reads the prompt."""

    @property
    def own(self) -> Any:
        """How the model's authors want it to generate."""
        return self.model.generation_config

    def wait(self) -> None:
        """Return once the GPU has done what it was asked: it takes orders ahead."""
        if self.device.type == "cuda":
            torch.cuda.synchronize(self.device)

    def padded(self, prompts: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        """Return tokens and mask. A decoder continues at the right end, so its prompts are padded on the left."""
        padding = self.model.config.pad_token_id or 0
        return padded(prompts, padding, self.device, side="right" if self.encodes else "left")

    def logits(self, cache: Any, length: int, **inputs: Any) -> Tensor:
        """Return the scores of each row's next token; the cache holds `length` tokens of each row afterwards."""
        inputs[self.cache_argument] = cache
        if self.trims:
            inputs["logits_to_keep"] = 1
        logits = self.model(**inputs, use_cache=True).logits[:, -1]
        internals.refuse_short(cache, length)
        return logits

    def logits_without_cache(self, prompt: Sequence[int], tokens: Sequence[int]) -> Tensor:
        """Return the scores after the prompt and after each of the tokens, all read in one pass."""
        if self.encodes:
            read = torch.tensor([list(prompt)], device=self.device)
            given = torch.tensor([[self.start, *tokens]], device=self.device)
            inputs = {"input_ids": read, "attention_mask": torch.ones_like(read), "decoder_input_ids": given}
            return self.model(**inputs, use_cache=False).logits[0]
        given = torch.tensor([[*prompt, *tokens]], device=self.device)
        return self.model(input_ids=given, use_cache=False).logits[0, len(prompt) - 1 :]


def padded(
    rows: Sequence[Sequence[int]], padding: int, device: Any, side: Literal["left", "right"] = "right"
) -> tuple[Tensor, Tensor]:
    """Return the rows' tokens, short rows padded, and the mask that hides the padding."""
    tokens = [torch.tensor(row, dtype=torch.long) for row in rows]
    both = (
        pad_sequence(tokens, batch_first=True, padding_value=padding, padding_side=side),
        pad_sequence([torch.ones_like(row) for row in tokens], batch_first=True, padding_side=side),
    )
    return both[0].to(device), both[1].to(device)


def network(model: Any, tokenizer: Any, device: Any) -> Network:
    """Look at what the model takes; raise if its forward pass lacks an argument that it will be given."""
    takes = internals.arguments(model)
    encodes = bool(model.config.is_encoder_decoder)
    joins = not encodes and "position_ids" in takes and internals.joinable(model.config)
    if encodes:
        internals.require(model, "attention_mask", "encoder_outputs", "decoder_input_ids", "use_cache")
    elif joins:
        internals.require(model, "input_ids", "attention_mask", "position_ids", "use_cache")
    else:
        internals.require(model, "input_ids", "use_cache")
    return Network(
        model=model,
        tokenizer=tokenizer,
        device=torch.device(device),
        encodes=encodes,
        joins=joins,
        cache_argument=internals.cache_argument(model),
        trims="logits_to_keep" in takes,
        start=_start(model.generation_config) if encodes else 0,
    )


def _start(own: Any) -> int:
    start = own.decoder_start_token_id if own.decoder_start_token_id is not None else own.bos_token_id
    if isinstance(start, list):
        start = start[0]
    if start is None:
        raise Unavailable(
            "the model doesn't say what its answers begin with; write decoder_start_token_id into the "
            "generation_config.json in its folder"
        )
    return start
