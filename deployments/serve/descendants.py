"""All processes that this one started, directly or not, and their end. On Linux; elsewhere Ray's own clean-up must do."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import time
from collections import defaultdict
from contextlib import suppress
from pathlib import Path

PR_SET_CHILD_SUBREAPER = 36
DEADLINE = 10.0
"""Seconds for killed processes to be gone."""
INTERVAL = 0.02


def keep_descendants() -> None:
    """Stay the ancestor of all that is started from now on: processes whose parent has ended become children of this one."""
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def end_descendants() -> None:
    """Kill every descendant, and those that it starts meanwhile."""
    deadline = time.monotonic() + DEADLINE
    while (left := descendants()) and time.monotonic() < deadline:
        for pid in left:
            with suppress(ProcessLookupError, PermissionError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(INTERVAL)


def descendants() -> list[int]:
    """Return the processes that descend from this one and live."""
    children: defaultdict[int, list[tuple[int, str]]] = defaultdict(list)
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name, in brackets, may hold spaces and brackets itself.
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            children[int(parent)].append((int(stat.parent.name), state))
    found: list[int] = []
    generation = [os.getpid()]
    while generation:
        born = [child for parent in generation for child in children[parent]]
        found += [pid for pid, state in born if state != "Z"]
        generation = [pid for pid, _ in born]
    return found
