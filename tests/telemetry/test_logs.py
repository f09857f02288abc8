"""No record of this process holds a secret, whatever writes it."""

from __future__ import annotations

import builtins
import io
import logging
from collections.abc import Iterator

import pytest

from deployments.telemetry.logs import RAYS, log_to_replica, redact_logs
from deployments.telemetry.redaction import Redactor

SECRET = "abcd-1234"


@pytest.fixture(autouse=True)
def _as_before() -> Iterator[None]:
    make = logging.getLogRecordFactory()
    yield
    logging.setLogRecordFactory(make)


def written(name: str, formatter: logging.Formatter | None = None) -> tuple[logging.Logger, io.StringIO]:
    """A logger of this name, and what a handler that is added now writes of it."""
    logger, out = logging.getLogger(name), io.StringIO()
    logger.handlers = [logging.StreamHandler(out)]
    logger.handlers[0].setFormatter(formatter)
    logger.propagate = False
    return logger, out


def fail(logger: logging.Logger, why: str) -> None:
    try:
        raise ValueError(why)
    except ValueError:
        logger.exception("failed with %s", SECRET)


@pytest.mark.parametrize("printing", ["Python's", "Ray's"])
def test_log_records_and_their_tracebacks_are_redacted(monkeypatch: pytest.MonkeyPatch, printing: str):
    plain = builtins.print
    if printing == "Ray's":  # in its replicas: a tuple of all that is printed to a file

        def redirected(*objects, sep=" ", end="\n", file=None, flush=False):
            plain(objects, sep=sep, end=end, file=file, flush=flush)

        monkeypatch.setattr(builtins, "print", redirected)
    redact_logs(Redactor({SECRET}))
    logger, out = written("tests.logs")
    fail(logger, f"the key is {SECRET}")
    assert "failed with ***" in out.getvalue()
    shown = out.getvalue().splitlines()
    assert shown[1] == "Traceback (most recent call last):"
    assert shown[2].startswith('  File "')
    assert shown[-1] == "ValueError: the key is ***"
    assert SECRET not in out.getvalue()


def test_a_librarys_own_logger_and_a_handler_that_comes_later_are_redacted():
    library, before = written("a_library.inside")
    redact_logs(Redactor({SECRET}))
    later = io.StringIO()
    library.addHandler(logging.StreamHandler(later))
    library.warning("the key is %s", SECRET)
    assert before.getvalue() == later.getvalue() == "the key is ***\n"


def test_without_rays_logger_what_goes_to_stderr_is_redacted_and_that_is_said(
    caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(logging.getLogger(RAYS), "handlers", [])
    redact_logs(Redactor({SECRET}))
    log_to_replica()
    logging.getLogger("anabranch.worker").error("the key is %s", SECRET)
    assert caplog.messages == [
        "Ray Serve's logger 'ray.serve' has no handlers; anabranch logs to stderr instead",
        "the key is ***",
    ]


def test_ours_is_written_by_the_handlers_of_rays_logger(monkeypatch: pytest.MonkeyPatch):
    ours, out = logging.getLogger("anabranch"), io.StringIO()
    monkeypatch.setattr(logging.getLogger(RAYS), "handlers", [logging.StreamHandler(out)])
    for name in ("handlers", "propagate", "level"):
        monkeypatch.setattr(ours, name, getattr(ours, name))
    log_to_replica()
    logging.getLogger("anabranch.worker").info("here")
    assert out.getvalue() == "here\n"


def test_the_secrets_of_a_second_document_are_hidden_beside_the_firsts():
    redact_logs(Redactor({SECRET}))
    once = logging.getLogRecordFactory()
    redact_logs(Redactor({"efgh-5678"}))
    assert type(logging.getLogRecordFactory()) is type(once)
    logger, out = written("tests.logs")
    logger.warning("%s and %s", SECRET, "efgh-5678")
    assert out.getvalue() == "*** and ***\n"


def test_a_record_without_secrets_keeps_its_arguments():
    redact_logs(Redactor({SECRET}))
    record = logging.getLogger("tests").makeRecord("tests", logging.INFO, "", 1, "%s of %d", ("one", 2), None)
    assert (record.msg, record.args) == ("%s of %d", ("one", 2))


def test_a_message_that_does_not_fit_its_arguments_is_written_with_them():
    redact_logs(Redactor({SECRET}))
    logger, out = written("tests.logs")
    logger.warning("%d bytes", SECRET)
    assert out.getvalue() == "%d bytes ('***',)\n"
