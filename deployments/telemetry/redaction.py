"""Text and data in, the same with every secret in it replaced: for errors that leave a replica, and for its log."""

from __future__ import annotations

import base64
import logging
import re
import traceback
from collections.abc import Iterable, Mapping
from typing import Any, cast

from graphs.errors import AnabranchError, from_data

MASK = "***"
SHORTEST = 4
"""Shorter values keep nothing secret, and would mask half of every sentence. The same holds for parts of secrets."""
TELLING = 8
"""So many characters of a secret at the end of a text are a secret that was cut there; of a shorter one, half of it."""
LONG = 1000
"""In data, whose texts are rarely cut, only the end of a text as long as this may be a cut."""

_UNIT = re.compile(r"\s+|\\+|.", re.DOTALL)
_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?")
_BROKEN = r"(?:%[0-9A-Fa-f]{0,3}|\\{1,4}(?:u[0-9A-Fa-f]{0,3})?)?"
"""What a cut may leave of an escape."""
_CUT = re.compile(_BROKEN + r"""(?=['"]?(?:…|\.\.\.))""")
_END = re.compile(_BROKEN + r"\Z")
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_STANDARD = str.maketrans("-_", "+/")


class Redactor:
    """Replaces the secrets it was told: written as they are, escaped as in URLs and JSON, inside base64, and parts of them
    where a text was cut."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets = [_Secret(secret) for secret in sorted(set(secrets)) if len(secret) >= SHORTEST]
        heads = "|".join(secret.head for secret in self._secrets)
        self._spots = re.compile(f"(?={heads})|(?<=…)(?=\\S)") if heads else None

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        return self._clean(text, may_be_cut=True)

    def value(self, value: Any) -> Any:
        """Return JSON-like data without secrets, in its keys neither."""
        if self._spots is None:
            return value
        match value:
            case str():
                return self._clean(value, may_be_cut=len(value) >= LONG)
            case Mapping():
                return {self.value(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case bytes():
                clean = self.value(text := value.decode("latin-1"))
                return value if clean == text else clean.encode("latin-1")
            case _:
                return value

    def error(self, error: AnabranchError) -> AnabranchError:
        """Return the error without secrets in its message and details; its type and the keys are the product's own words."""
        if self._spots is None:
            return error
        details = {key: self._detail(value) for key, value in error.to_data().items()}
        return from_data({**details, "type": error.type, "message": self.text(error.message)})

    def _detail(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in cast("Mapping[str, Any]", value).items()}
        return self.value(value)

    def _clean(self, text: str, may_be_cut: bool) -> str:
        if self._spots is None:
            return text
        return _BASE64.sub(self._unless_secret, self._masked(self._spots, text, may_be_cut))

    def _masked(self, spots: re.Pattern[str], text: str, may_be_cut: bool) -> str:
        kept: list[str] = []
        done = 0
        for spot in spots.finditer(text):
            if (start := spot.start()) < done:
                continue
            # The longest: a secret that is part of another one must not leave the rest of it standing.
            end = max(secret.end(text, start, may_be_cut) for secret in self._secrets)
            if end > start:
                kept += (text[done:start], MASK)
                done = end
        return "".join((*kept, text[done:]))

    def _unless_secret(self, found: re.Match[str]) -> str:
        """Return what looks like base64 unless there is a secret in it, as in `Authorization: Basic …`."""
        assert self._spots is not None
        letters = found[0].rstrip("=").translate(_STANDARD)
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]
        inside = base64.b64decode(letters + "=" * (-len(letters) % 4)).decode("latin-1")
        return found[0] if self._masked(self._spots, inside, may_be_cut=True) == inside else MASK


