"""What bindings give: references, defaults, splicing, logic, comparisons, conversions and their failures."""

from __future__ import annotations

import pickle
from dataclasses import replace
from types import MappingProxyType
from typing import Any

import pytest

from graphs.errors import BindingFailed
from graphs.language import Scope, compiled, evaluate, parse, truth
from graphs.language.nodes import Constant, ListTemplate, MappingTemplate

NAMES: dict[str, Any] = {
    "input": {
        "text": "안녕",
        "n": 3,
        "ratio": 2.5,
        "no": False,
        "zero": 0,
        "empty": "",
        "nothing": None,
        "tags": ["a", "b", 1],
        "who": {"name": "Zoë", "x-api-key": "k"},
        "raw": "é".encode(),
    },
    "messages": [{"content": "first"}, {"content": "last"}],
}


def value(text: str, **names: Any) -> Any:
    return evaluate(parse(text), Scope({**NAMES, **names}))


def fails(text: str, **names: Any) -> BindingFailed:
    with pytest.raises(BindingFailed) as caught:
        value(text, **names)
    return caught.value


# --- references and what is missing ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("${input.n}", 3),
        ("${input.who.x-api-key}", "k"),
        ("${messages[0].content}", "first"),
        ("${messages[-1].content}", "last"),
        ("${messages}", NAMES["messages"]),
    ],
)
def test_a_whole_value_keeps_its_type(text: str, expected: object) -> None:
    assert value(text) == expected
    assert type(value(text)) is type(expected)


@pytest.mark.parametrize(
    "path",
    ["input.gone", "input.gone.deeper", "unknown", "messages[2]", "messages[-3]", "messages.content", "input[0]",
     "input.n.x", "input.text[0]", "input.nothing.x"],
)  # fmt: skip
def test_what_is_missing_is_null_and_takes_the_default(path: str) -> None:
    assert value(f"${{{path}}}") is None
    assert value(f"${{{path} | 5}}") == 5


@pytest.mark.parametrize(
    ("path", "expected"),
    [("messages.0.content", "first"), ("messages.2", None), ("messages.²", None), ("numbered.0", "key")],
)
def test_a_number_as_a_name_is_an_index_in_a_list_and_a_key_in_a_mapping(path: str, expected: object) -> None:
    assert value(f"${{{path}}}", numbered={"0": "key"}) == expected


def test_an_index_beyond_all_lists_is_missing() -> None:
    assert value("${messages." + "9" * 5000 + "}") is None


@pytest.mark.parametrize(("path", "expected"), [("no", False), ("zero", 0), ("empty", "")])
def test_false_zero_and_empty_text_are_present(path: str, expected: object) -> None:
    assert value(f"${{input.{path} | other}}") == expected


def test_a_null_that_is_there_takes_the_default_too() -> None:
    assert value("${input.nothing | x}") == "x"


def test_defaults_chain_through_bindings() -> None:
    assert value("${gone | ${lost | ${input.n}}}") == 3
    assert value("${gone | ${lost | end}}") == "end"


def test_a_default_is_not_evaluated_without_need() -> None:
    assert value("${input.n | ${input.text as integer}}") == 3


def test_any_mapping_and_tuple_can_be_walked() -> None:
    assert value("${m.a[1]}", m=MappingProxyType({"a": (1, 2)})) == 2


def test_a_chunk_is_the_name_itself_where_nothing_streams() -> None:
    assert value("${messages[][0].content}") == "first"
    assert evaluate(parse("${r[].t} ${r}"), Scope({"r": "whole"}, {"r": {"t": "chunk"}})) == "chunk whole"


# --- splicing ---


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("text", "안녕"), ("n", "3"), ("ratio", "2.5"), ("no", "false"), ("nothing", ""), ("gone", ""), ("empty", ""),
        ("tags", '["a", "b", 1]'), ("who", '{"name": "Zoë", "x-api-key": "k"}'), ("raw", "é"),
    ],
)  # fmt: skip
def test_values_are_spliced_into_text(path: str, expected: str) -> None:
    assert value(f"<${{input.{path}}}>") == f"<{expected}>"


def test_several_bindings_make_one_text() -> None:
    assert value(r"${input.n}${input.n} \${input.n}") == "33 ${input.n}"


def test_containers_are_filled_in() -> None:
    template = MappingTemplate(
        (("a", parse("${input.n}")), ("b", ListTemplate((parse("x${input.n}"), Constant(None)))))
    )
    assert evaluate(template, Scope(NAMES)) == {"a": 3, "b": ["x3", None]}


def test_what_json_cannot_say_fails_by_name() -> None:
    assert "${x}" in fails("a ${x}", x=[float("nan")]).message
    assert "${x}" in fails("a ${x}", x=[object()]).message


# --- logic ---


def test_and_and_or_give_the_operand_that_decided() -> None:
    assert value("${input.empty or input.n or input.text}") == 3
    assert value("${input.empty or input.zero}") == 0
    assert value("${input.n and input.text}") == "안녕"
    assert value("${input.n and input.nothing and input.text}") is None


def test_or_stops_at_what_decides() -> None:
    assert value("${input.n or input.n < 'a'}") == 3


