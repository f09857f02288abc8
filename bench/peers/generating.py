"""What the engine is measured beside: the raw batched loop, above which nothing is; and what one would write with transformers."""

from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import median
from typing import Any


@dataclass(frozen=True)
class Speed:
    """How fast some streams were generated at once."""

    tokens: int
    seconds: float
    first: float
    """Median seconds until the first text of a stream, or its first token where there is no text, reaches its reader."""

    @property
    def rate(self) -> float:
        """Return the tokens a second of all streams together."""
        return self.tokens / self.seconds


def raw(model: Any, prompts: Sequence[Sequence[int]], tokens: int) -> Speed:
    """Generate for all prompts at once, greedily: prefill and one forward pass a token, and nothing besides."""
    import torch

    device = model.device
    began = time.perf_counter()
    with torch.inference_mode():
        longest = max(map(len, prompts))
        ids = torch.tensor([[0] * (longest - len(prompt)) + list(prompt) for prompt in prompts], device=device)
        mask = torch.tensor([[0] * (longest - len(prompt)) + [1] * len(prompt) for prompt in prompts], device=device)
        cache, first = None, 0.0
        for _ in range(tokens):
            positions = (mask.cumsum(-1) - 1).clamp(min=0)[:, -ids.shape[1] :]
            answer = model(
                input_ids=ids,
                attention_mask=mask,
                position_ids=positions,
                past_key_values=cache,
                use_cache=True,
                logits_to_keep=1,
            )
            cache = answer.past_key_values
            ids = answer.logits[:, -1].argmax(-1, keepdim=True)
            ids.tolist()  # tokens are wanted on this side, one step after the other
            mask = torch.cat([mask, mask.new_ones(len(prompts), 1)], dim=-1)
            first = first or time.perf_counter() - began
    return Speed(tokens * len(prompts), time.perf_counter() - began, first)


async def continuous(model: Any, prompts: Sequence[Sequence[int]], tokens: int) -> Speed:
    """Generate by transformers' own continuous batching, its tokens handed to the event loop as they come."""
    from transformers import ContinuousBatchingConfig, GenerationConfig

    blocks = len(prompts) * (max(map(len, prompts)) + tokens) // 256 + len(prompts) + 1
    manager = model.init_continuous_batching(
        GenerationConfig(do_sample=False, max_new_tokens=tokens, eos_token_id=-1),
        ContinuousBatchingConfig(num_blocks=blocks, max_batch_tokens=1024),
    )
    manager.start()
    try:
        await _batched(manager, prompts[:1], 2)  # the first request finds the thread still starting
        return await _batched(manager, prompts, tokens)
    finally:
        manager.stop(block=True)


async def _batched(manager: Any, prompts: Sequence[Sequence[int]], tokens: int) -> Speed:
    began = time.perf_counter()
    firsts: dict[str, float] = {}
    ended = asyncio.Event()
    left = len(prompts)

    def take(output: Any) -> None:
        nonlocal left
        firsts.setdefault(output.request_id, time.perf_counter() - began)
        if output.is_finished():
            left -= 1
            if not left:
                ended.set()

    for number, prompt in enumerate(prompts):
        name = f"{tokens}-{number}"
        manager.register_result_handler(name, take)
        manager.add_request(list(prompt), request_id=name, max_new_tokens=tokens, streaming=True)
    await ended.wait()
    return Speed(tokens * len(prompts), time.perf_counter() - began, median(firsts.values()))


def threads(model: Any, tokenizer: Any, prompts: Sequence[str], tokens: int) -> Speed:
    """Generate each stream by `generate` in a thread of its own, read through transformers' TextIteratorStreamer."""
    began = time.perf_counter()
    firsts: list[float] = []
    reading = [
        threading.Thread(target=_read, args=(model, tokenizer, prompt, tokens, began, firsts)) for prompt in prompts
    ]
    for thread in reading:
        thread.start()
    for thread in reading:
        thread.join()
    return Speed(tokens * len(prompts), time.perf_counter() - began, median(firsts))


def _read(model: Any, tokenizer: Any, prompt: str, tokens: int, began: float, firsts: list[float]) -> None:
    from transformers import TextIteratorStreamer

    streamer = TextIteratorStreamer(tokenizer, skip_prompt=True)
    asked = tokenizer(prompt, return_tensors="pt", return_token_type_ids=False).to(model.device)
    lengths = {"max_new_tokens": tokens, "min_new_tokens": tokens}
    generating = threading.Thread(
        target=model.generate, kwargs={**asked, **lengths, "do_sample": False, "streamer": streamer}
    )
    generating.start()
    first = 0.0
    for text in streamer:
        if text and not first:
            first = time.perf_counter() - began
    firsts.append(first)
    generating.join()
