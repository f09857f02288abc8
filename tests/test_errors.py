"""What errors say."""

from __future__ import annotations

import pytest

from graphs.errors import first_line


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("one\ntwo"), "one"),
        (ValueError("\n  \n  one \ntwo"), "one"),
        (ValueError(), "ValueError"),
        (ValueError(" \n"), "ValueError"),
    ],
)
def test_the_first_line_of_an_exception_says_something(error: Exception, line: str) -> None:
    assert first_line(error) == line
