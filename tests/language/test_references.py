"""What a template reads, and whether a stream stays one in it."""

from __future__ import annotations

import pytest

from graphs.language import bindings, chunked_names, is_stream_reference, parse, print_reference, references
from graphs.language.nodes import Constant, ListTemplate, MappingTemplate


def test_references_come_in_the_order_they_are_written_defaults_included() -> None:
    template = MappingTemplate(
        (
            ("a", parse("${x.y or (not z[0] and 5) | ${d[].e | ${f}}} ${g}")),
            ("b", ListTemplate((parse("${h == i}"), Constant("${not.one}")))),
        )
    )
    assert [print_reference(each) for each in references(template)] == ["x.y", "z[0]", "d[].e", "f", "g", "h", "i"]


def test_bindings_are_those_outside_defaults() -> None:
    assert len(list(bindings(parse("${a | ${b}} ${c}")))) == 2


def test_chunked_names_are_those_read_by_chunk_anywhere() -> None:
    assert chunked_names(parse("${a[].x | ${b[]}} ${c}")) == {"a", "b"}


@pytest.mark.parametrize(
    "text",
    ["${a}", "${jobs.a.output}", "${a as text}", "${a as text;sse-json}", "${a as string}", "${a as audio}",
     "${a | x}", "${a | x as text}", "${a as json;sse-json}"],
)  # fmt: skip
def test_a_stream_stays_a_stream(text: str) -> None:
    assert is_stream_reference(parse(text))


@pytest.mark.parametrize(
    "text",
    ["x ${a}", "${a as integer}", "${a as json}", "${a as base64}", "${a as select/a}", "${a or b}", "${not a}", "${a[]}",
     "${'a'}", "a", "${a as text | x as integer}"],
)  # fmt: skip
def test_a_stream_does_not_stay_one(text: str) -> None:
    assert not is_stream_reference(parse(text))
