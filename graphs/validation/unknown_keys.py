"""A key that nobody knows, and those that are known -> the mistake, with the key that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Any

from pydantic import BaseModel

from graphs.source import Mistakes, Span
from graphs.suggest import closest


def unknown_key(
    key: str,
    span: Span,
    path: str,
    place: str,
    names: Iterable[str],
    mistakes: Mistakes,
    models: Iterable[type[BaseModel]] = (),
) -> str | None:
    """Tell an unknown key, with the nearest known one, which is returned; `models` may know it one level down."""
    names = sorted(set(names))
    models = tuple(models)
    near, home = nearest_key(key, names), _home_of(key, models)
    below = _below(key, models) if near is None else None
    if home is not None:
        hint = f"move `{key}` one level down, under `{home}`"
    elif below is not None:
        home, meant = below
        hint = f"did you mean '{meant}'? It stands one level down, under `{home}`"
    else:
        hint = f"did you mean '{near}'?" if near else f"Known keys: {', '.join(names)}."
    mistakes.add(span, f"unknown key '{key}' in {place}", hint, path)
    return near if home is None else home


ELSEWHERE = {
    "name": "id", "di": "id", "kind": "type", "url": "base_url", "uri": "base_url", "needs": "depends_on",
    "after": "depends_on", "requires": "depends_on", "when": "condition", "if": "condition", "uses": "component",
    "with": "input", "inputs": "input", "args": "input", "outputs": "output", "steps": "jobs", "tasks": "jobs",
    "nodes": "jobs", "retries": "retry", "stream": "streaming", "max_tokens": "max_output_length",
    "max_new_tokens": "max_output_length", "verb": "method", "gpus": "num_gpus", "cpus": "num_cpus",
    "environment": "env", "cwd": "working_dir", "command": "start", "health_check": "healthcheck",
}  # fmt: skip
"""What keys are called in documents of other tools."""


def nearest_key(key: str, names: Iterable[str]) -> str | None:
    """Return the key that was probably meant: the nearest, else what other tools call so."""
    names = list(names)
    near, elsewhere = closest(key, names), ELSEWHERE.get(key.casefold())
    return elsewhere if near is None and elsewhere in names else near


def _home_of(key: str, models: Iterable[type[BaseModel]]) -> str | None:
    """Return the field whose own fields have that name."""
    return next((name for name, inner in _inner(models) if key in inner.model_fields), None)


def _below(key: str, models: Iterable[type[BaseModel]]) -> tuple[str, str] | None:
    """Return the field among whose own fields one was probably meant, and that one."""
    found = ((name, nearest_key(key, inner.model_fields)) for name, inner in _inner(models))
    return next(((name, near) for name, near in found if near is not None), None)


def _inner(models: Iterable[type[BaseModel]]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the fields that hold models, and these."""
    for model in models:
        for name, info in model.model_fields.items():
            if (inner := model_in(info.annotation)) is not None:
                yield name, inner


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field's annotation holds, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in getattr(annotation, "__args__", ()):
        if (found := model_in(inner)) is not None:
            return found
    return None
