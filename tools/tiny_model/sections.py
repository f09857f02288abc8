"""Read a text file of sections: `[name]`, then lines in groups that an empty line parts; `#` begins a comment."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

TEXTS = Path(__file__).parent / "texts"


@dataclass(frozen=True, slots=True)
class Section:
    name: str
    groups: tuple[tuple[str, ...], ...]

    @property
    def lines(self) -> tuple[str, ...]:
        return tuple(line for group in self.groups for line in group)

    def words(self, separator: str | None = None) -> tuple[str, ...]:
        """Return what separators part, line ends among them."""
        parts = (part.strip() for line in self.lines for part in line.split(separator))
        return tuple(part for part in parts if part)


Sections = dict[str, Section]


def read_sections(path: Path) -> Sections:
    found: dict[str, list[list[str]]] = {}
    groups: list[list[str]] = []
    for line in path.read_text(encoding="utf-8").splitlines():
        if line.startswith("#"):
            continue
        if line.startswith("["):
            groups = found.setdefault(line.strip("[]"), [[]])
        elif line:
            groups[-1].append(line)
        elif groups and groups[-1]:
            groups.append([])
    return {name: Section(name, tuple(tuple(group) for group in groups if group)) for name, groups in found.items()}
