"""Errors that cross to another process, one of which knows a class that the other doesn't."""

import json
import pickle
import subprocess
import sys

import pytest

from deployments.asgi.errors import error_response
from deployments.streams.codec import decode_error, encode_error
from deployments.telemetry.redaction import Redactor
from graphs.errors import AnabranchError, ComponentFailed, UpstreamFailed, first_line, from_wire


class BudgetSpent(UpstreamFailed):
    """A plug-in's own error."""

    type = "budget_spent"
    status = 429


class Nameless(ComponentFailed):
    """A plug-in's error that keeps its parent's type."""


class OwnInit(ComponentFailed):
    type = "own_init"
    status = 507

    def __init__(self, left: int) -> None:
        super().__init__(f"{left} bytes left")


ERROR = BudgetSpent("all spent", upstream={"status": 402}, retry_after=60)
SHOWN = {"type": "budget_spent", "message": "all spent", "upstream": {"status": 402}, "retry_after": 60}


@pytest.fixture
def foreign() -> AnabranchError:
    """The error as a process gets it that doesn't know the class."""
    wire = ERROR.to_wire()
    return from_wire(
        {**wire, "error": {**wire["error"], "type": "elsewhere"}, "types": ["elsewhere", "upstream_failed"]}
    )


def test_an_error_of_an_unknown_class_keeps_type_and_status_as_the_nearest_known_class(foreign: AnabranchError):
    assert (type(foreign), foreign.type, foreign.status) == (UpstreamFailed, "elsewhere", 429)


def test_it_keeps_them_wherever_it_goes_from_there(foreign: AnabranchError):
    for again in (
        foreign.at("job 'a'", job="a"),
        pickle.loads(pickle.dumps(foreign)),
        decode_error(encode_error(foreign)),
        Redactor({"spent"}).error(foreign),
    ):
        assert (type(again), again.type, again.status) == (UpstreamFailed, "elsewhere", 429)
        assert again.details["upstream"] == {"status": 402}
    assert foreign.at("job 'a'").message == "job 'a': all spent"


@pytest.mark.parametrize(
    "cross", [lambda error: decode_error(encode_error(error)), lambda e: pickle.loads(pickle.dumps(e))]
)
def test_an_error_of_a_known_class_arrives_as_that_class(cross):
    error = cross(ERROR)
    assert (type(error), error.status, error.to_data()) == (BudgetSpent, 429, SHOWN)


def test_another_process_that_lacks_the_class_answers_with_its_type_and_status():
    code = "import sys; from deployments.streams.codec import decode_error as d; e = d(sys.stdin.buffer.read())"
    ran = subprocess.run(
        [sys.executable, "-c", f"{code}; print(type(e).__name__, e.type, e.status)"],
        input=encode_error(ERROR), capture_output=True, check=True,
    )  # fmt: skip
    assert ran.stdout.decode().split() == ["UpstreamFailed", "budget_spent", "429"]


def test_the_api_shows_type_message_and_details_and_no_status(foreign: AnabranchError):
    response = error_response(foreign)
    assert response.status_code == 429
    assert json.loads(response.body) == {"error": {**SHOWN, "type": "elsewhere"}}


def test_a_plug_in_s_class_does_not_take_the_place_of_its_parent():
    error = decode_error(encode_error(ComponentFailed("no")))
    assert type(error) is ComponentFailed


def test_a_class_that_is_made_otherwise_crosses_as_its_parent_with_its_own_type_and_status():
    error = decode_error(encode_error(OwnInit(3)))
    assert (type(error), error.type, error.status, error.message) == (ComponentFailed, "own_init", 507, "3 bytes left")


def test_details_too_large_to_travel_are_left_out_and_type_and_status_stay():
    error = decode_error(encode_error(BudgetSpent("all spent", body=bytes(64 << 20))))
    assert (error.type, error.status, error.details) == ("budget_spent", 429, {})


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  \n  one \ntwo"), "one"),
        (ValueError(), "ValueError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_the_first_line_of_an_exception_says_something(error: Exception, line: str) -> None:
    assert first_line(error) == line
