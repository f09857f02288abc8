"""What a component names on this machine, folders and files of packages: paths are relative to the document's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphs.component import ComponentConfig, LocalFolder
from graphs.document import RuntimeEnv
from graphs.source import MappingNode, Mistakes, Node, Scalar
from graphs.validation import describe, to_data

RELATIVE = "paths are relative to the document's folder; write one that exists"
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
        if mark.holding is not None and folder.is_dir():
            message, hint = f"the folder {describe(node)} has no {mark.holding}", "write the folder that holds it"
        else:
            message, hint = f"there is no folder {describe(node)}", RELATIVE
        mistakes.add(node, message, hint)
    return node.value


def runtime_env(written: RuntimeEnv | None, keys: MappingNode, mistakes: Mistakes) -> dict[str, Any] | None:
    """Return the environment for Ray. Requirements are read here: the controller's machine may not have the file."""
    node = keys.get("runtime_env")
    if written is None or node is None or node.kind != "mapping":
        return None
    found = written.model_dump(exclude_none=True)
    for installer in ("pip", "uv"):
        packages = _packages(node.get(installer))
        if packages is not None:
            found[installer]["packages"] = _lines(packages, mistakes)
    conda = node.get("conda")
    if conda is not None and conda.kind == "scalar" and str(conda.value).endswith((".yaml", ".yml")):
        found["conda"] = str(_beside(conda, mistakes))
    return found or None


def _packages(node: Node | None) -> Scalar | None:
    """Return the path of a requirements file, None where packages are written out."""
    if node is not None and node.kind == "mapping":
        node = node.get("packages")
    return node if node is not None and node.kind == "scalar" and isinstance(node.value, str) else None


def _beside(node: Scalar, mistakes: Mistakes, instead: str = "") -> Path:
    path = Path(node.span.source.folder, Path(str(node.value)).expanduser())
    if not path.is_file():
        mistakes.add(node, f"there is no file {describe(node)}", RELATIVE + instead)
    return path


def _lines(node: Scalar, mistakes: Mistakes) -> list[str]:
    path = _beside(node, mistakes, f", or packages as a list: [{'requests' if node.shown else node.value}]")
    try:
        return path.read_text(encoding="utf-8").strip().splitlines() if path.is_file() else []
    except (OSError, UnicodeDecodeError):
        mistakes.add(node, f"the file {describe(node)} can't be read as text", "save it as UTF-8")
        return []
