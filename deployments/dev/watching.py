"""Files in, the names of those that have changed out, once they have stopped changing.

Files are looked at, a few times a second: that costs next to nothing for a handful, sees a file that an editor replaces,
and works in folders that a container or a network shares.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable, Sequence
from pathlib import Path

INTERVAL = 0.2
"""Seconds between two looks. A file that has changed since the last one may still be written."""

UNKNOWN = (0, 0, 0)
"""The state of a file that was read before its state was."""

Look = dict[Path, tuple[int, int, int] | None]


class Watch:
    """Documents, the `.env` beside each, and the code of component types."""

    def __init__(self, documents: Sequence[Path]) -> None:
        self._documents = documents
        self._code: frozenset[Path] = frozenset()
        self._seen = self._look()

    def add(self, files: Iterable[Path], since: int) -> None:
        """Watch these files too. One that was written later than `since`, in nanoseconds, counts as changed."""
        self._code |= frozenset(files)
        for path, state in self._look().items():
            self._seen.setdefault(path, state if state is None or state[0] <= since else UNKNOWN)

    async def changed(self) -> list[Path]:
        """Return the files that have changed since this was asked last, once they are no longer written."""
        while (now := self._look()) == self._seen:  # noqa: ASYNC110  (files send no events that reach every folder)
            await asyncio.sleep(INTERVAL)
        while True:
            await asyncio.sleep(INTERVAL)
            if (later := self._look()) == now:
                break
            now = later
        before, self._seen = self._seen, now
        return [path for path, state in now.items() if before.get(path) != state]

    def _look(self) -> Look:
        env = dict.fromkeys(path.parent / ".env" for path in self._documents)
        return {path: _state(path) for path in (*self._documents, *env, *sorted(self._code))}


def _state(path: Path) -> tuple[int, int, int] | None:
    try:
        known = path.stat()
    except OSError:
        return None
    return (known.st_mtime_ns, known.st_size, known.st_ino)
