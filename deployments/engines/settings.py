"""An Ask and the model's own configuration -> the settings by which one answer is generated."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from deployments.engines.engine import Sampling
from graphs.errors import InvalidInput

DEFAULT_OUTPUT = 256
"""Tokens to generate if neither the Ask nor the model's configuration sets a limit."""

DEFAULT_TOP_K = 50
"""The default of transformers' `generate`, for both drivers. A test compares the two."""

COLDEST = 1e-5
"""A temperature below this divides scores beyond what floats can hold, so the likeliest token is taken."""


@dataclass(frozen=True, slots=True)
class Draw:
    """How a row's token is chosen. The choice doesn't depend on the other rows."""

    temperature: float = 0.0
    """0 takes the likeliest token."""
    top_k: int = 0
    """0 considers every token."""
    top_p: float = 1.0

    @property
    def greedy(self) -> bool:
        return self.temperature == 0

    @property
    def limited(self) -> bool:
        return self.top_k > 0 or self.top_p < 1


@dataclass(frozen=True, slots=True)
class Settings:
    most: int
    """Most new tokens."""
    least: int = 0
    """Fewest new tokens before an end."""
    draw: Draw = field(default_factory=Draw)
    repetition_penalty: float = 1.0
    seed: int | None = None
    stops: tuple[str, ...] = ()
    ends: frozenset[int] = frozenset()
    """Tokens that end the answer."""
    forced_end: bool = False
    """The last token that fits is replaced by an end token."""
    beams: int = 1


@dataclass(frozen=True, slots=True)
class Space:
    """How many tokens stand before the first new one, and for how many more there is room."""

    before: int
    room: int | None


def settle(
    sampling: Sampling,
    own: Any,
    space: Space,
    *,
    ends: frozenset[int] = frozenset(),
    stops: tuple[str, ...] = (),
    streaming: bool = True,
    constrained: bool = False,
    scored: bool = False,
) -> Settings:
    """Return the settings of one answer. `own` is the model's GenerationConfig, `stops` come with the prompt."""
    most = _most(sampling, own, space)
    return Settings(
        most=most,
        least=0 if constrained else _least(sampling, own, space, most),
        draw=_draw(sampling, own),
        repetition_penalty=_first(sampling.repetition_penalty, own.repetition_penalty, 1.0),
        seed=sampling.seed,
        stops=(*sampling.stop, *stops, *_several(own.stop_strings)),
        ends=ends,
        forced_end=own.forced_eos_token_id is not None,
        beams=_beams(sampling, own, streaming, constrained, scored),
    )


def _most(sampling: Sampling, own: Any, space: Space) -> int:
    most = sampling.max_output_length or own.max_new_tokens
    if most is None and own.max_length is not None and own.max_length > space.before:
        most = own.max_length - space.before
    most = most or DEFAULT_OUTPUT
    return most if space.room is None else max(1, min(most, space.room))


def _least(sampling: Sampling, own: Any, space: Space, most: int) -> int:
    if sampling.min_output_length is None:
        own_least = max(own.min_new_tokens or 0, (own.min_length or 0) - space.before)
        return max(0, min(own_least, most))
    if sampling.min_output_length > most:
        raise InvalidInput(
            f"expected min_output_length to be at most {most}, the limit of new tokens, "
            f"got {sampling.min_output_length}; lower it, or raise max_output_length",
            field="params.min_output_length",
        )
    return sampling.min_output_length


def _draw(sampling: Sampling, own: Any) -> Draw:
    temperature = _first(sampling.temperature, own.temperature, 1.0)
    if not _samples(sampling, own) or temperature < COLDEST:
        return Draw()
    return Draw(temperature, _first(sampling.top_k, own.top_k, DEFAULT_TOP_K), _first(sampling.top_p, own.top_p, 1.0))


def _samples(sampling: Sampling, own: Any) -> bool:
    """Return whether to draw: a request for a temperature, top_k or top_p implies it."""
    if sampling.do_sample is not None:
        return sampling.do_sample
    if sampling.temperature is not None:
        return sampling.temperature > 0
    return sampling.top_k is not None or sampling.top_p is not None or bool(own.do_sample)


def _beams(sampling: Sampling, own: Any, streaming: bool, constrained: bool, scored: bool) -> int:
    asked, single = sampling.num_beams, streaming or constrained or scored
    if asked is not None and asked > 1 and single:
        why = "a stream" if streaming else "an answer bound to a schema" if constrained else "logprobs"
        raise InvalidInput(f"expected num_beams 1 for {why}, got {asked}; leave it out", field="params.num_beams")
    return 1 if single else _first(asked, own.num_beams, 1)


def _first(*values: Any) -> Any:
    return next(value for value in values if value is not None)


def ending(own: Any, tokenizer: Any) -> frozenset[int]:
    """Return the tokens that end an answer of this model."""
    return frozenset(_several(tokenizer.eos_token_id if own.eos_token_id is None else own.eos_token_id))


def _several(said: Any) -> Sequence[Any]:
    """Return what a configuration says as one value, as a list of them or not at all."""
    return (said,) if isinstance(said, int | str) else said or ()
