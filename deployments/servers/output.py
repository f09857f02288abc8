"""The bytes a process writes -> lines in the log under its component's name, and the last of them for errors."""

from __future__ import annotations

import codecs
import logging
import re
from collections import deque

logger = logging.getLogger("anabranch.servers")

LONGEST = 4000
"""Characters of a line; what is longer is logged in pieces."""
MORE = "…"
"""Stands where a line was cut: at the end of a piece, and before the next. The redactor looks there for parts of secrets."""
KEPT = 10
SHOWN = 400
"""How many lines an error shows, and how much of each."""

QUOTE = "; it said "
"""Between what happened and what was said."""

_BREAK = re.compile(r"\r\n|\n|\r")
_ESCAPES = re.compile(r"\x1b(?:\[[0-9;?]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\)?|.)?")
_CONTROLS = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


class Output:
    """What one component's processes say."""

    def __init__(self, id: str) -> None:
        self._id = id
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._line = ""
        self._before = ""
        self._last: deque[str] = deque(maxlen=KEPT)

    def begin(self) -> None:
        """Forget what was said: another process begins."""
        self._last.clear()

    def feed(self, packet: bytes) -> None:
        """Log the lines that are complete with these bytes."""
        *lines, self._line = _BREAK.split(self._line + self._decoder.decode(packet))
        for line in lines:
            self._log(line)
        while len(self._line) >= LONGEST:
            self._log(self._line[:LONGEST], MORE)
            self._line = self._line[LONGEST:]

    def end(self) -> None:
        """Log what is left: nothing more comes."""
        self.feed(b"")
        left, self._line = self._line + self._decoder.decode(b"", final=True), ""
        self._decoder.reset()
        self._log(left)

    def quoted(self, what: str) -> str:
        """Return what happened, for an error, with the last lines of the latest process."""
        lines = [line if len(line) <= SHOWN else f"{line[:SHOWN]}{MORE}" for line in self._last]
        return "\n".join([f"{what}{QUOTE}last:", *lines]) if lines else f"{what}{QUOTE}nothing"

    def _log(self, line: str, after: str = "") -> None:
        """Log a line, or a piece of one; `after` stands for what of it is still to come."""
        clean = _CONTROLS.sub("", _ESCAPES.sub("", line)).rstrip()
        for start in range(0, len(clean), LONGEST):
            more = MORE if start + LONGEST < len(clean) else after
            piece = f"{self._before}{clean[start : start + LONGEST]}{more}"
            self._before = more
            self._last.append(piece)
            logger.info("%s | %s", self._id, piece)
        self._before = after


def unquoted(what: str) -> str:
    """Return what happened without what was said: for those who have no use for it, and can't keep its secrets."""
    return what.partition(QUOTE)[0]
