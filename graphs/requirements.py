"""What anabranch requires of other distributions, compared with what is installed; a version out of range is refused."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.metadata import PackageNotFoundError, requires, version
from pathlib import Path

from packaging.requirements import Requirement

from graphs.errors import Unavailable

LOCKS = Path(__file__).resolve().parent.parent / "locks"
"""A clone has the exact versions that were tested here; a wheel does not."""


def check_requirements(extra: str = "", lock: str = "serve") -> None:
    """Raise Unavailable where an installed distribution is outside the range that anabranch states for it.

    `extra` names the optional requirements that are about to be used, `lock` the file in `locks/` that holds the
    tested versions. What is not installed at all is left to the import that needs it.
    """
    # A nightly build of a version in the range is meant by the one who installed it.
    wrong = [(each, found) for each, found in _installed(extra) if not each.specifier.contains(found, prereleases=True)]
    if wrong:
        said = "; ".join(
            f"{each.name} {found} is installed, and anabranch needs {_range(each)}" for each, found in wrong
        )
        file = LOCKS / f"{lock}.txt"
        tested = f"-c {file} " if file.exists() else ""
        raise Unavailable(f"{said}; run: pip install {tested}{' '.join(repr(_range(each)) for each, _ in wrong)}")


def installed_version(distribution: str) -> str:
    """Return a distribution's version for a message."""
    try:
        return version(distribution)
    except PackageNotFoundError:
        return "(not installed)"


def _installed(extra: str) -> Iterator[tuple[Requirement, str]]:
    """Yield each requirement that applies here, with the version that is installed."""
    try:
        stated = requires("anabranch") or []
    except PackageNotFoundError:
        return  # run from a checkout that was never installed: nothing states the ranges
    for each in map(Requirement, stated):
        if each.marker is None or each.marker.evaluate({"extra": extra}):
            try:
                yield each, version(each.name)
            except PackageNotFoundError:
                continue


def _range(requirement: Requirement) -> str:
    return requirement.name + ",".join(sorted(map(str, requirement.specifier), reverse=True))
