"""Tiny models behind engines, asked."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from functools import cache
from pathlib import Path
from typing import Any

import torch

from deployments.engines.engine import Ask, Ended, Engine, Sampling
from deployments.engines.huggingface.engine import HuggingFace
from deployments.engines.huggingface.loading import Loaded, load
from tests.engines import tiny

PROMPTS = (
    "Once upon a time",
    "The quick brown fox jumps over the lazy dog, and the dog",
    "안녕하세요",
    "A",
    "Write a short story about a lighthouse, a lamp and the sea. Write a short story about a river.",
    "从前有一条小河",
)
"""Of several lengths."""


@cache
def loaded(kind: str, task: str = "text-generation") -> Loaded:
    return load(str(tiny.model(kind)), task)


@asynccontextmanager
async def serving(model: str | Path | Loaded, **options: Any) -> AsyncIterator[HuggingFace]:
    """Give an engine over a kind of tiny model, a folder, or what was loaded already."""
    if isinstance(model, Path):
        model = load(str(model), "text-generation")
    engine = HuggingFace(loaded(model) if isinstance(model, str) else model, **options)
    try:
        yield engine
    finally:
        await engine.aclose()


def ask(text: str, streaming: bool = True, **sampling: Any) -> Ask:
    return Ask(text=text, streaming=streaming, sampling=Sampling(**sampling))


async def pieces(engine: Engine, ask: Ask) -> tuple[list[str], Ended]:
    """Return all texts that came, and how it ended."""
    *texts, ended = [piece async for piece in engine.generate(ask)]
    assert isinstance(ended, Ended)
    assert all(isinstance(text, str) and text for text in texts)
    return texts, ended


async def answer(engine: Engine, ask: Ask) -> str:
    return "".join((await pieces(engine, ask))[0])


async def answers(engine: Engine, asks: Sequence[Ask]) -> list[str]:
    """Return what each is answered, all asked at once."""
    return list(await asyncio.gather(*(answer(engine, each) for each in asks)))


def generated(model: Loaded, text: str, **said: Any) -> str:
    """Return what transformers' `generate` gives for this text alone."""
    return decoded(model, tokens(model, text, **said))


def tokens(model: Loaded, text: str, **said: Any) -> list[int]:
    prompt = torch.tensor([model.tokenizer(text)["input_ids"]])
    said = {"do_sample": False, "num_beams": 1, "pad_token_id": model.config.pad_token_id or 0} | said
    with torch.inference_mode():
        found = model.model.generate(prompt, attention_mask=torch.ones_like(prompt), **said)
    return found[0, 1 if model.config.is_encoder_decoder else prompt.shape[1] :].tolist()


def decoded(model: Loaded, tokens: Sequence[int]) -> str:
    return model.tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
