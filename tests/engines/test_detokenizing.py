from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.engines.detokenizing import REPLACEMENT, Stops, detokenizer
from tests.engines.asking import loaded

TEXTS = (
    "Hello,  world!   Three spaces.\n\n\tTabs.",
    " leading and trailing ",
    "안녕하세요, 오늘 날씨가 참 좋네요.",
    "你好！请给我讲一个故事。",
    "waves 👋🏽 at the family 👨‍👩‍👧‍👦 and 🇰🇷",
    "don't we'll I'm it 's n't",
)
KINDS = ("gpt2", "llama", "bart", "bert", "marian")


def fed(tokenizer, tokens, special=False):
    made = detokenizer(tokenizer, special)
    return [made.feed(token) for token in tokens], made.end()


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("text", TEXTS)
def test_the_pieces_join_to_the_whole(kind, text):
    tokenizer = tokenizer_of(kind)
    tokens = tokenizer(text)["input_ids"] * 5
    pieces, rest = fed(tokenizer, tokens)
    whole = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces) + rest == whole


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart"])
@pytest.mark.parametrize("text", TEXTS)
def test_no_piece_holds_half_a_character(kind, text):
    tokenizer = tokenizer_of(kind)
    pieces, rest = fed(tokenizer, tokenizer(text)["input_ids"])
    assert not any(REPLACEMENT in piece for piece in pieces)
    assert rest == ""


@pytest.mark.parametrize("kind", KINDS)
@settings(deadline=None)
@given(data=st.data())
def test_any_tokens_join_to_the_whole(kind, data):
    tokenizer = tokenizer_of(kind)
    tokens = data.draw(st.lists(st.integers(0, len(tokenizer) - 1), max_size=60))
    pieces, rest = fed(tokenizer, tokens)
    whole = tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)
    assert "".join(pieces) + rest == whole


def test_a_character_that_was_cut_comes_at_the_end():
    tokenizer = tokenizer_of("gpt2")
    tokens = tokenizer("wave 👋🏽")["input_ids"][:-1]
    pieces, rest = fed(tokenizer, tokens)
    assert not any(REPLACEMENT in piece for piece in pieces)
    assert REPLACEMENT in rest


def test_special_tokens_are_text_where_they_are_wanted():
    tokenizer = tokenizer_of("llama")
    tokens = [*tokenizer("Hi ")["input_ids"], tokenizer.convert_tokens_to_ids("<|im_start|>")]
    assert "".join(fed(tokenizer, tokens)[0]) == "Hi "
    assert "".join(fed(tokenizer, tokens, special=True)[0]) == "Hi <|im_start|>"


def tokenizer_of(kind):
    return loaded(kind, "text-embedding" if kind == "bert" else "text-generation").tokenizer


def through(stops, pieces):
    """Return what passes, and whether it was stopped."""
    made, passed = Stops(stops), []
    for piece in pieces:
        text, stopped = made.feed(piece)
        passed.append(text)
        if stopped:
            return passed, True
    return [*passed, made.end()], False


def test_text_that_begins_no_stop_string_passes_at_once():
    assert through(["stop"], ["one ", "two ", "three"]) == (["one ", "two ", "three", ""], False)


def test_what_may_begin_a_stop_string_is_held_back_until_it_is_known():
    assert through(["stop"], ["a st", "ar", " sto", "p here"]) == (["a ", "star", " ", ""], True)


def test_what_was_held_back_comes_at_the_end():
    assert through(["stop"], ["a sto"]) == (["a ", "sto"], False)


@given(
    text=st.text("abc", max_size=40),
    stops=st.lists(st.text("abc", min_size=1, max_size=4), max_size=3),
    cuts=st.lists(st.integers(0, 40), max_size=10),
)
def test_any_split_of_a_text_stops_at_the_same_place(text, stops, cuts):
    edges = [0, *sorted(cut for cut in cuts if cut <= len(text)), len(text)]
    pieces = [text[start:end] for start, end in itertools.pairwise(edges)]
    split, stopped = through(stops, pieces)
    whole, also = through(stops, list(text))
    assert ("".join(split), stopped) == ("".join(whole), also)
    assert not any(stop in "".join(split) for stop in stops)
    assert stopped == any(stop in text for stop in stops)
