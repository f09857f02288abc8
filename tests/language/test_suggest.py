"""The word that was probably meant."""

from __future__ import annotations

import pytest

from graphs.suggest import closest

FIELDS = ["stream_format", "headers", "path", "method", "max_retries", "id", "Body"]


@pytest.mark.parametrize(
    ("word", "meant"),
    [
        ("stream_fromat", "stream_format"), ("stream-format", "stream_format"), ("streamformat", "stream_format"),
        ("header", "headers"), ("paht", "path"), ("pat", "path"), ("metod", "method"), ("Path", "path"), ("ID", "id"),
        ("body", "Body"), ("max_retry", "max_retries"),
    ],
)  # fmt: skip
def test_a_slip_finds_its_word(word: str, meant: str) -> None:
    assert closest(word, FIELDS) == meant


@pytest.mark.parametrize("word", ["", "timeout", "zebra", "x", "h" * 10_000])
def test_a_stranger_finds_nothing(word: str) -> None:
    assert closest(word, FIELDS) is None


def test_nothing_is_near_nothing() -> None:
    assert closest("a", []) is None


def test_of_words_that_differ_in_case_alone_the_first_is_meant() -> None:
    assert closest("body", ["Body", "body"]) == "Body"
