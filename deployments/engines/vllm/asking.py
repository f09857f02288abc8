"""An Ask -> vLLM's SamplingParams, by the same rules as the other driver's."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from deployments.engines.engine import Ask, Sampling
from deployments.engines.grammar.blanks import KEYWORD, require_blanks
from deployments.engines.prompts import Prompt
from graphs.errors import InvalidInput

LARGEST_SEED = 2**63 - 1
"""What torch and the wire between vLLM's processes both take."""


def sampling_params(ask: Ask, own: Any, prompt: Prompt, context: int, *, tagged: bool = False) -> Any:
    """Return how vLLM should generate; `own` is the model's GenerationConfig, `tagged` shows special tokens."""
    from vllm.sampling_params import RequestOutputKind, SamplingParams  # pyright: ignore[reportMissingImports]

    from deployments.engines.settings import Space, settle

    constrained = ask.json_schema is not None
    space = Space(len(prompt.ids), context - len(prompt.ids))
    settings = settle(_without_beams(ask.sampling), own, space, stops=prompt.stop, constrained=constrained)
    return SamplingParams(
        max_tokens=settings.most,
        min_tokens=settings.least,
        temperature=settings.draw.temperature,
        top_k=settings.draw.top_k,
        top_p=settings.draw.top_p,
        min_p=own.min_p or 0.0,
        repetition_penalty=settings.repetition_penalty,
        seed=None if settings.seed is None else settings.seed & LARGEST_SEED,
        stop=list(settings.stops),
        structured_outputs=_structure(ask) if constrained else None,
        output_kind=RequestOutputKind.DELTA if ask.streaming else RequestOutputKind.FINAL_ONLY,
        skip_special_tokens=not tagged,
    )


def _without_beams(sampling: Sampling) -> Sampling:
    asked = sampling.num_beams
    if asked is not None and asked > 1:
        raise InvalidInput(
            f"expected num_beams 1, because vLLM has no beam search, got {asked}; leave it out, or write `driver: huggingface`",
            field="params.num_beams",
        )
    return replace(sampling, num_beams=None)


def _structure(ask: Ask) -> Any:
    from vllm.sampling_params import StructuredOutputsParams  # pyright: ignore[reportMissingImports]

    require_blanks()
    return StructuredOutputsParams(json={**(ask.json_schema or {"type": "object"}), **KEYWORD})
