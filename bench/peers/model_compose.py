"""model-compose from PyPI into an environment of its own, since it wants other packages than the rest."""

from __future__ import annotations

import subprocess
import sys
from importlib.metadata import distributions

from bench.systems import PEERS, ROOT, NotStarted

VERSION = "0.4.120"
FOLDER = ROOT / ".venv-model-compose"


def install() -> None:
    """Create the environment unless it holds that version already."""
    if _installed() == VERSION:
        return
    print(f"installing model-compose {VERSION} into {FOLDER.name}", file=sys.stderr)
    pip = [FOLDER / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    for command in ([sys.executable, "-m", "venv", FOLDER], [*pip, f"model-compose=={VERSION}"]):
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode != 0:
            raise NotStarted(f"model-compose {VERSION} was not installed: {done.stderr.strip()[-800:]}")


def command(port: int) -> list[str]:
    """Return what serves its document on that port."""
    program, document = FOLDER / "bin" / "model-compose", PEERS / "model_compose.yaml"
    return [str(program), "--file", str(document), "up", "--env", f"PORT={port}"]


def _installed() -> str | None:
    packages = (str(found) for found in FOLDER.glob("lib/python3*/site-packages"))
    versions = (found.version for found in distributions(name="model-compose", path=list(packages)))
    return next(iter(versions), None)
