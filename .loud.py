"""Find what hides that a library has changed: `getattr` with a default, `hasattr`, and signatures read at run time.

Each may be right, and then a comment on its line or just above says why absence is legitimate: `# getattr: …`.

    python tools/loud.py graphs deployments
"""

from __future__ import annotations

import ast
import sys
from collections.abc import Iterator
from pathlib import Path

REASON = "# getattr:"


def main(folders: list[str]) -> int:
    found = [line for folder in folders for path in sorted(Path(folder).rglob("*.py")) for line in unexplained(path)]
    print("\n".join(found) if found else "every lookup that may find nothing says why")
    return 1 if found else 0


def unexplained(path: Path) -> Iterator[str]:
    """Yield `file:line: what` for each lookup without a reason."""
    text = path.read_text(encoding="utf-8")
    lines = text.splitlines()
    for node in ast.walk(ast.parse(text)):
        what = _lookup(node)
        if what is None:
            continue
        first, last = _lines(node)
        if not any(REASON in line for line in lines[max(0, first - 2) : last]):
            yield f"{path}:{first}: {what} hides that a name is missing; use the attribute, or say why with `{REASON} …`"


def _lookup(node: ast.AST) -> str | None:
    if not isinstance(node, ast.Call):
        return None
    match node.func:
        case ast.Name(id="getattr") if len(node.args) == 3:
            return "getattr with a default"
        case ast.Name(id="hasattr"):
            return "hasattr"
        case ast.Name(id="signature") | ast.Attribute(attr="signature", value=ast.Name(id="inspect")):
            return "a signature read at run time"
        case _:
            return None


def _lines(node: ast.AST) -> tuple[int, int]:
    assert isinstance(node, ast.expr)
    return node.lineno, node.end_lineno or node.lineno


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