class _Secret:
    """One secret, in every way it may be written."""

    def __init__(self, secret: str) -> None:
        units = [_spelled(unit) for unit in _UNIT.findall(secret)]
        if len(units) < SHORTEST:  # nearly nothing but spaces: they are meant as they stand
            units = [re.escape(letter) for letter in secret]
        scheme = _SCHEME.match(secret)
        told = scheme.end() if scheme else 0  # `https://` tells nothing
        self.head = "".join(units[:SHORTEST])
        self._whole = re.compile("".join(units))
        self._units = [re.compile(unit) for unit in units]
        self._part = told + SHORTEST
        self._telling = told + max(SHORTEST, min(TELLING, -(-(len(units) - told) // 2)))

    def end(self, text: str, start: int, may_be_cut: bool) -> int:
        """Return where the secret ends that begins here, or of which this is a part; where there is none, the start."""
        if whole := self._whole.match(text, start):
            return whole.end()
        end = self._end_of_part(text, start, 0, may_be_cut)
        if end == start and text[start - 1 : start] == "…":
            parts = (self._end_of_part(text, start, first, may_be_cut) for first in range(1, len(self._units)))
            return max(parts, default=start)
        return end

    def _end_of_part(self, text: str, start: int, first: int, may_be_cut: bool) -> int:
        at, known = start, first
        while known < len(self._units) and (unit := self._units[known].match(text, at)):
            at, known = unit.end(), known + 1
        if known == len(self._units):
            return at if known - first >= SHORTEST else start
        least = self._part if first == 0 else SHORTEST
        if known - first >= least and (cut := _CUT.match(text, at)):
            return cut.end()
        if may_be_cut and known - first >= self._telling and (cut := _END.match(text, at)):
            return cut.end()
        return start


def _spelled(unit: str) -> str:
    """Return a pattern of the ways to write a character, or a run of white space or of backslashes: of any length, for
    messages write spaces as one, and each escape doubles the backslashes."""
    if unit.isascii() and unit.isalnum():
        return unit
    if unit.isspace():
        return r"(?:\s|\+|\\{1,4}(?:[nrt]|u00(?:20|0[9AaDd]))|%(?:25){0,2}(?:20|0[9AaDd])){1,200}"
    if unit.startswith("\\"):
        return r"(?:\\|%(?:25){0,2}5[Cc]|u005[Cc]){1,200}"
    octets = unit.encode(errors="replace")
    in_url = "".join(f"%(?:25){{0,2}}{octet:02X}" for octet in octets)
    in_json = "".join(
        rf"\\{{1,4}}u{half}" for half in re.findall("....", unit.encode("utf-16-be", "surrogatepass").hex())
    )
    plain = rf"\\{{0,4}}{re.escape(unit)}"
    return f"(?:(?i:{in_url}|{in_json})|{plain}|{re.escape(octets.decode('latin-1'))})"


class Redaction(logging.Filter):
    """Keeps secrets out of log records, their tracebacks included."""

    def __init__(self, redactor: Redactor) -> None:
        super().__init__()
        self._redactor = redactor

    def filter(self, record: logging.LogRecord) -> bool:
        """Redact the record; it is never left out."""
        record.msg = self._redactor.text(record.getMessage())
        record.args = None
        if record.exc_info and not record.exc_text:
            # Not by a Formatter, which prints to a file: in replicas Ray has a `print` of its own, and it garbles that.
            record.exc_text = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
        if record.exc_text:
            # Formatters print `exc_text` when it is there: the exception itself would be printed as it is.
            record.exc_text = self._redactor.text(record.exc_text)
            record.exc_info = None
        return True


def redact_logs(redactor: Redactor) -> None:
    """Send what a replica logs under `anabranch` to its own log in Ray, and redact all that is written there.

    Ray sets up its own logger alone: without this, ours would go to stderr, past every filter.
    """
    ours, rays = logging.getLogger("anabranch"), logging.getLogger("ray.serve")
    if rays.handlers:
        ours.handlers = list(rays.handlers)
        ours.setLevel(logging.INFO)
        ours.propagate = False
    loggers = (logging.getLogger(), logging.getLogger("ray"), rays, ours)
    for handler in {id(handler): handler for logger in loggers for handler in logger.handlers}.values():
        handler.addFilter(Redaction(redactor))
