"""PyYAML's own texts, which it may reword: every one that we read is provoked with the installed version."""

from __future__ import annotations

import pytest
import yaml

from graphs.source import Mistakes, Source, parse
from graphs.source.pyyaml import MAX_DEPTH, PROBLEMS, compose

PROVOKED = {
    "[" * 2000: ("while increasing flow level", "exceeded maximum nesting depth"),
    "- " * 2000: ("while increasing block level", "exceeded maximum nesting depth"),
    "a: [b, c\n": ("while parsing a flow sequence", "did not find expected ',' or ']'"),
    "a: {b: c\n": ("while parsing a flow mapping", "did not find expected ',' or '}'"),
    "[,]\n": ("while parsing a flow node", "did not find expected node content"),
    "a: [b:]\n": ("while scanning a plain scalar", "found unexpected ':'"),
    "a:\n  b: c\n d: e\n": ("while parsing a block mapping", "did not find expected key"),
    "- a\nb: c\n": ("while parsing a block collection", "did not find expected '-' indicator"),
    'a: "C:\\data"\n': ("while parsing a quoted scalar", "found unknown escape character"),
    'a: "\\xzz"\n': ("while parsing a quoted scalar", "did not find expected hexdecimal number"),
    'a: "\\UFFFFFFFF"\n': ("while parsing a quoted scalar", "found invalid Unicode character escape code"),
    "a: 'hi\n": ("while scanning a quoted scalar", "found unexpected end of stream"),
    "a: 'hi\n---\n": ("while scanning a quoted scalar", "found unexpected document indicator"),
    "a: b: c\n": ("", "mapping values are not allowed in this context"),
    "a: 1\nb\nc: 2\n": ("while scanning a simple key", "could not find expected ':'"),
    "a: @x\n": ("while scanning for the next token", "found character that cannot start any token"),
    "a: ] b\n": ("while parsing a block node", "did not find expected node content"),
    "a: | hi\n": ("while scanning a block scalar", "did not find expected comment or line break"),
    "a: |0\n  x\n": ("while scanning a block scalar", "found an indentation indicator equal to 0"),
    "a: - b\n": ("", "block sequence entries are not allowed in this context"),
    "a: *\n": ("while scanning an alias", "did not find expected alphabetic or numeric character"),
    "a: & b\n": ("while scanning an anchor", "did not find expected alphabetic or numeric character"),
    "%x y\na: b\n": ("while scanning a directive", "found unknown directive name"),
    "'a'\nb: c\n": ("", "did not find expected <document start>"),
}


def refused(text: str) -> str:
    mistakes = Mistakes()
    assert parse(Source("doc.yaml", text), mistakes) is None
    [only] = mistakes.found
    return only.message


@pytest.mark.parametrize(("text", "expected"), PROVOKED.items(), ids=[f"{number}" for number in range(len(PROVOKED))])
def test_the_installed_parser_says_what_the_table_expects(text: str, expected: tuple[str, str]) -> None:
    with pytest.raises(yaml.MarkedYAMLError) as raised:
        list(yaml.parse(text, Loader=yaml.CSafeLoader))
    assert (raised.value.context or "", raised.value.problem) == expected


def test_every_text_in_the_table_is_provoked() -> None:
    assert set(PROVOKED.values()) == PROBLEMS.keys()


def test_a_text_that_is_not_in_the_table_is_shown_as_the_parser_gave_it() -> None:
    assert refused("a: !<x b\n") == "this is not valid YAML: did not find the expected '>' while scanning a tag"


@pytest.mark.parametrize("text", ["[", "{", "- ", "? ", "[{", "- - ? - "])
@pytest.mark.parametrize("times", [MAX_DEPTH + 1, 1000, 100_000])
def test_a_document_of_any_depth_and_kind_is_refused(text: str, times: int) -> None:
    assert refused(text * times) == "the document is nested too deeply here"


def test_a_document_of_the_greatest_depth_is_read() -> None:
    text = "[" * MAX_DEPTH + "]" * MAX_DEPTH
    assert parse(Source("doc.yaml", text), Mistakes()) is not None


def test_an_anchor_may_be_set_anew() -> None:
    node = compose("a: &x 1\nb: &x 2\nc: *x\n")
    assert isinstance(node, yaml.MappingNode)
    assert node.value[2][1].value == "2"
