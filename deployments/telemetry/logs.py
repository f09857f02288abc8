"""Keep secrets out of every log record of this process, and send what anabranch logs to the replica's own log."""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any

from deployments.telemetry.redaction import Redactor

logger = logging.getLogger("anabranch.telemetry")

RAYS = "ray.serve"
"""The logger that Ray Serve sets up in a replica."""


class RedactedRecords:
    """A factory of log records: what it makes holds no secret, whichever logger asks and whichever handler writes it."""

    def __init__(self, redactor: Redactor, make: Callable[..., logging.LogRecord]) -> None:
        self.redactor = redactor
        self.make = make

    def __call__(self, *args: Any, **kwargs: Any) -> logging.LogRecord:
        """Return a new record."""
        record = self.make(*args, **kwargs)
        said = _said(record)
        if (clean := self.redactor.text(said)) != said:
            record.msg, record.args = clean, None
        if record.exc_info:
            # Not by a Formatter, which prints to a file: in replicas Ray has a `print` of its own, and it garbles that.
            shown = "".join(traceback.format_exception(*record.exc_info)).rstrip("\n")
            # Formatters take `exc_text` where it is set, and some, Ray's JSON among them, only beside a true `exc_info`.
            record.exc_text = self.redactor.text(shown)
            if record.exc_text != shown:
                record.exc_info = (None, None, None)
        if record.stack_info:
            record.stack_info = self.redactor.text(record.stack_info)
        return record


def redact_logs(redactor: Redactor) -> None:
    """Redact every record that is logged in this process from now on.

    The place is where records are made: a handler that is added later, a library's own logger and the last resort, stderr,
    all get them redacted.
    """
    make = logging.getLogRecordFactory()
    if isinstance(make, RedactedRecords):
        redactor, make = Redactor(make.redactor.secrets | redactor.secrets), make.make
    logging.setLogRecordFactory(RedactedRecords(redactor, make))


def log_to_replica() -> None:
    """Send what is logged under `anabranch` to the replica's own log; Ray sets up its own logger alone."""
    ours, rays = logging.getLogger("anabranch"), logging.getLogger(RAYS)
    if not rays.handlers:
        logger.warning("Ray Serve's logger '%s' has no handlers; anabranch logs to stderr instead", RAYS)
        return
    ours.handlers = list(rays.handlers)
    ours.setLevel(logging.INFO)
    ours.propagate = False


def _said(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # noqa: BLE001  (whatever an argument raises: logging would print the arguments as they are)
        record.msg, record.args = f"{record.msg} {record.args!r}", None
        return record.msg
