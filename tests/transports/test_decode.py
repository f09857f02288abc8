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
    asked = decode(b"{}")
    assert (asked.workflow_id, asked.input, asked.output_only, asked.session_id) == (None, {}, False, None)


def test_an_input_may_be_any_json() -> None:
    assert decode('\ufeff{"input": ["é", 1, null]}'.encode()).input == ["é", 1, None]


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
    assert decode(b'{"input": [%b]}' % b",".join([b"{}"] * 500)).input == [{}] * 500


@pytest.mark.parametrize(
    ("body", "field", "message"),
    [
        (b'{"inputs": {}}', "inputs", "unknown field 'inputs'; did you mean 'input'?"),
        (b'{"workflow": "a"}', "workflow", "unknown field 'workflow'; did you mean 'workflow_id'?"),
        (
            b'{"zzz": 1}',
            "zzz",
            "unknown field 'zzz'; the fields are workflow_id, input, wait_for_completion, output_only, resumable, session_id",
        ),
        (b'{"output_only": "yes"}', "output_only", "output_only: expected true or false, got text"),
        (b'{"output_only": 1}', "output_only", "output_only: expected true or false, got an integer"),
        (b'{"workflow_id": 3}', "workflow_id", "workflow_id: expected text, got an integer"),
        (b'{"session_id": "%b"}' % (b"s" * 257), "session_id", "session_id: expected at most 256 characters, got text"),
        (b'{"session_id": ["a"]}', "session_id", "session_id: expected text, got a list"),
        (
            b'{"wait_for_completion": false}',
            "wait_for_completion",
            "this version can't run a task in the background yet; write wait_for_completion: true",
        ),
        (b'{"resumable": true}', "resumable", "this version can't resume a stream yet; write resumable: false"),
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
