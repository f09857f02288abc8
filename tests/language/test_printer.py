"""Templates print as the text a person would have written."""

from __future__ import annotations

import pytest

from graphs.language import parse, print_template
from graphs.language.nodes import Constant, ListTemplate, MappingTemplate
from tests.language.trees import shape


@pytest.mark.parametrize(
    "text",
    [
        "${input.messages[0].content}",
        "${response[].choices[0].delta.content}",
        "${output as text;sse-text}",
        '${input.a as select/a,b | "b" @(description Which one?)}',
        "${a or b and not c == 1}",
        "${(a or b) and (c or d)}",
        "${not (a and b)}",
        "${(a == b) == (not c)}",
        '${x | ${y | "z"} as text}',
        "${x | -5}",
        r"literal \${x} and \\${x}",
        r"\\\${x}",
        "plain $ and { and }",
        r"a\b ${x}\ ",
        "a\\\n${x}",
    ],
)
def test_it_prints_as_it_was_written(text: str) -> None:
    assert print_template(parse(text)) == text


def test_spaces_quotes_and_needless_parentheses_are_made_regular() -> None:
    assert print_template(parse("${ (a)=='b'   | c d as text }")) == '${a == "b" | "c d" as text}'


def test_quotes_and_backslashes_come_back() -> None:
    template = parse("${x | 'say \"hi\" \\\\ it\\'s'}")
    assert shape(parse(print_template(template))) == shape(template)


def test_containers_print_as_flow() -> None:
    template = MappingTemplate((("a", parse("${x}")), ("b", ListTemplate((Constant(True), Constant({"k": [None]}))))))
    assert print_template(template) == '{a: ${x}, b: [true, {"k": [null]}]}'
