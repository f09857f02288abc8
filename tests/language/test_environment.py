"""`${env.NAME}` becomes its value when the document is compiled, typed as YAML types it and never parsed again."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.errors import BindingFailed
from graphs.language import Resolved, Scope, evaluate, parse, print_template, resolve_env
from graphs.language.nodes import Binding, Constant, ListTemplate, MappingTemplate, Text

VARIABLES = {
    "PORT": "8080", "RATE": "2.5", "ON": "true", "NULL": "null", "EMPTY": "", "NAME": "seven", "ZEROS": "007",
    "SLY": "${input.secret}", "JSON": '{"a": 1}', "KEY": "hunter2",
}  # fmt: skip


def resolve(text: str) -> Resolved:
    return resolve_env(parse(text), VARIABLES.get)


def constant(text: str) -> Any:
    resolved = resolve(text)
    assert resolved.unset == ()
    assert resolved.errors == ()
    assert isinstance(resolved.template, Constant)
    return resolved.template.value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env.PORT}", 8080), ("${env.RATE}", 2.5), ("${env.ON}", True), ("${env.NULL}", None), ("${env.EMPTY}", ""),
        ("${env.NAME}", "seven"), ("${env.ZEROS}", 7), ("${env.SLY}", "${input.secret}"), ("${env.JSON}", '{"a": 1}'),
    ],
)  # fmt: skip
def test_as_a_whole_value_it_takes_the_type_its_text_spells(text: str, value: object) -> None:
    assert constant(text) == value
    assert type(constant(text)) is type(value)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("a ${env.ZEROS}", "a 007"), ("${env.NULL}!", "null!"), ("${env.SLY} ${env.PORT}", "${input.secret} 8080"),
        ("${env.NOPE | ${env.ZEROS}}x", "007x"), (r"\${env.PORT} ${env.PORT}", "${env.PORT} 8080"),
    ],
)  # fmt: skip
def test_spliced_into_text_it_is_its_text(text: str, value: str) -> None:
    assert constant(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env.ZEROS as text}", "007"), ("${env.ZEROS as integer}", 7), ("${env.JSON as json}", {"a": 1}),
        ("${env.ZEROS | 5 as text}", "007"), ("${env.NOPE | 5 as text}", "5"), ("${env.PORT as select/8080,9090}", "8080"),
        ("${env.NOPE | ${env.ZEROS} as text}", "007"),
    ],
)  # fmt: skip
def test_a_cast_reads_the_text_as_written(text: str, value: object) -> None:
    assert constant(text) == value


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${env.NOPE | 5}", 5), ("${env.NOPE | ${env.PORT}}", 8080), ("${env.NOPE | ${env.GONE | x}}", "x"),
        ("${env.EMPTY | 5}", ""), ("${env.PORT | 5}", 8080), ("${env.PORT | ${env.GONE}}", 8080), ("${env.NULL | 5}", None),
    ],
)  # fmt: skip
def test_the_default_is_for_what_is_not_set(text: str, value: object) -> None:
    assert constant(text) == value


def test_every_unset_variable_is_named_where_it_stands() -> None:
    resolved = resolve_env(
        MappingTemplate((("a", parse("${env.ONE}/${env.TWO}")), ("b", ListTemplate((parse("${x or env.THREE}"),))))),
        VARIABLES.get,
    )
    assert [(unset.path[0], unset.at) for unset in resolved.unset] == [
        ("ONE", (2, 9)),
        ("TWO", (13, 20)),
        ("THREE", (7, 16)),
    ]


def test_an_unset_default_of_what_may_be_missing_is_named() -> None:
    assert [unset.path[0] for unset in resolve("${input.x | ${env.NOPE}}").unset] == ["NOPE"]


def test_in_an_expression_it_is_a_literal() -> None:
    template = resolve("${input.port == env.PORT}").template
    assert evaluate(template, Scope({"input": {"port": 8080}})) is True
    assert constant("${env.PORT == 8080}") is True
    assert constant("${not env.ON and env.PORT}") is False


def test_in_an_expression_with_a_default_the_unset_is_null() -> None:
    assert constant("${env.NOPE or null | 5}") == 5


def test_what_else_is_in_the_template_stays() -> None:
    resolved = resolve("${env.NAME} ${input.x} ${env.NOPE | ${input.y}}").template
    assert isinstance(resolved, Text)
    assert resolved.parts[0] == "seven "
    assert evaluate(resolved, Scope({"input": {"x": 1, "y": 2}})) == "seven 1 2"


def test_a_default_from_elsewhere_is_kept_for_the_run() -> None:
    resolved = resolve("${env.NOPE | ${input.y} as integer}").template
    assert isinstance(resolved, Binding)
    assert evaluate(resolved, Scope({"input": {"y": "5"}})) == 5


def test_a_template_without_env_is_returned_as_it_is() -> None:
    template = parse("${input.env} ${'env.X'}")
    assert resolve_env(template, VARIABLES.get).template is template


@pytest.mark.parametrize("text", ["${env}", "${env.A.b}", "${env[0]}", "${env[].A}"])
def test_anything_but_one_name_after_env_is_an_error(text: str) -> None:
    (error,) = resolve(text).errors
    assert error.message == "expected one name after env"
    assert error.at == (2, len(text) - 1)


def test_a_variable_that_does_not_convert_is_an_error_that_hides_its_value() -> None:
    (error,) = resolve("${env.KEY as integer}").errors
    assert error.message == "${env.KEY as integer}: expected an integer, got text"
    assert error.at == (0, 21)


@pytest.mark.parametrize("text", ["${input.key == env.KEY}", "${input.key | ${env.KEY}}", "${env.KEY and input.x}"])
def test_a_value_is_printed_as_the_reference_it_came_from(text: str) -> None:
    printed = print_template(resolve(text).template)
    assert printed == text
    assert "hunter2" not in printed


def test_a_run_error_hides_a_value_from_the_environment() -> None:
    template = resolve("${input.n | ${env.KEY} as integer}").template
    with pytest.raises(BindingFailed) as caught:
        evaluate(template, Scope({}))
    assert caught.value.message == "${input.n | ${env.KEY} as integer}: expected an integer, got text"
