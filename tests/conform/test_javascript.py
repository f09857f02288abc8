"""What users of the JavaScript clients rely on: each function that a file of `js/` exports is a test, and Node runs a file at once."""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

JS = Path(__file__).parent / "js"
NODE = JS / "node_modules" / "node" / "bin" / "node"
LONGEST = 120
QUICK = {"openai"}


def cases() -> list[object]:
    """Each file of tests with each of its tests."""
    found: list[object] = []
    for name in ("openai", "anthropic", "ai"):
        exported = re.findall(
            r"^export (?:async function|const) (\w+)", (JS / f"{name}.mjs").read_text("utf-8"), re.MULTILINE
        )
        marks = [pytest.mark.quick] if name in QUICK else []
        found += [pytest.param(name, each, id=f"{name}: {each}", marks=marks) for each in exported]
    return found


@pytest.fixture(scope="session")
def told(url: str) -> Callable[[str], dict[str, str | None]]:
    """Run the tests of a file once, and return the errors of each by its name."""
    ran: dict[str, dict[str, str | None]] = {}

    def tell(name: str) -> dict[str, str | None]:
        if name not in ran:
            command = [str(NODE), str(JS / "ask.mjs"), str(JS / f"{name}.mjs")]
            environment = {**os.environ, "SERVER": url, "AI_SDK_LOG_WARNINGS": "false"}
            done = subprocess.run(
                command, env=environment, capture_output=True, text=True, timeout=LONGEST, check=False
            )
            assert done.returncode == 0, done.stderr
            lines = [json.loads(line) for line in done.stdout.splitlines() if line.startswith('{"name":')]
            ran[name] = {line["name"]: line["error"] for line in lines}
        return ran[name]

    return tell


@pytest.mark.parametrize(("name", "case"), cases())
def test_javascript(told: Callable[[str], dict[str, str | None]], name: str, case: str):
    if not NODE.exists():
        if os.environ.get("ANABRANCH_NEEDS_SERVICES"):
            pytest.fail("the JavaScript clients aren't installed, and ANABRANCH_NEEDS_SERVICES wants them")
        pytest.skip("the JavaScript clients aren't installed: they need npm")
    if error := told(name)[case]:
        pytest.fail(error, pytrace=False)
