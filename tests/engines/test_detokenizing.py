from __future__ import annotations

import codecs
import itertools
from functools import cache

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from deployments.engines.detokenizing import REPLACEMENT, Detokenizers, Stops, Without
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


def fed(tokenizer, tokens, tags=()):
    made = Detokenizers(tokenizer).make(tags)
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


def test_of_special_tokens_only_tags_are_text():
    tokenizer = tokenizer_of("llama")
    tokens = [*tokenizer("Hi ")["input_ids"], *tokenizer.convert_tokens_to_ids(["<|im_start|>", "<|endoftext|>"])]
    assert "".join(fed(tokenizer, tokens)[0]) == "Hi "
    assert "".join(fed(tokenizer, tokens, tags=["<|im_start|>", "<tool_call>"])[0]) == "Hi <|im_start|>"


PIECES = ("\u2581", "a", "x", "\u2581the", "\u2581a", "你", "😀", ".", "\u2581\u2581")


@cache
def falling_back():
    """Return a tokenizer as Llama 2's: what it has no piece for is written in bytes."""
    from tokenizers import Tokenizer, decoders, models
    from transformers import PreTrainedTokenizerFast

    names = ["<unk>", "<s>", "</s>", *(f"<0x{byte:02X}>" for byte in range(256)), *PIECES]
    vocabulary = {name: id for id, name in enumerate(names)}
    tokenizer = Tokenizer(models.BPE(vocabulary, [], unk_token="<unk>", byte_fallback=True, fuse_unk=True))
    steps = [decoders.Replace("\u2581", " "), decoders.ByteFallback(), decoders.Fuse(), decoders.Strip(" ", 1, 0)]
    tokenizer.decoder = decoders.Sequence(steps)
    return PreTrainedTokenizerFast(tokenizer_object=tokenizer, eos_token="</s>", bos_token="<s>", unk_token="<unk>")


def in_bytes(*values):
    return [3 + value for value in values]


def piece(name):
    return falling_back().convert_tokens_to_ids(name)


def judged(tokens):
    """Return what is decoded at once, where each byte that is of no character is one mark, and no others are."""
    codecs.register_error("each", lambda error: (REPLACEMENT * (error.end - error.start), error.end))
    mended = []
    tokens = [token for token in tokens if token > 2]
    for are_bytes, run in itertools.groupby(tokens, lambda token: token < 259):
        if are_bytes:
            text = bytes(token - 3 for token in run).decode(errors="each")
            mended += in_bytes(*text.encode())
        else:
            mended += run
    return falling_back().decode(mended, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@pytest.mark.parametrize(
    ("tokens", "text"),
    [
        ([piece("\u2581the"), *in_bytes(0x0A, 0xE4), piece("x"), piece("x")], "the\n\ufffdxx"),
        ([piece("x"), *in_bytes(0x0A, 0xF0, 0x9F)], "x\n\ufffd\ufffd"),
        ([piece("a"), *in_bytes(*"😀".encode(), 0xE4), piece("\u2581the")], "a😀\ufffd the"),
        ([*in_bytes(0xE4), piece("\u2581the")], "\ufffd the"),
        ([*in_bytes(0xED, 0xA0, 0x80), piece("x")], "\ufffd\ufffd\ufffdx"),
        ([*in_bytes(0xE4), 1, *in_bytes(0xBD, 0xA0)], "你"),
    ],
)
def test_a_broken_byte_costs_no_other_character_where_a_tokenizer_falls_back_on_bytes(tokens, text):
    pieces, rest = fed(falling_back(), tokens)
    assert "".join(pieces) + rest == text == judged(tokens)


LIKELY = st.sampled_from([0x0A, 0x20, 0x41, *"é你😀".encode(), 0xC0, 0xE0, 0xED, 0xF4, 0xFF]).map(lambda byte: 3 + byte)


@settings(deadline=None)
@given(tokens=st.lists(LIKELY | st.integers(0, 258 + len(PIECES)), max_size=40))
def test_any_tokens_are_read_where_a_tokenizer_falls_back_on_bytes(tokens):
    tokenizer = falling_back()
    pieces, rest = fed(tokenizer, tokens)
    text = "".join(pieces) + rest
    assert text == judged(tokens)
    if REPLACEMENT not in text:
        assert text == tokenizer.decode(tokens, skip_special_tokens=True, clean_up_tokenization_spaces=False)


@settings(deadline=None)
@given(text=st.text(alphabet="a 你é😀\n", max_size=30))
def test_no_character_written_in_bytes_is_split(text):
    pieces, rest = fed(falling_back(), in_bytes(*text.encode()))
    assert [piece for piece in pieces if piece] == list(text.removeprefix(" "))
    assert rest == ""


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


@given(
    pieces=st.lists(st.text("<ab>", max_size=5), max_size=12),
    words=st.sets(st.text("<ab>", min_size=1, max_size=4), max_size=3),
)
def test_words_are_left_out_however_a_text_is_cut(pieces, words):
    def passed(pieces):
        made = Without(words)
        return "".join(made.feed(piece) for piece in pieces) + made.end()

    whole = passed(["".join(pieces)])
    assert passed(pieces) == passed(list("".join(pieces)))
    assert words or whole == "".join(pieces)


def test_what_may_begin_a_word_is_held_back():
    made = Without(["<|im_start|>", "<|x|>"])
    assert [made.feed(text) for text in ("a<", "|im_", "start|>b<|x|>c", " <", "b", "<|")] == [
        "a",
        "",
        "bc",
        " ",
        "<b",
        "",
    ]
    assert made.end() == "<|"
