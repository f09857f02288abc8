"""Replace the secrets of a document in text, in data and in errors."""

from __future__ import annotations

import base64
import re
from collections.abc import Iterable, Mapping
from typing import Any, cast

from graphs.errors import AnabranchError

MASK = "***"
SHORTEST = 4
"""A shorter value is no secret: it would be masked in half of all sentences. The same holds for the beginning of one."""

_UNIT = re.compile(r"\s+|\\+|.", re.DOTALL)
_SCHEME = re.compile(r"(?:[A-Za-z][A-Za-z0-9+.-]*://)?")
_CUT = re.compile(r"""(?:%[0-9A-Fa-f]{0,3}|\\{1,4}(?:u[0-9A-Fa-f]{0,3})?)?(?=['"]?(?:…|\.\.\.))""")
"""Where a text was cut: perhaps part of an escape, then an ellipsis."""
_BASE64 = re.compile(r"[A-Za-z0-9+/_-]{8,}={0,2}")
_STANDARD = str.maketrans("-_", "+/")


class Redactor:
    """Replaces each of the secrets: as it is, escaped as in URLs and in JSON, and inside base64.

    Text is redacted before it is cut, wherever the secrets are known. Where they aren't (a component quotes a part of an
    upstream's answer), an ellipsis follows the cut: the beginning of a secret before an ellipsis is replaced too.
    """

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self.secrets = frozenset(secret for secret in secrets if len(secret) >= SHORTEST)
        self._forms = [_Forms(secret) for secret in sorted(self.secrets)]
        heads = "|".join(forms.head for forms in self._forms)
        self._heads = re.compile(f"(?={heads})") if heads else None

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        if self._heads is None:
            return text
        return _BASE64.sub(self._unless_secret, self._masked(self._heads, text))

    def value(self, value: Any) -> Any:
        """Return JSON-like data without secrets, in its keys neither."""
        if self._heads is None:
            return value
        match value:
            case str():
                return self.text(value)
            case Mapping():
                return {self.value(key): self.value(item) for key, item in value.items()}
            case list() | tuple():
                return [self.value(item) for item in value]
            case bytes():
                clean = self.text(text := value.decode("latin-1"))
                return value if clean == text else clean.encode("latin-1")
            case _:
                return value

    def error(self, error: AnabranchError) -> AnabranchError:
        """Return the error without secrets in its message and details; its type and the names of its details are ours."""
        if self._heads is None:
            return error
        details = {key: self._detail(value) for key, value in error.details.items()}
        return error.saying(self.text(error.message), details)

    def _detail(self, value: Any) -> Any:
        if isinstance(value, Mapping):
            return {key: self.value(item) for key, item in cast("Mapping[str, Any]", value).items()}
        return self.value(value)

    def _masked(self, heads: re.Pattern[str], text: str) -> str:
        kept: list[str] = []
        done = 0
        for head in heads.finditer(text):
            if (start := head.start()) < done:
                continue
            # The longest: a secret that is part of another one must not leave the rest of it standing.
            end = max(forms.end(text, start) for forms in self._forms)
            if end > start:
                kept += (text[done:start], MASK)
                done = end
        return "".join((*kept, text[done:]))

    def _unless_secret(self, found: re.Match[str]) -> str:
        """Return what looks like base64 unless there is a secret in it, as in `Authorization: Basic …`."""
        assert self._heads is not None
        letters = found[0].rstrip("=").translate(_STANDARD)
        letters = letters[: len(letters) - (len(letters) % 4 == 1)]
        inside = base64.b64decode(letters + "=" * (-len(letters) % 4)).decode("latin-1")
        if _CUT.match(found.string, found.end()):
            inside += "..."
        return found[0] if self._masked(self._heads, inside) == inside else MASK


class _Forms:
    """Every way to write one secret."""

    def __init__(self, secret: str) -> None:
        units = [_spelled(unit) for unit in _UNIT.findall(secret)]
        if len(units) < SHORTEST:  # nearly nothing but spaces: they are meant as they stand
            units = [re.escape(letter) for letter in secret]
        self.head = "".join(units[:SHORTEST])
        self._whole = re.compile("".join(units))
        self._units = [re.compile(unit) for unit in units]
        scheme = _SCHEME.match(secret)
        self._least = (scheme.end() if scheme else 0) + SHORTEST  # `https://` alone gives nothing away

    def end(self, text: str, start: int) -> int:
        """Return where the secret that begins here ends, or the part of it before a cut; without one, the start."""
        if whole := self._whole.match(text, start):
            return whole.end()
        at = start
        for known, unit in enumerate(self._units):
            if (found := unit.match(text, at)) is None:
                cut = _CUT.match(text, at) if known >= self._least else None
                return cut.end() if cut else start
            at = found.end()
        return at


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
