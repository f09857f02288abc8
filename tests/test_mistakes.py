"""Every wrong document in tests/mistakes earns exactly its messages, each pointing at the text that is wrong."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.mistakes.cases import ENVIRONMENT, cases, expected, mistakes, points, rendered

EVERY = pytest.mark.parametrize("case", cases(), ids=lambda case: case.stem)


@EVERY
def test_a_wrong_document_earns_exactly_its_messages(case: Path) -> None:
    assert rendered(case) == expected(case).read_text(encoding="utf-8")


@EVERY
def test_every_message_points_at_the_text_that_is_wrong(case: Path) -> None:
    found = mistakes(case)
    assert [diagnostic.span.text for diagnostic in found] == points(case)
    for diagnostic in found:
        line = diagnostic.span.source.text.split("\n")[diagnostic.span.line - 1]
        assert line[diagnostic.span.column - 1 :].startswith(diagnostic.span.text)


@EVERY
def test_no_message_shows_what_came_from_the_environment(case: Path) -> None:
    assert not any(secret in rendered(case) for secret in ENVIRONMENT.values())


def test_there_is_a_message_for_every_document_and_a_document_for_every_message() -> None:
    folder = cases()[0].parent
    assert {expected(case) for case in cases()} == set(folder.glob("*.txt"))
    assert len(cases()) >= 75
