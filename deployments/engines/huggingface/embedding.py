"""Texts -> a vector for each, or its labels with their scores. Each batch is one call of the inference thread.

Vectors are pooled as the model's folder says in the files of sentence-transformers (`modules.json`, `1_Pooling/`).
Without these files a vector is the mean over the text's tokens, of length 1.
"""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from deployments.engines import prompts
from deployments.engines.engine import Ask, Pooled, Usage
from deployments.engines.huggingface.loading import Loaded
from graphs.errors import Unavailable

if TYPE_CHECKING:
    import torch

Call = Callable[[Callable[[], Any]], Awaitable[Any]]
"""Runs a function in the inference thread."""

Mode = Literal["mean", "cls", "max", "lasttoken"]
MODES: tuple[Mode, ...] = ("mean", "cls", "max", "lasttoken")
OLD_NAMES = {
    "pooling_mode_mean_tokens": "mean", "pooling_mode_cls_token": "cls", "pooling_mode_max_tokens": "max",
    "pooling_mode_lasttoken": "lasttoken",
}  # fmt: skip
"""Their names in folders written before sentence-transformers 5."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """How a text's vector is made of its tokens' vectors."""

    mode: Mode = "mean"
    normalized: bool = True
    longest: int | None = None
    """Texts are cut to so many tokens, because the model was trained on no longer ones."""


async def embed(
    loaded: Loaded, texts: Sequence[str], batch_size: int, max_input_length: int | None, call: Call
) -> Pooled:
    """Return a vector for each text, in order."""
    recipe = read_recipe(loaded.folder, loaded.name)
    cut = min(filter(None, (max_input_length, recipe.longest)), default=None)
    return await _in_batches(loaded, texts, batch_size, cut, call, lambda ids: _vectors(loaded, ids, recipe))


async def classify(
    loaded: Loaded, texts: Sequence[str], batch_size: int, max_input_length: int | None, call: Call
) -> Pooled:
    """Return all labels of each text with their scores, the likeliest first."""
    return await _in_batches(loaded, texts, batch_size, max_input_length, call, lambda ids: _labels(loaded, ids))


def read_recipe(folder: Path, name: str) -> Recipe:
    """Read how to pool from the model's folder."""
    modules = folder / "modules.json"
    if not modules.is_file():
        return Recipe()
    parts = {part["type"].rpartition(".")[2]: part["path"] for part in _json(modules)}
    if strange := sorted(parts.keys() - {"Transformer", "Pooling", "Normalize"}):
        raise Unavailable(
            f"model {name!r} makes its vectors with {', '.join(strange)}, which this driver doesn't support; "
            "take a model that only pools, or serve it by an http-server"
        )
    said = _json(folder / parts["Pooling"] / "config.json") if "Pooling" in parts else {}
    return Recipe(
        _mode(said, name), "Normalize" in parts, _json(folder / "sentence_bert_config.json").get("max_seq_length")
    )


def _mode(said: dict[str, Any], name: str) -> Mode:
    chosen = [said["pooling_mode"]] if "pooling_mode" in said else [key for key, on in said.items() if on is True]
    named = [OLD_NAMES.get(key, key) for key in chosen if key != "include_prompt"]
    match named:
        case []:
            return "mean"
        case [mode] if mode in MODES:
            return mode
        case _:
            raise Unavailable(
                f"model {name!r} pools by {', '.join(named)}; this driver supports {', '.join(MODES)}; take another model"
            )


def _json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


async def _in_batches(
    loaded: Loaded,
    texts: Sequence[str],
    batch_size: int,
    max_input_length: int | None,
    call: Call,
    pool: Callable[[list[list[int]]], list[Any]],
) -> Pooled:
    """Pool batch by batch. Other calls come between batches, and a call whose client leaves ends with its batch.

    Texts of similar length share a batch, because a batch is padded to its longest text.
    """
    asks = [Ask(text=text, max_input_length=max_input_length) for text in texts]
    known = (loaded.tokenizer, loaded.config, loaded.task, loaded.context)
    ids = [(await prompts.prepare(ask, *known, 0)).ids for ask in asks]
    order = sorted(range(len(ids)), key=lambda index: len(ids[index]))
    values: list[Any] = [None] * len(ids)
    for start in range(0, len(order), batch_size):
        batch = order[start : start + batch_size]
        found = await call(lambda batch=batch: pool([ids[index] for index in batch]))
        for index, value in zip(batch, found, strict=True):
            values[index] = value
    return Pooled(values, Usage(prompt_tokens=sum(map(len, ids))))


def _vectors(loaded: Loaded, ids: list[list[int]], recipe: Recipe) -> list[list[float]]:
    import torch

    tokens, mask = _padded(loaded, ids)
    states = loaded.model(input_ids=tokens, attention_mask=mask).last_hidden_state.float()
    vectors = _pool(states, mask, recipe.mode)
    return (torch.nn.functional.normalize(vectors, dim=-1) if recipe.normalized else vectors).tolist()


def _pool(states: torch.Tensor, mask: torch.Tensor, mode: Mode) -> torch.Tensor:
    """Return a vector for each row of `[rows, tokens, width]`. Padding is on the right."""
    import torch

    match mode:
        case "cls":
            return states[:, 0]
        case "lasttoken":
            return states[torch.arange(len(states), device=states.device), mask.sum(1) - 1]
        case "max":
            return states.masked_fill(mask.unsqueeze(-1) == 0, float("-inf")).amax(1)
        case "mean":
            weights = mask.unsqueeze(-1).to(states.dtype)
            return (states * weights).sum(1) / weights.sum(1)


def _labels(loaded: Loaded, ids: list[list[int]]) -> list[list[dict[str, Any]]]:
    tokens, mask = _padded(loaded, ids)
    scores = _scores(loaded.model(input_ids=tokens, attention_mask=mask).logits.float(), loaded.config)
    return [ranked(row, loaded.config.id2label) for row in scores.tolist()]


def _scores(logits: torch.Tensor, config: Any) -> torch.Tensor:
    """Return scores as the model was trained to give them: for one label of several, for any number of labels, or a number."""
    if config.problem_type == "regression":
        return logits
    several = config.problem_type == "multi_label_classification" or logits.shape[-1] == 1
    return logits.sigmoid() if several else logits.softmax(-1)


def ranked(scores: Iterable[float], labels: Mapping[int, str]) -> list[dict[str, Any]]:
    """Return the labels with their scores, the likeliest first."""
    found = [{"label": labels[index], "score": score} for index, score in enumerate(scores)]
    return sorted(found, key=lambda each: -each["score"])


def _padded(loaded: Loaded, ids: list[list[int]]) -> tuple[torch.Tensor, torch.Tensor]:
    from deployments.engines.huggingface.network import padded

    # The mask hides the padding, so any token will do.
    pad = next((id for id in (loaded.config.pad_token_id, loaded.tokenizer.pad_token_id) if id is not None), 0)
    return padded(ids, pad, loaded.device)
