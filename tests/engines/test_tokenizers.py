"""What is read from inside a tokenizer is found, or the version that lacks it is named."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engines import tokenizers
from deployments.engines.detokenizing import Detokenizers
from deployments.engines.tokenizers import added_tokens, backend, decoder_steps, shipped_template, special_tokens
from graphs.errors import Unavailable
from tests.engines.asking import loaded


def tokenizer_of(kind: str) -> Any:
    return loaded(kind, "text-generation").tokenizer


@pytest.mark.parametrize(
    ("kind", "steps"), [("gpt2", {"ByteLevel"}), ("llama", {"ByteLevel"}), ("marian", {"Metaspace"})]
)
def test_the_decoder_of_a_tokenizer_is_known(kind: str, steps: set[str]):
    assert decoder_steps(tokenizer_of(kind)) == steps


def test_a_tokenizer_is_a_wrapper_of_the_library_or_written_in_python():
    from tokenizers import Tokenizer

    assert isinstance(backend(tokenizer_of("gpt2")), Tokenizer)
    assert backend(tokenizer_of("marian")) is None


@pytest.mark.parametrize("kind", ["llama", "marian"])
def test_added_and_special_tokens_are_known(kind: str):
    tokenizer = tokenizer_of(kind)
    assert set(tokenizer.all_special_tokens) <= set(special_tokens(tokenizer).values())
    assert {id for id, token in added_tokens(tokenizer).items() if token.special} <= set(special_tokens(tokenizer))


class Unreadable:
    """A decoder that is pickled in another form."""

    def __getstate__(self) -> bytes:
        return b"\x80\x04"


@pytest.mark.parametrize(
    ("inner", "said"),
    [
        (
            None,
            r"transformers 9\.9 differs from the versions that anabranch is made for: .* has no 'backend_tokenizer'",
        ),
        (object(), r"tokenizers 9\.9 differs .*: object has no 'decoder'"),
        (SimpleNamespace(decoder=Unreadable()), r"tokenizers 9\.9 .*: the state of a decoder is no longer its JSON"),
    ],
)
def test_a_part_that_is_not_found_is_named_with_the_version(inner: Any, said: str, monkeypatch: pytest.MonkeyPatch):
    from transformers import PreTrainedTokenizerFast

    tokenizer = tokenizer_of("gpt2")
    monkeypatch.setattr(tokenizers, "installed_version", lambda name: "9.9")
    if inner is None:
        monkeypatch.delattr(PreTrainedTokenizerFast, "backend_tokenizer")
    else:
        monkeypatch.setattr(PreTrainedTokenizerFast, "backend_tokenizer", inner)
    with pytest.raises(Unavailable, match=said):
        Detokenizers(tokenizer)


def test_a_tokenizer_that_lacks_the_key_of_response_templates_is_named(monkeypatch: pytest.MonkeyPatch):
    tokenizer = tokenizer_of("gpt2")
    assert shipped_template(tokenizer) is None
    monkeypatch.setattr(tokenizers, "installed_version", lambda _: "9.9")
    monkeypatch.delattr(tokenizer, "response_template")
    with pytest.raises(Unavailable, match=r"transformers 9\.9 differs from the versions .* has no 'response_template'"):
        shipped_template(tokenizer)


def test_a_tokenizer_that_is_not_transformers_ships_no_response_template():
    assert shipped_template(SimpleNamespace()) is None
