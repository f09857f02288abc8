"""The wrong documents of this folder -> the messages they earn.

A case is `NNN-what-is-wrong.yaml`, or a folder of files that are merged, and a `.txt` beside it with the exact messages.
A document's first line says which text each message must point at. `python -m tests.mistakes.cases` writes the `.txt`
files anew, to be read and judged before they are committed.
"""

from __future__ import annotations

import json
from contextlib import suppress
from functools import cache
from pathlib import Path

from deployments.components import registry
from graphs.checker import check
from graphs.component import Registry
from graphs.source import Diagnostic, DocumentError, Mistakes, Source, in_order

FOLDER = Path(__file__).parent
ENVIRONMENT = {"PASSWORD": "correct-horse", "PASSPHRASE": "battery staple"}
POINTS = "# points at: "


def cases() -> list[Path]:
    """Return every case: a file or a folder."""
    return sorted(path for path in FOLDER.iterdir() if path.suffix == ".yaml" or list(path.glob("*.yaml")))


def mistakes(case: Path) -> list[Diagnostic]:
    """Return the mistakes and warnings of a case, in the order of its text."""
    return list(_mistakes(case))


@cache
def _mistakes(case: Path) -> tuple[Diagnostic, ...]:
    sources = [Source(file.name, file.read_text(encoding="utf-8")) for file in _files(case)]
    mistakes = Mistakes()
    with suppress(DocumentError):
        check(sources, _registry(), ENVIRONMENT.get, mistakes)
    return tuple(in_order([*mistakes.found, *mistakes.warnings]))


@cache
def _registry() -> Registry:
    return registry()


def rendered(case: Path) -> str:
    """Return the messages as a person reads them."""
    return "".join(f"{diagnostic.render()}\n" for diagnostic in mistakes(case))


def points(case: Path) -> list[str]:
    """Return the texts that the messages must point at, as the document itself says."""
    first, _, _ = _files(case)[0].read_text(encoding="utf-8").partition("\n")
    return json.loads(first.removeprefix(POINTS))


def expected(case: Path) -> Path:
    """Return the file that holds the messages of a case."""
    return case.with_suffix(".txt")


def _files(case: Path) -> list[Path]:
    return sorted(case.glob("*.yaml")) if case.is_dir() else [case]


if __name__ == "__main__":
    for each in cases():
        expected(each).write_text(rendered(each), encoding="utf-8")
