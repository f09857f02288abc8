"""Places: where each value and key of a document stands, and how a mistake there is shown."""

from __future__ import annotations

from textwrap import dedent

import pytest
from hypothesis import given
from hypothesis import strategies as st

from graphs.source import Diagnostic, Mistakes, Node, Source, Span, in_order, offsets_in_source, parse


def tree(text: str) -> Node:
    mistakes = Mistakes()
    node = parse(Source("doc.yaml", text), mistakes)
    assert not mistakes, [each.render() for each in mistakes.found]
    assert node is not None
    return node


def at(text: str, *path: str | int) -> Node:
    node = tree(text)
    for part in path:
        if node.kind == "mapping" and isinstance(part, str):
            node = node.entries[part].node
        elif node.kind == "list" and isinstance(part, int):
            node = node.items[part]
    return node


def refused(text: str) -> Diagnostic:
    mistakes = Mistakes()
    assert parse(Source("doc.yaml", text), mistakes) is None
    [only] = mistakes.found
    return only


def character(text: str, part: str, *path: str | int) -> tuple[int, int]:
    """Return the line and column at which the first character of a part of a value stands."""
    node = at(text, *path)
    assert node.kind == "scalar"
    value = str(node.value)
    return node.span.source.position(offsets_in_source(node.span.source, node.span, value)[value.index(part)])


def test_a_span_knows_line_column_and_text() -> None:
    span = at("a: 1\nb:\n  - x\n  - long word\n", "b", 1).span
    assert (span.line, span.column, span.text) == (4, 5, "long word")
    assert str(span) == "doc.yaml:4:5"


def test_a_span_ends_with_its_first_line() -> None:
    assert at("a:\n  b: 1\n  c: 2\n", "a").span.text == "b: 1"


def test_paths_name_keys_and_items() -> None:
    assert at("a:\n  - b: [1, 2]\n", "a", 0, "b", 1).path == "a[0].b[1]"


def test_keys_have_their_own_span() -> None:
    node = tree("first: 1\nsecond: 2\n")
    assert node.kind == "mapping"
    assert (node.entries["second"].span.line, node.entries["second"].span.text) == (2, "second")


@pytest.mark.parametrize(
    ("written", "value"),
    [("5", 5), ("1.5", 1.5), ("true", True), ("null", None), ("", None), ("yes", "yes"), ('"5"', "5"), ("!!str 5", "5"),
     ("0x10", 16), ("2030-01-01", "2030-01-01"), ("hi there", "hi there")],
)  # fmt: skip
def test_scalars_are_typed_by_the_core_schema(written: str, value: object) -> None:
    node = at(f"a: {written}\n", "a")
    assert node.kind == "scalar"
    assert node.value == value
    assert type(node.value) is type(value)


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("a: say MARK now\n", (1, 8)),
        ('a: "say MARK now"\n', (1, 9)),
        ("a: 'it''s MARK'\n", (1, 11)),
        ('a: "\\u00e9\\t\\"MARK\\""\n', (1, 15)),
        ('a: "one\n  two MARK"\n', (2, 7)),
        ('a: "one\\\n   MARK"\n', (2, 4)),
        ("a: one\n  two\n  MARK\n", (3, 3)),
        ("a: |\n  one\n\n    two MARK\n", (4, 9)),
        ("a: >-\n  one\n  two\n\n  MARK\n", (5, 3)),
        ("a: |2\n    MARK\n", (2, 5)),
        ("a: &anchor say MARK\n", (1, 16)),
        ("a: !!str MARK\n", (1, 10)),
        ("a: 안녕 你好 👋 MARK\n", (1, 12)),
        ("a: one\r\nb: MARK\r\n", (2, 4)),
    ],
)
def test_every_character_of_a_value_is_found_where_it_was_written(text: str, place: tuple[int, int]) -> None:
    key = "b" if "b:" in text else "a"
    assert character(text, "MARK", key) == place


@given(st.text(alphabet=st.characters(codec="utf-8", categories=("L", "N", "P", "Zs")), min_size=1, max_size=40))
def test_offsets_of_quoted_text_lead_to_its_characters(text: str) -> None:
    written = "a: '" + text.replace("'", "''") + "'\n"
    node = at(written, "a")
    assert node.kind == "scalar"
    offsets = offsets_in_source(node.span.source, node.span, text)
    assert [written[offset] for offset in offsets[:-1]] == list(text)


