"""What `as` makes of each kind of value, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.errors import BindingFailed
from graphs.language import Scope, evaluate, parse
from graphs.language.casts import AS_IT_IS


def convert(type: str, value: Any) -> Any:
    return evaluate(parse(f"${{x as {type}}}"), Scope({"x": value}))


CONVERSIONS: list[tuple[str, Any, Any]] = [
    ("text", "a", "a"), ("text", 5, "5"), ("text", 2.0, "2.0"), ("text", True, "true"), ("text", b"\xc3\xa9", "é"),
    ("text", {"k": ["é", None]}, '{"k": ["é", null]}'), ("text", [b"a"], '["a"]'), ("string", 5, "5"), ("text", b"\xff", "\ufffd"),
    ("integer", 3, 3), ("integer", 3.0, 3), ("integer", "3", 3), ("integer", " -3\n", -3), ("integer", "3.0", 3),
    ("integer", 10**30, 10**30), ("integer", b"3", 3),
    ("number", 3, 3), ("number", 2.5, 2.5), ("number", "2.5", 2.5), ("number", "3", 3), ("number", "1e3", 1000.0),
    ("boolean", True, True), ("boolean", "true", True), ("boolean", "1", True), ("boolean", "Yes", True),
    ("boolean", "on", True), ("boolean", "false", False), ("boolean", "0", False), ("boolean", "no", False),
    ("boolean", "OFF", False), ("boolean", 1, True), ("boolean", 0, False), ("boolean", 1.0, True),
    ("json", '{"a": [1, null]}', {"a": [1, None]}), ("json", "5", 5), ("json", "null", None), ("json", {"a": 1}, {"a": 1}),
    ("json", 5, 5), ("json", b"[1]", [1]),
    ("list", [1], [1]), ("list", "[1, 2]", [1, 2]), ("list", (1, 2), [1, 2]),
    ("object", {"a": 1}, {"a": 1}), ("object", '{"a": 1}', {"a": 1}),
    ("base64", "é", "w6k="), ("base64", b"\x00\xff", "AP8="), ("base64", "", ""),
    ("select/a,b", "a", "a"), ("select/1,2", 2, 2), ("select/a b,c", "a b", "a b"), ("select/true", True, True),
    ("image", b"\x89", b"\x89"), ("audio;url", "http://x", "http://x"), ("markdown", "*a*", "*a*"), ("file;path", 5, 5),
    ("video/mp4;base64", "AA", "AA"),
]  # fmt: skip


@pytest.mark.parametrize(("type", "given", "expected"), CONVERSIONS)
def test_conversions(type: str, given: Any, expected: Any) -> None:
    converted = convert(type, given)
    assert converted == expected
    assert converted.__class__ is expected.__class__


REFUSALS: list[tuple[str, Any, str]] = [
    ("integer", 3.5, "expected an integer, got a number 3.5"),
    ("integer", True, "expected an integer, got a boolean true"),
    ("integer", "3.5", "expected an integer, got text '3.5'"),
    ("integer", "", "expected an integer, got text ''"),
    ("integer", "1_000", "expected an integer, got text '1_000'"),
    ("integer", [3], "expected an integer, got a list"),
    ("integer", float("inf"), "expected an integer, got a number inf"),
    ("number", "nan", "expected a number, got text 'nan'"),
    ("number", False, "expected a number, got a boolean false"),
    ("number", {}, "expected a number, got a mapping"),
    ("number", "9" * 2000, "expected a number, got text"),
    ("boolean", "maybe", "expected a boolean (true, 1, yes, on, false, 0, no or off), got text 'maybe'"),
    ("boolean", 2, "expected a boolean (true, 1, yes, on, false, 0, no or off), got an integer 2"),
    ("boolean", "", "expected a boolean (true, 1, yes, on, false, 0, no or off), got text ''"),
    (
        "json",
        "{",
        "expected JSON text, got text that is not JSON (Expecting property name enclosed in double quotes at 1)"
        + AS_IT_IS,
    ),
    ("json", "NaN", "expected JSON text, got text that is not JSON" + AS_IT_IS),
    ("json", "[" * 100_000, "expected JSON text, got text that is not JSON" + AS_IT_IS),
    ("list", {"a": 1}, "expected a list, or JSON text of one, got a mapping"),
    ("list", '{"a": 1}', "expected a list, or JSON text of one, got JSON text of a mapping"),
    ("list", "a", "expected a list, or JSON text of one, got text that is not JSON (Expecting value at 0)"),
    ("list", 5, "expected a list, or JSON text of one, got an integer"),
    ("object", [1], "expected a mapping, or JSON text of one, got a list"),
    ("object", "[1]", "expected a mapping, or JSON text of one, got JSON text of a list"),
    ("base64", 5, "expected text or bytes, got an integer"),
    ("base64", ["a"], "expected text or bytes, got a list"),
    ("select/a,b", "c", "expected one of a, b, got text 'c'"),
    ("select/a,b", ["a"], "expected one of a, b, got a list"),
    ("text", [float("inf")], "expected what JSON can say, got a list that it can't"),
]


@pytest.mark.parametrize(("type", "given", "message"), REFUSALS)
def test_refusals_name_the_binding_what_was_expected_and_what_came(type: str, given: Any, message: str) -> None:
    with pytest.raises(BindingFailed) as caught:
        convert(type, given)
    assert caught.value.message == f"${{x as {type}}}: {message}"


@pytest.mark.parametrize(
    "type", ["text", "integer", "number", "boolean", "json", "list", "object", "base64", "select/a,b", "image"]
)
def test_null_stays_null_so_that_the_default_applies(type: str) -> None:
    assert convert(type, None) is None
    assert evaluate(parse(f"${{x as {type} | d}}"), Scope({})) == "d"


def test_a_conversion_after_the_default_converts_the_default() -> None:
    assert evaluate(parse("${x as text | 5}"), Scope({})) == 5
    assert evaluate(parse("${x | 5 as text}"), Scope({})) == "5"
    assert evaluate(parse("${x | '[1]' as list}"), Scope({})) == [1]
    assert evaluate(parse("${x as json | 5 as text}"), Scope({"x": "[1]"})) == "[1]"


def test_a_value_that_is_no_json_type_shows_its_type_alone() -> None:
    with pytest.raises(BindingFailed, match=r"got a list$"):
        convert("integer", ["secret"])
