"""Text and data in, the same with every secret in it replaced: for errors that leave a replica, and for its log."""

from __future__ import annotations

import logging
import re
from collections.abc import Iterable, Mapping
from typing import Any

from graphs.errors import AnabranchError, from_data

MASK = "***"
SHORTEST = 4
"""Shorter values keep nothing secret, and would mask half of every sentence."""


class Redactor:
    """Replaces the secrets it was told."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        # The longest first: a secret that is part of another one must not leave the rest of it standing.
        known = sorted({secret for secret in secrets if len(secret) >= SHORTEST}, key=len, reverse=True)
        self._pattern = re.compile("|".join(map(re.escape, known))) if known else None

    def text(self, text: str) -> str:
        """Return the text without secrets."""
        return text if self._pattern is None else self._pattern.sub(MASK, text)

    def value(self, value: Any) -> Any:
        """Return JSON-like data without secrets, in its keys neither."""
        if self._pattern is None:
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
        """Return the error without secrets in its message and details."""
        return error if self._pattern is None else from_data(self.value(error.to_data()))


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
            record.exc_text = logging.Formatter().formatException(record.exc_info)
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