def test_an_alias_has_the_place_of_what_it_repeats_and_its_own_path() -> None:
    node = at("a: &x\n  b: 1\nc: *x\n", "c", "b")
    assert (node.span.line, node.path) == (2, "c.b")


def test_merge_keys_give_way_to_written_ones_and_earlier_to_none() -> None:
    node = at("base: &base {x: 1, y: 2}\nmore: &more {y: 3, z: 4}\na:\n  <<: [*base, *more]\n  x: 9\n", "a")
    assert node.kind == "mapping"
    values = {key: entry.node.value for key, entry in node.entries.items() if entry.node.kind == "scalar"}
    assert values == {"x": 9, "y": 2, "z": 4}


def test_an_escaped_binding_in_a_key_is_the_key_itself() -> None:
    node = tree("'\\${x}': 1\n")
    assert node.kind == "mapping"
    assert list(node.entries) == ["${x}"]


def test_an_alias_bomb_is_refused_before_it_goes_off() -> None:
    lines = ["a0: &a0 [x, x, x, x, x, x, x, x, x, x]"]
    lines += [f"a{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 20)]
    assert "more than 100000 values" in refused("\n".join(lines)).message


@given(st.text(max_size=60))
def test_any_text_is_a_tree_or_mistakes_with_places(text: str) -> None:
    mistakes = Mistakes()
    node = parse(Source("doc.yaml", text), mistakes)
    assert node is not None or mistakes
    for diagnostic in mistakes.found:
        assert diagnostic.render().startswith(f"doc.yaml:{diagnostic.span.line}:{diagnostic.span.column}: ")


# --- how mistakes are shown --------------------------------------------------------------------------------------------


def shown(line: str, marked: str, hint: str | None = None) -> str:
    source = Source("doc.yaml", f"first\n{line}\nlast")
    start = source.text.index(marked)
    return Diagnostic(source.span(start, start + len(marked)), "wrong", hint).render()


def test_a_mistake_is_shown_with_its_line_a_caret_and_a_hint() -> None:
    assert shown("text: hello", "hello", "write hi") == dedent(
        """\
        doc.yaml:2:7: wrong
            2 | text: hello
                      ^^^^^
           write hi"""
    )


def test_wide_characters_take_two_columns_of_carets_and_of_the_way_there() -> None:
    assert shown("한글: 漢字", "漢字").splitlines()[2] == " " * 8 + " " * 6 + "^^^^"


def test_marks_and_joiners_take_no_column() -> None:
    assert shown("e\u0301\u200d: wrong", "wrong").splitlines()[2] == " " * 8 + "   ^^^^^"


def test_a_tab_before_the_mistake_is_a_tab_before_the_caret() -> None:
    assert shown("a\tb: x", "x").splitlines()[2] == " " * 8 + " \t   ^"


def test_a_long_line_is_shown_around_the_mistake() -> None:
    lines = shown("a" * 500 + "WRONG" + "b" * 500, "WRONG").splitlines()
    assert len(lines[1]) < 200
    assert lines[1].index("WRONG") == lines[2].index("^^^^^")


def test_control_characters_never_reach_the_terminal() -> None:
    assert "\x1b" not in shown("a: \x1b[31m x", "x")


def test_a_mistake_is_told_once_and_in_the_order_of_the_text() -> None:
    source = Source("doc.yaml", "one two")
    mistakes = Mistakes()
    for start in (4, 0, 4):
        mistakes.add(source.span(start, start + 3), "wrong")
    assert [each.span.start for each in in_order(mistakes.found)] == [0, 4]


def test_nothing_more_is_told_of_what_is_known_to_be_broken() -> None:
    source = Source("doc.yaml", "one two")
    mistakes = Mistakes()
    mistakes.silence(source.span(0, 3))
    mistakes.add(source.span(1, 2), "inside")
    mistakes.add(source.span(4, 7), "outside")
    assert [each.message for each in mistakes.found] == ["outside"]


def test_a_secret_is_shown_as_the_document_writes_it() -> None:
    source = Source("doc.yaml", "one")
    mistakes = Mistakes(secrets={"hunter22": "${env.PASSWORD}"})
    mistakes.add(source.span(0, 3), "got 'hunter22'", "not hunter22")
    assert (mistakes.found[0].message, mistakes.found[0].hint) == ("got '${env.PASSWORD}'", "not ${env.PASSWORD}")


def test_a_position_past_the_end_is_on_the_last_line() -> None:
    source = Source("doc.yaml", "one\ntwo")
    assert isinstance(source.span(7, 7), Span)
    assert source.position(7) == (2, 4)
