"""A runtime environment as written in; what Ray gets out. Paths are relative to the document's folder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from graphs.document.runtime_env import RuntimeEnv
from graphs.source import MappingNode, Mistakes, Node, Scalar
from graphs.validation import describe


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
        hint = f"paths are relative to the document's folder; write one that exists{instead}"
        mistakes.add(node, f"there is no file {describe(node)}", hint)
    return path


def _lines(node: Scalar, mistakes: Mistakes) -> list[str]:
    path = _beside(node, mistakes, f", or packages as a list: [{'requests' if node.shown else node.value}]")
    try:
        return path.read_text(encoding="utf-8").strip().splitlines() if path.is_file() else []
    except (OSError, UnicodeDecodeError):
        mistakes.add(node, f"the file {describe(node)} can't be read as text", "save it as UTF-8")
        return []
