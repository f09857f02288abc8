"""Commands run at once: all of them to their end, and one that fails fails the whole and shows all that it said."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parent.parent.parent


def run(*commands: str) -> tuple[int, str]:
    done = subprocess.run(
        [sys.executable, "tools/side_by_side.py", *commands], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return done.returncode, done.stdout


def test_those_that_pass_show_their_last_lines() -> None:
    status, said = run("seq 10", "echo done")
    assert status == 0
    assert said.count(": passed after") == 2
    assert said.endswith("---- seq 10\n8\n9\n10\n---- echo done\ndone\n")


def test_one_that_fails_fails_the_whole_and_comes_last() -> None:
    status, said = run("sh -c 'seq 10; exit 3'", "echo done")
    assert status == 1
    assert "failed with status 3" in said
    assert said.endswith("\n1\n2\n3\n4\n5\n6\n7\n8\n9\n10\n")
    assert said.index("---- echo") < said.index("---- sh")


def test_they_run_at_once(tmp_path: Path) -> None:
    """Each waits for what the other does."""
    waits = "sh -c 'touch {0}/{1}; until test -e {0}/{2}; do sleep 0.01; done'"
    status, _ = run(waits.format(tmp_path, "a", "b"), waits.format(tmp_path, "b", "a"))
    assert status == 0
