"""What Ray's own formatters make of our log records."""

from __future__ import annotations

import json
import logging

import pytest
from ray._common.formatters import JSONFormatter, TextFormatter

from deployments.telemetry.logs import RedactedRecords
from deployments.telemetry.redaction import Redactor

SECRET = "abcd-1234"


def logged(formatter: logging.Formatter, why: str) -> str:
    """What this formatter writes of an exception."""
    make = RedactedRecords(Redactor({SECRET}), logging.LogRecord)
    try:
        raise ValueError(why)
    except ValueError as error:
        trouble = (ValueError, error, error.__traceback__)
    return formatter.format(make("anabranch.worker", logging.ERROR, __file__, 1, "failed with %s", (SECRET,), trouble))


@pytest.mark.parametrize("why", [f"the key is {SECRET}", "no secret at all"])
def test_a_traceback_stands_in_both_encodings_of_rays_logs(why: str):
    text, encoded = logged(TextFormatter(), why), json.loads(logged(JSONFormatter(), why))
    assert encoded["message"] == "failed with ***"
    for shown in (text, encoded["exc_text"]):
        assert "Traceback (most recent call last):" in shown
        assert f"ValueError: {why.replace(SECRET, '***')}" in shown
        assert SECRET not in shown
