"""Every production of the grammar, and where its nodes stand."""

from __future__ import annotations

from typing import Any

import pytest

from graphs.language import parse, print_template
from graphs.language.nodes import Annotation, Binding, Comparison, Constant, Literal_, Logic, Not, Reference, Text, Type


def binding(text: str) -> Binding:
    parsed = parse(text)
    assert isinstance(parsed, Binding)
    return parsed


def expr(text: str) -> Any:
    return binding(f"${{{text}}}").expr


def default(text: str) -> Any:
    found = binding(f"${{x | {text}}}").default
    assert isinstance(found, Literal_)
    return found.value


def test_text_without_a_binding_is_a_constant() -> None:
    assert parse("costs $5 {or} so") == Constant("costs $5 {or} so")
    assert parse("") == Constant("")


def test_a_binding_alone_is_the_whole_value() -> None:
    assert binding("${input}").at == (0, 8)


def test_a_binding_with_anything_around_it_is_spliced() -> None:
    parsed = parse("${a} ${b}")
    assert isinstance(parsed, Text)
    assert [part if isinstance(part, str) else part.at for part in parsed.parts] == [(0, 4), " ", (5, 9)]
    assert isinstance(parse(" ${a}"), Text)


def test_an_escaped_dollar_is_a_literal() -> None:
    assert parse(r"\${input}") == Constant("${input}")
    assert parse(r"a \${b} c") == Constant("a ${b} c")


def test_a_doubled_backslash_is_a_backslash_before_a_binding() -> None:
    parsed = parse(r"C:\dir\\${name}")
    assert isinstance(parsed, Text)
    assert parsed.parts[0] == "C:\\dir\\"


def test_backslashes_elsewhere_are_themselves() -> None:
    assert parse(r"a\\b\n \$5") == Constant(r"a\\b\n \$5")


def test_a_reference_knows_its_steps_and_where_they_stand() -> None:
    reference = expr("input.messages[0].content")
    assert reference.name == "input"
    assert reference.path == ("messages", 0, "content")
    assert reference.at == (2, 27)
    assert reference.step_ats == ((2, 7), (8, 16), (16, 19), (20, 27))


def test_a_chunked_reference_names_the_current_chunk() -> None:
    reference = expr("response[].choices[0].delta.content")
    assert reference.chunked
    assert reference.path == ("choices", 0, "delta", "content")
    assert reference.step_ats[:2] == ((2, 10), (13, 20))


@pytest.mark.parametrize("name", ["über", "입력", "x-api-key", "_a1", "नमस्ते", "a--b"])
def test_names_hold_letters_of_any_script_digits_underscores_and_hyphens(name: str) -> None:
    assert expr(f"{name}.{name}") == Reference(name, (name,), *_spots(name))


def _spots(name: str) -> tuple[Any, ...]:
    end = 2 + len(name)
    return ((2, end + 1 + len(name)), False, ((2, end), (end + 1, end + 1 + len(name))))


@pytest.mark.parametrize("step", ["as", "or", "and", "not", "in", "true", "null", "2fast", "7", "-"])
def test_after_a_dot_keywords_and_digits_are_names(step: str) -> None:
    assert expr(f"jobs.{step}.output").path == (step, "output")


def test_an_index_may_count_from_the_end() -> None:
    assert expr("messages[-1]").path == (-1,)


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("'a'", "a"), ('"a}b"', "a}b"), ('"it\'s"', "it's"), (r"'it\'s'", "it's"), (r'"a\\n\n\t"', "a\\n\n\t"),
        ("5", 5), ("-2", -2), ("2.5", 2.5), ("1e3", 1000.0), ("-1.5E-2", -0.015),
        ("true", True), ("false", False), ("null", None), ("'${x}'", "${x}"), (r"'\${x}'", "${x}"),
    ],
)  # fmt: skip
def test_literals(text: str, value: object) -> None:
    literal = expr(text)
    assert literal == Literal_(value, (2, 2 + len(text)))  # pyright: ignore[reportArgumentType]
    assert type(literal.value) is type(value)


def test_and_binds_tighter_than_or_and_not_looser_than_comparisons() -> None:
    parsed = expr("a or b and not c == 1")
    assert isinstance(parsed, Logic)
    assert parsed.op == "or"
    both = parsed.operands[1]
    assert isinstance(both, Logic)
    assert both.op == "and"
    negated = both.operands[1]
    assert isinstance(negated, Not)
    assert isinstance(negated.operand, Comparison)


def test_parentheses_group() -> None:
    parsed = expr("(a or b) and c")
    assert isinstance(parsed, Logic)
    assert parsed.op == "and"
    assert isinstance(parsed.operands[0], Logic)


