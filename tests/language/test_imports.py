"""The language costs nothing to import: the command and the editor start with it."""

from __future__ import annotations

import subprocess
import sys


def test_importing_the_language_imports_nothing_heavy() -> None:
    heavy = "{'pydantic', 'ray', 'yaml', 'asyncio', 'aiohttp', 'torch'}"
    code = f"import sys, graphs.language, graphs.suggest; print(sorted({heavy} & set(sys.modules)))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
