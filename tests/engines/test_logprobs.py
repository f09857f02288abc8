"""The log-probabilities of tokens are the model's own, each token's comes once, and none without being asked for."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
import torch

from deployments.engines.engine import Ask, Ended, LogProbs
from deployments.engines.huggingface.engine import HuggingFace
from deployments.engines.token_scores import LEAST, TokenScore, TokenTexts
from tests.engines.asking import PROMPTS, answers, ask, loaded, serving, tokens

GREEDY = {"do_sample": False, "max_output_length": 8}


async def told(engine: HuggingFace, asked: Ask) -> tuple[list[Any], str, Ended]:
    """Return all entries, the text, and the end; entries come before the text that they belong to."""
    entries: list[Any] = []
    text = ""
    async for piece in engine.generate(asked):
        if isinstance(piece, LogProbs):
            entries += piece.entries
        elif isinstance(piece, Ended):
            return entries, text, piece
        else:
            text += piece
            assert asked.logprobs is None or len(text) <= sum(len(each["bytes"]) for each in entries)
    raise AssertionError("the answer has no end")


def likeliest(kind: str, text: str, count: int) -> list[tuple[float, list[float]]]:
    """Return what the model itself gives: of each greedy token its log-probability, and the highest ones."""
    model = loaded(kind)
    drawn = tokens(model, text, max_new_tokens=GREEDY["max_output_length"])
    ids = model.tokenizer(text)["input_ids"]
    with torch.inference_mode():
        logits = model.model(torch.tensor([[*ids, *drawn]])).logits[0, len(ids) - 1 : -1]
    logs = logits.float().log_softmax(-1)
    return [(logs[at, id].item(), logs[at].topk(count).values.tolist()) for at, id in enumerate(drawn)]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "mamba"])
@pytest.mark.parametrize("streaming", [True, False])
async def test_they_are_those_of_the_models_scores(kind: str, streaming: bool):
    async with serving(kind) as engine:
        entries, _, ended = await told(engine, replace(ask(PROMPTS[0], streaming, **GREEDY), logprobs=3))
    assert len(entries) == ended.usage.completion_tokens
    for entry, (own, highest) in zip(entries, likeliest(kind, PROMPTS[0], 3), strict=True):
        assert entry["logprob"] == pytest.approx(own, abs=1e-3)
        assert [each["logprob"] for each in entry["top_logprobs"]] == pytest.approx(highest, abs=1e-3)
        assert entry["top_logprobs"][0]["token"] == entry["token"]


async def test_temperature_penalties_and_a_schema_do_not_change_them():
    said = {"temperature": 1.9, "seed": 3, "repetition_penalty": 5.0, "max_output_length": 1}
    schema = {"enum": ["yes"]}
    async with serving("llama-chat") as engine:
        (plain,), _, _ = await told(engine, replace(ask("A river", **GREEDY | {"max_output_length": 1}), logprobs=4))
        for asked in (ask("A river", **said), replace(ask("A river", **said), json_schema=schema)):
            (entry,), _, _ = await told(engine, replace(asked, logprobs=4))
            assert entry["top_logprobs"] == plain["top_logprobs"]


async def test_joined_their_bytes_are_the_text_and_each_token_comes_once():
    async with serving("gpt2") as engine:
        for seed in range(8):
            asked = ask("안녕", temperature=1.5, top_k=0, seed=seed, max_output_length=40)
            entries, text, ended = await told(engine, replace(asked, logprobs=0))
            assert len(entries) == ended.usage.completion_tokens
            said = bytes(byte for entry in entries for byte in entry["bytes"]).decode(errors="replace")
            assert said.removesuffix("<|endoftext|>") == text
            assert all(entry["top_logprobs"] == [] for entry in entries)


@pytest.mark.parametrize("streaming", [True, False])
async def test_tokens_of_a_stop_string_are_among_them(streaming: bool):
    async with serving("gpt2") as engine:
        _, text, _ = await told(engine, ask(PROMPTS[0], **GREEDY))
        asked = replace(ask(PROMPTS[0], streaming, **GREEDY, stop=(text[3:6],)), logprobs=1)
        entries, cut, ended = await told(engine, asked)
    assert cut == text[: text.index(text[3:6])]
    assert len(entries) == ended.usage.completion_tokens
    assert "".join(entry["token"] for entry in entries).startswith(text[:6])


async def test_rows_that_share_a_step_with_one_that_asks_are_as_without_it():
    asks = [ask(text, **GREEDY) for text in PROMPTS]
    async with serving("gpt2") as engine:
        alone = await answers(engine, asks)
        scored = [replace(each, logprobs=at) if at % 2 else each for at, each in enumerate(asks)]
        assert [text for _, text, _ in [await told(engine, each) for each in scored]] == alone
        entries, _, _ = await told(engine, asks[0])
    assert entries == []


async def test_a_model_that_searches_with_beams_by_itself_does_not_where_they_are_asked_for():
    async with serving("gpt2") as engine:
        engine._network.own.num_beams = 3
        try:
            entries, _, ended = await told(engine, replace(ask("A river", streaming=False, **GREEDY), logprobs=1))
        finally:
            engine._network.own.num_beams = None
    assert len(entries) == ended.usage.completion_tokens > 0


def test_each_token_has_its_own_text_and_bytes():
    texts = TokenTexts(loaded("gpt2").tokenizer)
    ids = loaded("gpt2").tokenizer("안녕 🍮").input_ids
    entries = texts.entries([TokenScore(id, -1.0) for id in ids])
    assert bytes(byte for entry in entries for byte in entry["bytes"]).decode() == "안녕 🍮"
    end = texts.entries([TokenScore(loaded("gpt2").tokenizer.eos_token_id, 0.0, [(10**6, -float("inf"))])])
    (entry,) = end
    assert entry["token"] == "<|endoftext|>"
    assert entry["top_logprobs"] == [{"token": "", "logprob": LEAST, "bytes": []}]


def test_a_space_that_sentencepiece_marks_is_a_space():
    tokenizer = loaded("marian", "translation").tokenizer
    entries = TokenTexts(tokenizer).entries([TokenScore(id, 0.0) for id in tokenizer("a river").input_ids])
    assert "".join(entry["token"] for entry in entries).removesuffix("</s>").strip() == "a river"
