"""An unknown word and the known ones in; the one that was probably meant out."""

from __future__ import annotations

from collections.abc import Iterable
from difflib import get_close_matches

LONGEST = 64
"""Words longer than this are not compared: the cost grows with the square of the length."""


def closest(word: str, candidates: Iterable[str]) -> str | None:
    """Return the candidate that `word` was probably meant to be, None when none is near enough."""
    if len(word) > LONGEST:
        return None
    known: dict[str, str] = {}
    for candidate in candidates:
        if len(candidate) <= LONGEST:
            known.setdefault(_folded(candidate), candidate)
    sought = _folded(word)
    # Short words differ by much when they differ at all: one letter of three is still a likely slip.
    cutoff = 0.6 if len(sought) <= 4 else 0.7
    near = [sought] if sought in known else get_close_matches(sought, known, n=1, cutoff=cutoff)
    return known[near[0]] if near else None


def did_you_mean(word: str, candidates: Iterable[str], listed: str) -> str:
    """Return the hint for an unknown word: the nearest candidate, and `listed`, a sentence with all of them."""
    near = closest(word, candidates)
    return f"did you mean '{near}'? {listed}" if near else listed


def _folded(word: str) -> str:
    """Case, `_` against `-` and spaces are no difference worth a message of its own."""
    return word.casefold().replace("_", "-").replace(" ", "-")
