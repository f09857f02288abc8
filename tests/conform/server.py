"""The two processes that the clients need: the API behind the server, and the server, `anabranch dev` without Ray."""

from __future__ import annotations

import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DOCUMENT = Path(__file__).parent / "document.yaml"
PRODUCT = ROOT / ".venv" / "bin" / "python"
"""The server runs from the environment that users install; the clients have one of their own."""
STARTS_WITHIN = 90.0
ENDS_WITHIN = 30.0


@contextmanager
def upstream() -> Iterator[str]:
    """Run the API behind the server; yield its address."""
    command = [sys.executable, "-m", "tests.conform.upstream"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        url = process.stdout.readline().strip()
        assert url, "the upstream ended before it listened"
        yield url
    finally:
        _stop(process)


@contextmanager
def serving(folder: Path, upstream: str) -> Iterator[str]:
    """Run the server, its store and its log in this folder; yield its address."""
    log = folder / "server.log"
    told = {
        "UPSTREAM": upstream,
        "STORE": f"sqlite:///{folder}/runs.db",
        "PYTHONPATH": str(ROOT),
        "HF_HUB_OFFLINE": "1",
    }
    environment = {**os.environ, **told}
    with log.open("wb") as out:
        process = subprocess.Popen(
            [str(PRODUCT), "-m", "graphs.cli", "dev", str(DOCUMENT), "--port", "0"],
            cwd=folder, env=environment, stdin=subprocess.DEVNULL, stdout=out, stderr=subprocess.STDOUT,
        )  # fmt: skip
    try:
        yield _served(process, log)
    finally:
        _stop(process)


def _served(process: subprocess.Popen[bytes], log: Path) -> str:
    deadline = time.monotonic() + STARTS_WITHIN
    while time.monotonic() < deadline:
        said = log.read_text(encoding="utf-8")
        if found := re.search(r" on (http://\S+) after ", said):
            return found[1]
        assert process.poll() is None, f"the server ended before it served:\n{said}"
        assert "Waiting for a change" not in said, f"the document is not served:\n{said}"
        time.sleep(0.1)
    raise AssertionError(f"the server doesn't serve within {STARTS_WITHIN:.0f} s:\n{log.read_text(encoding='utf-8')}")


def _stop(process: subprocess.Popen[bytes] | subprocess.Popen[str]) -> None:
    process.send_signal(signal.SIGINT)
    try:
        process.wait(ENDS_WITHIN)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
