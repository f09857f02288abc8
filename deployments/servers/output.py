"""Log the lines that a process writes under its component's name, and keep the last of them for errors."""

from __future__ import annotations

import codecs
import logging
import re
from collections import deque
from collections.abc import Callable

logger = logging.getLogger("anabranch.servers")

LONGEST = 4000
"""Characters of a line; a longer one is logged in pieces."""
MORE = "…"
"""Marks a cut: at the end of a piece, and before the next one."""
KEPT = 10
"""How many lines an error shows."""
SHOWN = 400
"""How much of each line an error shows."""

QUOTE = "; it said "
"""Between what happened and the process's own words."""

_BREAK = re.compile(r"\r\n|\n|\r")
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """The output of one component's processes; `hide` replaces secrets in it, before a line is cut."""

    def __init__(self, id: str, hide: Callable[[str], str] = str) -> None:
        self._id = id
        self._hide = hide
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._before = ""
        self._last: deque[str] = deque(maxlen=KEPT)

    def begin(self) -> None:
        """Forget the output so far: another process begins."""
        self._last.clear()

    def feed(self, packet: bytes) -> None:
        """Log the lines that are complete with these bytes."""
        *lines, self._line = _BREAK.split(self._line + self._decoder.decode(packet))
        for line in lines:
            self._log(line)
        while len(self._line) >= 2 * LONGEST:  # so much that a secret which isn't complete yet stays behind the cut
            self._line = self._clean(self._line)
            self._log_piece(self._line[:LONGEST], MORE)
            self._line = self._line[LONGEST:]

    def end(self) -> None:
        """Log what is left: nothing more comes."""
        left, self._line = self._line + self._decoder.decode(b"", final=True), ""
        if left:
            self._log(left)

    def quoted(self, what: str) -> str:
        """Return what happened, for an error, with the last lines of the latest process. The lines come in another thread."""
        lines = [line if len(line) <= SHOWN else f"{line[:SHOWN]}{MORE}" for line in self._last.copy()]
        return "\n".join([f"{what}{QUOTE}last:", *lines]) if lines else f"{what}{QUOTE}nothing"

    def _log(self, line: str) -> None:
        clean = self._clean(line).rstrip()
        for start in range(0, len(clean), LONGEST):
            self._log_piece(clean[start : start + LONGEST], MORE if start + LONGEST < len(clean) else "")
        self._before = ""

    def _log_piece(self, piece: str, after: str) -> None:
        self._last.append(f"{self._before}{piece}{after}")
        self._before = after
        logger.info("%s | %s", self._id, self._last[-1])

    def _clean(self, line: str) -> str:
        return self._hide(_CONTROLS.sub("", _ESCAPES.sub("", line)))


def unquoted(what: str) -> str:
    """Return what happened without the process's own words: Serve's controller logs it, and doesn't know the secrets."""
    return what.partition(QUOTE)[0]
