"""Write the tables of the vendors' parameters into the docs: each stands below a mark that names where they are declared.

python tools/parameter_tables.py docs/*.md
"""

from __future__ import annotations

import re
import sys
from importlib import import_module
from pathlib import Path

from deployments.conversations.parameters import table

MARKED = re.compile(r"(<!-- parameters: ([\w.]+):(\w+) -->\n)(.*?)(<!-- end of parameters -->)", re.DOTALL)


def main(pages: list[str]) -> int:
    for path in map(Path, pages):
        text = path.read_text(encoding="utf-8")
        if (new := written(text)) != text:
            path.write_text(new, encoding="utf-8")
            print(f"{path}: written")
    return 0


def written(page: str) -> str:
    """Return the page with its tables as the code declares them."""
    return MARKED.sub(lambda found: f"{found[1]}\n{table(vars(import_module(found[2]))[found[3]])}\n\n{found[5]}", page)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