def test_a_run_of_ands_is_one_node_with_its_span() -> None:
    parsed = expr("a and b and c")
    assert len(parsed.operands) == 3
    assert parsed.at == (2, 15)


@pytest.mark.parametrize("op", ["==", "!=", "<", "<=", ">", ">=", "in", "not in"])
def test_every_comparison(op: str) -> None:
    parsed = expr(f"a {op} 'b'")
    assert isinstance(parsed, Comparison)
    assert parsed.op == op


def test_comparisons_need_no_spaces() -> None:
    assert expr("a<=-1") == Comparison("<=", Reference("a", (), (2, 3), False, ((2, 3),)), Literal_(-1, (5, 7)), (2, 7))


@pytest.mark.parametrize(
    ("text", "type"),
    [
        ("text", ("text", None, None)), ("text;sse-text", ("text", None, "sse-text")),
        ("image/png;base64", ("image", "png", "base64")), ("select/a,b,c", ("select", "a,b,c", None)),
        ("select/gpt-4.1, New York", ("select", "gpt-4.1,New York", None)), ("audio;url", ("audio", None, "url")),
    ],
)  # fmt: skip
def test_types(text: str, type: tuple[str, str | None, str | None]) -> None:
    cast = binding(f"${{x as {text}}}").cast
    assert cast is not None
    assert (cast.name, cast.subtype, cast.format) == type
    assert cast.at == (7, 7 + len(text))


def test_a_cast_stands_before_and_after_the_default() -> None:
    parsed = binding("${x as text | 5 as integer}")
    assert parsed.cast == Type("text", (7, 11))
    assert parsed.default == Literal_(5, (14, 15))
    assert parsed.final_cast == Type("integer", (19, 26))


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("false", False), ("True", True), ("5", 5), ("-5", -5), ("+5", 5), ("007", 7), ("0x1F", 31), ("0o17", 15),
        ("2.5", 2.5), (".5", 0.5), ("1.", 1.0), ("1e3", 1000.0), ("null", None), ("~", None),
        ('"5"', "5"), ("'a}b'", "a}b"), ('""', ""), ("hello there", "hello there"), ("don't", "don't"),
        ("yes", "yes"), ("1.2.3", "1.2.3"), ("5 apples", "5 apples"), ("a.b == c", "a.b == c"), ("asas", "asas"),
        (".inf", ".inf"), (".nan", ".nan"), ("1e999", "1e999"), ("a $5 note", "a $5 note"), ("$", "$"),
    ],
)  # fmt: skip
def test_a_default_is_typed_as_yaml_types_it(text: str, value: object) -> None:
    assert default(text) == value
    assert type(default(text)) is type(value)


def test_a_default_stands_where_its_words_stand() -> None:
    found = binding("${x |  hello there  as text}").default
    assert found == Literal_("hello there", (7, 18))


def test_a_default_may_be_a_binding_with_its_own_default() -> None:
    outer = binding("${a | ${b | ${c | 'd}'}}}")
    assert isinstance(outer.default, Binding)
    assert outer.default.at == (6, 24)
    inner = outer.default.default
    assert isinstance(inner, Binding)
    assert inner.default == Literal_("d}", (18, 22))


def test_bare_words_end_at_the_word_as_and_at_an_annotation() -> None:
    parsed = binding("${x | so be it as text @(description a)}")
    assert parsed.default == Literal_("so be it", (6, 14))
    assert parsed.final_cast == Type("text", (18, 22))
    assert binding("${x | y@(description a)}").default == Literal_("y", (6, 7))


def test_annotations_keep_their_text_and_parentheses() -> None:
    parsed = binding(r"${x @(description What (exactly) to ask} ) @(description b\))}")
    assert parsed.annotations == (
        Annotation("description", "What (exactly) to ask}", (4, 42)),
        Annotation("description", "b)", (43, 61)),
    )


def test_spaces_and_line_breaks_are_free_around_everything_but_paths() -> None:
    parsed = binding("${\n  input.a\n    or  input.b\n  as text\n | x }")
    assert isinstance(parsed.expr, Logic)
    assert parsed.cast is not None
    assert parsed.default == Literal_("x", (42, 43))


def test_offsets_count_characters_not_bytes() -> None:
    parsed = parse("안녕 🙂 ${input.a}")
    assert isinstance(parsed, Text)
    assert isinstance(parsed.parts[1], Binding)
    assert parsed.parts[1].at == (5, 15)
    assert parsed.parts[1].expr.at == (7, 14)


def test_a_space_may_stand_before_a_format() -> None:
    written, spaced = parse("${x as text;sse-text}"), parse("${x as text; sse-text}")
    assert print_template(spaced) == print_template(written) == "${x as text;sse-text}"
