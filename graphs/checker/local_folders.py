"""The folders that a component names, made absolute: paths are relative to the document's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphs.component import ComponentConfig, LocalFolder
from graphs.source import MappingNode, Mistakes, Node, Scalar
from graphs.validation import describe, to_data

EXPLICIT = ("./", "../", "/", "~")
ELSEWHERE = ("/", "~")
"""Folders of the machine that the replica runs on, which needn't be this one."""


def folders(model: type[ComponentConfig], config: MappingNode, mistakes: Mistakes) -> dict[str, Any]:
    """Return the fields that may name folders, absolute where they do; report folders that don't exist."""
    found: dict[str, Any] = {}
    for name, field in model.model_fields.items():
        mark = next((each for each in field.metadata if isinstance(each, LocalFolder)), None)
        node = config.get(name)
        if mark is not None and node is not None and node.kind != "bound":
            found[name] = _resolved(node, mark, mistakes)
    return found


def _resolved(node: Node, mark: LocalFolder, mistakes: Mistakes) -> Any:
    if node.kind == "list":
        return [_resolved(item, mark, mistakes) for item in node.items]
    if node.kind != "scalar" or not isinstance(node.value, str):
        return to_data(node)
    folder = Path(node.span.source.folder, Path(node.value).expanduser())
    if mark.holding is None and node.value.startswith(ELSEWHERE):
        return node.value
    if folder.is_dir() if mark.holding is None else (folder / mark.holding).is_file():
        return str(folder.resolve())
    if mark.holding is None or node.value.startswith(EXPLICIT):
        _report(node, folder, mark, mistakes)
    return node.value


def _report(node: Scalar, folder: Path, mark: LocalFolder, mistakes: Mistakes) -> None:
    shown = describe(node)
    if mark.holding is not None and folder.is_dir():
        message, hint = f"the folder {shown} has no {mark.holding}", "write the folder that holds it"
    else:
        message, hint = (
            f"there is no folder {shown}",
            "paths are relative to the document's folder; write one that exists",
        )
    mistakes.add(node, message, hint)
