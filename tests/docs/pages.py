"""A Markdown page -> its fenced blocks and tables, each with the mark that says what it is.

A mark is an HTML comment on the line above: `<!-- file: chat.yaml -->` names a block, so that commands on the page can read
it; `<!-- over: base.yaml -->` has a part of a document compiled together with a named block; `<!-- values -->` and the like
say what a table claims. A file that readers needn't see stands inside the comment itself.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from textwrap import dedent

ROOT = Path(__file__).resolve().parent.parent.parent
PAGES = sorted([*ROOT.glob("*.md"), *ROOT.glob("docs/**/*.md")])

FENCE = re.compile(r"^(?P<indent> *)```(?P<language>\w*)\n(?P<text>.*?)^ *```$", re.DOTALL | re.MULTILINE)
HIDDEN = re.compile(r"^<!-- file: (?P<name>\S+)\n(?P<text>.*?)^-->$", re.DOTALL | re.MULTILINE)
MARK = re.compile(r"<!-- (?P<mark>[^\n]+?) -->\s*\Z")
TABLE = re.compile(r"^(?:\|.*\|\n)+", re.MULTILINE)
HEADING = re.compile(r"^#+ (.*)$", re.MULTILINE)
LINK = re.compile(r"\]\(([^)\s]+)\)")


@dataclass(frozen=True)
class Block:
    """A fenced block."""

    page: Path
    line: int
    language: str
    text: str
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"

    def named(self, kind: str) -> str | None:
        """Return what follows `kind: ` in the mark."""
        return self.mark.partition(": ")[2] if self.mark.startswith(f"{kind}: ") else None


@dataclass(frozen=True)
class Table:
    page: Path
    line: int
    rows: tuple[tuple[str, ...], ...]
    mark: str = ""

    def __str__(self) -> str:
        return f"{self.page.name}:{self.line}"


class Page:
    """One page."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.text = path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> tuple[Block, ...]:
        """Every fenced block, in order."""
        return tuple(self._blocks())

    @cached_property
    def files(self) -> dict[str, str]:
        """The texts of the blocks that have a name."""
        hidden = {found["name"]: found["text"] for found in HIDDEN.finditer(self.text)}
        return hidden | {name: block.text for block in self.blocks if (name := block.named("file"))}

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """Every table, without its head."""
        prose = FENCE.sub(lambda found: "\n" * found[0].count("\n"), self.text)
        return tuple(
            Table(self.path, _line(prose, found.start()), _rows(found[0]), _mark(prose[: found.start()]))
            for found in TABLE.finditer(prose)
        )

    @property
    def links(self) -> list[str]:
        """The targets of every link on the page."""
        return LINK.findall(FENCE.sub("", self.text))

    @property
    def anchors(self) -> set[str]:
        """What links into the page may name: its headings, as GitHub spells them."""
        headings = HEADING.findall(FENCE.sub("", self.text))
        return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}

    def after(self, block: Block) -> Block:
        """Return the block that follows another."""
        return self.blocks[self.blocks.index(block) + 1]

    def marked(self, mark: str) -> list[Table]:
        """Return the tables with this mark."""
        return [table for table in self.tables if table.mark == mark]

    def _blocks(self) -> Iterator[Block]:
        for found in FENCE.finditer(self.text):
            line = _line(self.text, found.start()) + 1
            yield Block(self.path, line, found["language"], dedent(found["text"]), _mark(self.text[: found.start()]))


def blocks(*languages: str, page: str = "*") -> list[Block]:
    """Return the blocks of these languages on every page, or on one."""
    return [
        block
        for path in PAGES
        if page in ("*", path.name)
        for block in Page(path).blocks
        if block.language in languages
    ]


def commands(block: Block) -> list[tuple[str, str]]:
    """Return what a transcript types, each command with what it prints."""
    joined = block.text.replace("\\\n", " ")
    typed = re.split(r"^\$ ", joined, flags=re.MULTILINE)[1:]
    return [(command, output) for command, _, output in (each.partition("\n") for each in typed)]


def _line(text: str, at: int) -> int:
    return text.count("\n", 0, at) + 1


def _mark(before: str) -> str:
    found = MARK.search(before[-200:])
    return found["mark"] if found else ""


def _rows(table: str) -> tuple[tuple[str, ...], ...]:
    lines = [re.split(r"(?<!\\)\|", line)[1:-1] for line in table.splitlines()[2:]]
    return tuple(tuple(cell.strip().replace(r"\|", "|") for cell in line) for line in lines)


def code(cell: str) -> str:
    """Return the text between the backticks of a cell."""
    return cell.removeprefix("`").removesuffix("`")