def test_not_judges_truth() -> None:
    assert value("${not input.empty}") is True
    assert value("${not 'off'}") is True
    assert value("${not input.n == 4}") is True


@pytest.mark.parametrize("false", [None, False, 0, 0.0, "", "false", "0", "no", "off", "FALSE", " off\n", [], {}, b""])
def test_these_are_false(false: object) -> None:
    assert truth(false) is False


@pytest.mark.parametrize("true", [True, 1, -1, 0.1, "true", "yes", "null", "a", [0], {"a": None}])
def test_all_else_is_true(true: object) -> None:
    assert truth(true) is True


# --- comparisons ---


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("input.n == 3", True), ("input.n == 3.0", True), ("input.n == '3'", False), ("input.n != '3'", True),
        ("true == 1", False), ("false == 0", False), ("true == true", True), ("null == null", True), ("gone == null", True),
        ("gone == ''", False), ("input.tags == input.tags", True), ("input.who == input.tags", False),
        ("input.n < 3.5", True), ("input.n >= 3", True), ("'a' < 'b'", True), ("'b' <= 'a'", False),
        ("'b' in input.tags", True), ("1 in input.tags", True), ("true in input.tags", False), ("'name' in input.who", True),
        ("'녕' in input.text", True), ("1 in 'a1'", False), ("'x' in gone", False), ("'x' not in gone", True),
        ("'b' not in input.tags", False), ("null in input.tags", False), ("input.tags in input.who", False),
    ],
)  # fmt: skip
def test_comparisons(text: str, expected: bool) -> None:
    assert value(f"${{{text}}}") is expected


def test_equality_looks_into_containers() -> None:
    assert value("${a == b}", a={"x": [1, {"y": None}]}, b={"x": [1.0, {"y": None}]}) is True
    assert value("${a == b}", a=[True], b=[1]) is False
    assert value("${a == b}", a={"x": 1}, b={"x": 1, "y": 2}) is False


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("${input.n < input.text}", "an integer and text"), ("${gone > 5}", "null and an integer"),
        ("${true < 2}", "a boolean and an integer"), ("${input.tags <= input.tags}", "a list and a list"),
        ("${input.who >= 'a'}", "a mapping and text"),
    ],
)  # fmt: skip
def test_ordering_unlike_things_fails_naming_the_binding_and_the_types(text: str, kinds: str) -> None:
    failed = fails(text)
    assert failed.message == f"{text}: expected two numbers or two texts to order, got {kinds}".replace("'", '"')


def test_in_a_number_fails() -> None:
    assert fails("${1 in input.n}").message.endswith("expected text, a list or a mapping after 'in', got an integer")


def test_values_nested_without_end_fail_to_compare() -> None:
    deep: list[Any] = []
    for _ in range(100_000):
        deep = [deep]
    assert "nested too deeply" in fails("${a == b}", a=deep, b=[deep]).message
    assert "${a}" in fails("x ${a}", a=deep).message


# --- failures ---


@pytest.mark.parametrize(
    ("text", "field"),
    [("${input.gone > 5}", "gone"), ("${5 < input.who.age}", "who.age"), ("${input.gone > input.n}", None)],
)
def test_what_fails_to_be_ordered_is_named_where_it_is_the_only_field(text: str, field: str | None) -> None:
    assert fails(text).details.get("field") == field


def test_a_failure_names_the_binding_its_place_and_the_field() -> None:
    template = parse("${input.text as integer}")
    placed = replace(template, source="chat.yaml:4:12")  # pyright: ignore[reportCallIssue]
    with pytest.raises(BindingFailed) as caught:
        evaluate(placed, Scope(NAMES))
    assert caught.value.message == "${input.text as integer} at chat.yaml:4:12: expected an integer, got text '안녕'"
    assert caught.value.details == {
        "binding": "${input.text as integer}", "where": "chat.yaml:4:12", "field": "text",
    }  # fmt: skip


def test_a_failure_inside_a_default_names_the_inner_binding() -> None:
    assert fails("${gone | ${input.text as integer}}").details["binding"] == "${input.text as integer}"


def test_a_failure_in_the_middle_of_a_text_names_its_binding() -> None:
    assert fails("a ${input.n} b ${input.text as number}").details["binding"] == "${input.text as number}"


def test_a_failure_never_shows_a_long_value() -> None:
    assert "sesame" not in fails("${x as integer}", x="open sesame " * 10).message
    assert fails("${x as boolean}", x=10**5000).message.endswith("got an integer")


def test_a_failed_conversion_does_not_take_the_default() -> None:
    assert fails("${input.text as integer | 5}").type == "binding_failed"


@pytest.mark.parametrize("written", ["plain", "${input.n}", "n: ${input.n}", "${x[].a}"])
def test_a_template_is_compiled_once_and_that_is_no_part_of_it(written: str) -> None:
    template, other = parse(written), parse(written)
    made = compiled(template)
    assert compiled(template) is made
    assert template == other
    assert repr(template) == repr(other)
    travelled = pickle.loads(pickle.dumps(template))
    assert travelled == template
    assert compiled(travelled) is not made
