"""A model whose ways of reading differ is refused when it is loaded, and the refusal says which way differs."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import pytest
import torch
import transformers

from deployments.engines.huggingface import transformers_internals as internals
from deployments.engines.huggingface.loading import load
from graphs.errors import Unavailable
from tests.engines import tiny
from tests.engines.asking import loaded

GENERATING = ("gpt2", "llama", "mistral", "bloom", "mamba", "bart", "marian", "t5")


def broken(monkeypatch: pytest.MonkeyPatch, name: str, change: Callable[[dict[str, Any]], None]) -> None:
    """Have a class of models be called otherwise than it is asked."""
    cls = getattr(transformers, name)
    forward = cls.forward

    @functools.wraps(forward)
    def called(self: Any, **inputs: Any) -> Any:
        change(inputs)
        return forward(self, **inputs)

    monkeypatch.setattr(cls, "forward", called)


def without(name: str) -> Callable[[dict[str, Any]], None]:
    return lambda inputs: inputs.__setitem__(name, None)


def refusal(kind: str, **more: Any) -> str:
    with pytest.raises(Unavailable) as refused:
        load(str(tiny.model(kind)), "text-generation", **more)
    return refused.value.message


@pytest.mark.parametrize("precision", ["float32", "bfloat16", "float16"])
@pytest.mark.parametrize("kind", GENERATING)
def test_a_model_that_reads_as_it_must_is_loaded(kind: str, precision: str):
    assert load(str(tiny.model(kind)), "text-generation", precision=precision).model.dtype == getattr(torch, precision)


@pytest.mark.parametrize(
    ("kind", "name", "held"),
    [
        ("llama", "LlamaForCausalLM", "expected 5 tokens in it, got 0"),
        ("bloom", "BloomForCausalLM", "expected 5 tokens in it, got 0"),
        ("mamba", "MambaForCausalLM", "expected a state in it, got none"),
        ("bart", "BartForConditionalGeneration", "expected 1 tokens in it, got 0"),
    ],
)
def test_a_model_that_drops_the_cache_it_is_given_is_refused(monkeypatch, kind: str, name: str, held: str):
    broken(monkeypatch, name, without("cache"))
    message = refusal(kind)
    assert (
        f"failed its self-check and would answer nonsense: reading in one pass: the model doesn't use the cache it is given: {held}"
        in message
    )
    assert f"class {name}, float32, transformers {transformers.__version__}, torch {torch.__version__}" in message


@pytest.mark.parametrize(("kind", "name"), [("llama", "LlamaForCausalLM"), ("t5", "T5ForConditionalGeneration")])
def test_a_model_whose_cache_keeps_something_else_is_refused(monkeypatch, kind: str, name: str):
    def swap_heads(inputs: dict[str, Any]) -> None:
        if inputs.get("cache") is not None:
            pairs = internals.pairs_of(inputs["cache"])
            internals.put_pairs(inputs["cache"], [(keys.flip(1), values.flip(1)) for keys, values in pairs])

    broken(monkeypatch, name, swap_heads)
    assert "between reading step by step over its cache and in one pass" in refusal(kind)


@pytest.mark.parametrize("precision", ["float32", "bfloat16"])
@pytest.mark.parametrize(
    ("kind", "name", "argument"),
    [
        ("gpt2", "GPT2LMHeadModel", "position_ids"),
        ("gpt2", "GPT2LMHeadModel", "attention_mask"),
        ("llama", "LlamaForCausalLM", "attention_mask"),
        ("bart", "BartForConditionalGeneration", "attention_mask"),
        ("marian", "MarianMTModel", "attention_mask"),
        ("t5", "T5ForConditionalGeneration", "attention_mask"),
    ],
)
def test_a_model_that_reads_padding_as_text_is_refused(
    monkeypatch, kind: str, name: str, argument: str, precision: str
):
    broken(monkeypatch, name, without(argument))
    message = refusal(kind, precision=precision)
    assert "between reading as a padded row beside another and alone" in message
    assert f"class {name}, {precision}, " in message


def test_a_model_whose_rows_mix_is_refused_though_it_has_no_padding(monkeypatch):
    forward = transformers.BloomForCausalLM.forward

    @functools.wraps(forward)
    def mixed(self: Any, **inputs: Any) -> Any:
        found = forward(self, **inputs)
        found.logits = found.logits.mean(0, keepdim=True).expand_as(found.logits)
        return found

    monkeypatch.setattr(transformers.BloomForCausalLM, "forward", mixed)
    assert "between reading as a row beside another and alone" in refusal("bloom")


def test_a_model_that_fails_while_it_reads_is_refused_in_words(monkeypatch):
    def fail(inputs: dict[str, Any]) -> None:
        if inputs["input_ids"].shape[1] == 1:
            raise RuntimeError("no such thing\nnor this")

    broken(monkeypatch, "LlamaForCausalLM", fail)
    message = refusal("llama")
    assert "reading step by step over its cache failed: RuntimeError: no such thing (class" in message


def test_what_a_token_takes_in_the_cache_is_measured():
    # Two layers, keys and values, two heads of eight numbers, four bytes each.
    assert loaded("llama").token_bytes == 2 * 2 * 2 * 8 * 4
    assert loaded("mamba").token_bytes == 0
