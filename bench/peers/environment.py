"""A peer from PyPI into an environment of its own, since it wants other packages than the rest."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.metadata import distributions
from pathlib import Path

from bench.systems import ROOT, NotStarted


@dataclass(frozen=True)
class Environment:
    """The environment of one package, of one version."""

    package: str
    version: str
    requirements: Sequence[str]
    """What pip is told to install."""

    @property
    def folder(self) -> Path:
        return ROOT / f".venv-{self.package}"

    @property
    def program(self) -> str:
        """Return the path of the program that has the package's name."""
        return str(self.folder / "bin" / self.package)

    def install(self) -> None:
        """Create the environment unless it holds that version already."""
        if self._installed() == self.version:
            return
        print(f"installing {self.package} {self.version} into {self.folder.name}", file=sys.stderr)
        pip = [self.folder / "bin" / "python", "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
        for command in ([sys.executable, "-m", "venv", self.folder], [*pip, *self.requirements]):
            done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
            if done.returncode != 0:
                raise NotStarted(f"{self.package} {self.version} was not installed: {done.stderr.strip()[-800:]}")

    def _installed(self) -> str | None:
        packages = (str(found) for found in self.folder.glob("lib/python3*/site-packages"))
        versions = (found.version for found in distributions(name=self.package, path=list(packages)))
        return next(iter(versions), None)
