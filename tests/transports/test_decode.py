"""What the bodies of requests earn, right and wrong."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.asgi.json_values import json_bytes
from deployments.transports.runs import decode
from graphs.errors import AnabranchError, BadRequest, ComponentFailed, InvalidInput


def refusal(body: bytes) -> AnabranchError:
    with pytest.raises(AnabranchError) as caught:
        decode(body)
    return caught.value


def test_every_field_has_a_default() -> None:
    asked, keep = decode(b"{}")
    assert keep is None
    assert (asked.workflow_id, asked.input, asked.output_only, asked.session_id) == (None, {}, False, None)


def test_an_input_may_be_any_json() -> None:
    assert decode('\ufeff{"input": ["é", 1, null]}'.encode()).request.input == ["é", 1, None]


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (b"", "expected JSON, got an empty body; write at least {}"),
        (b" \n", "expected JSON, got an empty body; write at least {}"),
        (b'{\n  "input": {"a": 1,}}', "the body is not JSON: "),
        (b'{"input": {}} x', "the body is not JSON: extra data at line 1, column 15"),
        (b"input=1", "the body is not JSON: expecting value at line 1, column 1"),
        (b"[]", "expected a JSON object, got a list; write {…}"),
        (b"null", "expected a JSON object, got null; write {…}"),
        (b'"{}"', "expected a JSON object, got text; write {…}"),
        (b'{"a": "\xff"}', "the body is not UTF-8 (byte 7 is 0xff); send JSON in UTF-8"),
        (b'{"input": NaN}', "the body is not JSON: JSON has no NaN; write null"),
        (
            b'{"input": %b}' % (b"9" * 5000),
            "an integer in the body has more than 4300 digits; send fewer, or the number as text",
        ),
        (
            b'{"input": -1e999}',
            "the number -1e999 in the body is too large for a double; send a smaller one, or the number as text",
        ),
        (b"[" * 100_000, "the body is nested deeper than 100 levels; send flatter data"),
        (
            b'{"input": %b1%b}' % (b"[" * 101, b"]" * 101),
            "the body is nested deeper than 100 levels; send flatter data",
        ),
    ],
)
def test_a_body_that_is_no_json_object_is_told_where_and_why(body: bytes, message: str) -> None:
    error = refusal(body)
    assert isinstance(error, BadRequest)
    assert error.message.startswith(message)


def test_a_malformed_body_gives_its_line_and_column() -> None:
    error = refusal(b'{\n  "input": {"a": }}')
    assert (error.details["line"], error.details["column"]) == (2, 18)
    assert error.message.endswith("at line 2, column 18")


def test_many_brackets_side_by_side_are_no_depth() -> None:
    assert decode(b'{"input": [%b]}' % b",".join([b"{}"] * 500)).request.input == [{}] * 500


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (b'{"inputs": {}}', "inputs", "unknown field 'inputs'; did you mean 'input'?"),
        (b'{"workflow": "a"}', "workflow", "unknown field 'workflow'; did you mean 'workflow_id'?"),
        (
            b'{"zzz": 1}',
            "zzz",
            (
                "unknown field 'zzz'; the fields are workflow_id, input, wait_for_completion, output_only, resumable, "
                "on_disconnect, job_chunks, session_id, on_busy"
            ),
        ),
        (b'{"output_only": "yes"}', "output_only", "output_only: expected true or false, got text"),
        (b'{"output_only": 1}', "output_only", "output_only: expected true or false, got an integer"),
        (b'{"workflow_id": 3}', "workflow_id", "workflow_id: expected text, got an integer"),
        (b'{"session_id": "%b"}' % (b"s" * 257), "session_id", "session_id: expected at most 256 characters, got text"),
        (b'{"session_id": ["a"]}', "session_id", "session_id: expected text, got a list"),
        (
            b'{"on_disconnect": "continue"}',
            "on_disconnect",
            "on_disconnect is for runs that are kept; write resumable: true or wait_for_completion: false beside it",
        ),
        (
            b'{"job_chunks": true}',
            "job_chunks",
            "job_chunks is for runs that are kept; write resumable: true or wait_for_completion: false beside it",
        ),
        (
            b'{"resumable": true, "on_disconnect": "stop"}',
            "on_disconnect",
            'on_disconnect: expected cancel, continue or {"detach": "60s"}, got \'stop\'',
        ),
        (
            b'{"resumable": true, "on_disconnect": {"detach": "a while"}}',
            "on_disconnect",
            "on_disconnect: expected a duration, got 'a while'; write 5s, 500ms, 2m or a number of seconds",
        ),
        (
            b'{"resumable": true, "on_disconnect": {"detach": 0}}',
            "on_disconnect",
            'on_disconnect: expected detach to be a duration of at least 1 s, got 0; write {"detach": "60s"}',
        ),
    ],
)
def test_a_field_that_does_not_fit_is_named(body: bytes, field: str, message: str) -> None:
    error = refusal(body)
    assert isinstance(error, InvalidInput)
    assert (error.details["field"], error.message) == (field, message)


def test_all_fields_that_do_not_fit_are_named_at_once() -> None:
    assert refusal(b'{"output_only": 1, "inputs": 2}').message == (
        "output_only: expected true or false, got an integer; unknown field 'inputs'; did you mean 'input'?"
    )


@pytest.mark.parametrize(
    ("value", "body"),
    [
        ("안녕\u2028", '"안녕\u2028"'.encode()),
        (b"text", b'"text"'),
        ({"raw": b"\xff"}, b'{"raw": "/w=="}'),
        ([float("nan"), {"a": float("-inf")}], b'[null, {"a": null}]'),
        ("\ud83d", b'"\\ud83d"'),
        ({1: None}, b'{"1": null}'),
    ],
)
def test_a_value_is_this_json(value: Any, body: bytes) -> None:
    assert json_bytes(value) == body


@pytest.mark.parametrize("value", [{"a": {1, 2}}, [object()], {(1, 2): 3}])
def test_what_is_no_json_says_what_to_do(value: Any) -> None:
    with pytest.raises(ComponentFailed, match=r"the output can't be written as JSON: .*; convert it in `output`"):
        json_bytes(value)


def test_a_value_that_holds_itself_is_told_plainly() -> None:
    value: list[Any] = []
    value.append(value)
    with pytest.raises(ComponentFailed, match="contains itself"):
        json_bytes(value)


@pytest.mark.parametrize(
    ("body", "key"),
    [(b'{"input": {}, "input": {"a": 1}}', "input"), (b'{"input": [{"deep": {"a": 1, "b": 2, "\\u0061": 3}}]}', "a")],
)
def test_a_repeated_key_is_refused_at_any_depth(body: bytes, key: str) -> None:
    with pytest.raises(BadRequest) as refused:
        decode(body)
    assert refused.value.message == f"the key '{key}' is repeated in an object of the body; write it once"
    assert refused.value.details == {"key": key}


@pytest.mark.parametrize(
    ("body", "policy"),
    [
        (b'{"resumable": true}', 60.0),
        (b'{"wait_for_completion": false}', "continue"),
        (b'{"wait_for_completion": false, "resumable": true}', "continue"),
        (b'{"session_id": "s"}', "cancel"),
        (b'{"resumable": true, "on_disconnect": "cancel"}', "cancel"),
        (b'{"resumable": true, "on_disconnect": {"detach": "2m"}}', 120.0),
    ],
)
def test_a_run_that_is_kept_says_what_becomes_of_it_without_readers(body: bytes, policy: str | float) -> None:
    keep = decode(body).keep
    assert keep is not None
    assert (keep.on_disconnect, keep.asked) == (policy, True)


def test_a_request_with_a_key_is_kept_and_known_by_what_it_says() -> None:
    one, same, other = (decode(body, "k").keep for body in (b'{"input": 1}', b'{ "input":1 }', b'{"input": 2}'))
    assert one is not None
    assert one == same
    assert other is not None
    assert one.digest != other.digest
    assert one.on_disconnect == 60.0


@pytest.mark.parametrize("key", ["", "k" * 256])
def test_a_key_that_is_none_or_too_long_is_refused(key: str) -> None:
    with pytest.raises(BadRequest, match="expected Idempotency-Key to have 1 to 255 characters"):
        decode(b"{}", key)


def test_where_all_runs_are_recorded_a_plain_one_still_ends_with_its_client() -> None:
    keep = decode(b"{}", record=True).keep
    assert keep is not None
    assert (keep.on_disconnect, keep.asked) == ("cancel", False)
