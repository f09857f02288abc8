"""An unknown key and the known ones in; the mistake out, with the key that was probably meant."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, get_args, get_origin

from pydantic import BaseModel

from graphs.source import MappingNode, Mistakes
from graphs.suggest import closest


def unknown_key(
    key: str,
    node: MappingNode,
    place: str,
    names: Iterable[str],
    mistakes: Mistakes,
    models: Iterable[type[BaseModel]] = (),
    otherwise: str | None = None,
) -> str | None:
    """Report an unknown key of a node, and return the known one that was probably meant.

    `place` is what messages call the node. `models` hold its fields, whose own fields the key may be one of.
    `otherwise` is the hint where no known key is near; left out, the list of them.
    """
    names, models, entry = sorted(set(names)), tuple(models), node.entries[key]
    home, meant = _one_level_down(key, names, models)
    above = _unindented(key, node, models)
    near = nearest_key(key, names) if home is None else None
    if home is not None and meant == key:
        hint = f"move `{key}` one level down, under `{home}`"
    elif home is not None:
        hint = f"did you mean '{meant}'? It belongs one level down, under `{home}`"
    elif near is not None:
        hint = f"did you mean '{near}'?"
    elif above is not None:
        hint = f"indent it, if it belongs to `{above}`"
        mistakes.silence(node.entries[above].node.span)
    else:
        hint = otherwise or f"Known keys: {', '.join(names)}."
    mistakes.add(entry, f"unknown key '{key}' in {place}", hint)
    return home or near


ELSEWHERE = {
    "name": "id", "di": "id", "kind": "type", "url": "base_url", "uri": "base_url", "needs": "depends_on",
    "after": "depends_on", "requires": "depends_on", "when": "condition", "if": "condition", "uses": "component",
    "with": "input", "inputs": "input", "args": "input", "outputs": "output", "steps": "jobs", "tasks": "jobs",
    "nodes": "jobs", "retries": "retry", "stream": "streaming", "max_tokens": "max_output_length",
    "max_new_tokens": "max_output_length", "verb": "method", "gpus": "num_gpus", "cpus": "num_cpus",
    "environment": "env", "items": "input", "default": "otherwise", "else": "otherwise", "concurrency": "max_concurrent_count",
    "max_concurrency": "max_concurrent_count", "parallelism": "max_concurrent_count", "cwd": "working_dir", "command": "start", "health_check": "healthcheck",
}  # fmt: skip
"""What keys are called in documents of other tools."""


def nearest_key(key: str, names: Iterable[str]) -> str | None:
    """Return the key that was probably meant: what other tools call so, else the nearest."""
    names = list(names)
    elsewhere = ELSEWHERE.get(key.casefold())
    return elsewhere if elsewhere in names else closest(key, names)


def _one_level_down(
    key: str, names: list[str], models: Iterable[type[BaseModel]]
) -> tuple[str, str] | tuple[None, None]:
    """Return the field that has the key among its own fields, or one that was probably meant, and that one."""
    elsewhere = ELSEWHERE.get(key.casefold(), key)
    inner = [(name, model.model_fields) for name, model in inner_models(models)]
    for wanted in (key, *(() if elsewhere in names else (elsewhere,))):
        for name, fields in inner:
            if wanted in fields:
                return name, wanted
    if nearest_key(key, names) is None:
        for name, fields in inner:
            if (near := nearest_key(key, fields)) is not None:
                return name, near
    return None, None


def _unindented(key: str, node: MappingNode, models: Iterable[type[BaseModel]]) -> str | None:
    """Return the field with nothing after it, right above the key, that takes a mapping: it misses its indentation."""
    fields = {name: field for model in models for name, field in model.model_fields.items()}
    above: str | None = None
    for each, entry in node.entries.items():
        if each == key:
            return above
        if each in fields:
            empty = entry.node.kind == "scalar" and entry.node.value is None
            above = each if empty and _takes_mapping(fields[each].annotation) else None
    return None


def _takes_mapping(annotation: Any) -> bool:
    if annotation is Any or annotation is dict or annotation is Mapping or model_in(annotation) is not None:
        return True
    return any(map(_takes_mapping, (get_origin(annotation), *get_args(annotation)))) if get_args(annotation) else False


def inner_models(models: Iterable[type[BaseModel]]) -> Iterator[tuple[str, type[BaseModel]]]:
    """Yield the fields that hold models, and these."""
    for model in models:
        for name, info in model.model_fields.items():
            if (inner := model_in(info.annotation)) is not None:
                yield name, inner


def model_in(annotation: Any) -> type[BaseModel] | None:
    """Return the model that a field's annotation holds, however deep."""
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return annotation
    for inner in get_args(annotation):
        if (found := model_in(inner)) is not None:
            return found
    return None
