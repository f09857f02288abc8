"""Hypothesis: the same examples every time, so that a change fails for what it changed; `--hypothesis-profile=explore` looks further."""

from __future__ import annotations

from hypothesis import settings

settings.register_profile("steady", deadline=None, derandomize=True)
settings.register_profile("explore", deadline=None, print_blob=True)
settings.load_profile("steady")
