"""Secrets stay in."""

import io
import logging

from deployments.redaction import Redaction, Redactor
from graphs.errors import UpstreamFailed


def test_secrets_are_replaced_in_text_and_data():
    redactor = Redactor({"abcd-1234", "abcd", "xyz"})
    assert redactor.text("a abcd-1234 b abcd c") == "a *** b *** c"
    assert redactor.value({"abcd": ["x", ("abcd",), 3, None, b"\xff abcd"]}) == {
        "***": ["x", ["***"], 3, None, b"\xff ***"]
    }


def test_what_is_too_short_to_be_a_secret_is_left():
    assert Redactor({"on", "1"}).text("on page 1") == "on page 1"


def test_without_secrets_nothing_is_touched():
    value = {"a": [1]}
    assert Redactor().value(value) is value


def test_an_error_keeps_its_type_and_loses_its_secrets():
    error = Redactor({"abcd"}).error(UpstreamFailed("say abcd", upstream={"status": 401, "body": "abcd"}))
    assert type(error) is UpstreamFailed
    assert error.to_data() == {
        "type": "upstream_failed",
        "message": "say ***",
        "upstream": {"status": 401, "body": "***"},
    }


def test_log_records_and_their_tracebacks_are_redacted():
    out = io.StringIO()
    handler = logging.StreamHandler(out)
    handler.addFilter(Redaction(Redactor({"abcd-1234"})))
    logger = logging.getLogger("tests.redaction")
    logger.propagate = False
    logger.addHandler(handler)
    try:
        raise ValueError("the key is abcd-1234")
    except ValueError:
        logger.exception("failed with %s", "abcd-1234")
    assert "failed with ***" in out.getvalue()
    assert "ValueError: the key is ***" in out.getvalue()
    assert "abcd-1234" not in out.getvalue()
