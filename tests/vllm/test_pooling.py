"""Embeddings and labels with vLLM are those that transformers gives."""

import pytest
import torch
from transformers import AutoModel, AutoModelForSequenceClassification, AutoTokenizer

from graphs.errors import InvalidInput
from tests.vllm import models
from tests.vllm.conftest import started

TEXTS = ["A stream never hangs.", "안녕하세요, 오늘 날씨가 참 좋네요.", "The quick brown fox jumps over the lazy dog"]


def by_transformers(kind, cls):
    folder = models.model(kind)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), cls.from_pretrained(folder).eval()
    with torch.inference_mode():
        return [model(**tokenizer(text, return_tensors="pt")) for text in TEXTS]


async def test_vectors_are_means_of_unit_length():
    engine = await started("bert", "text-embedding")
    try:
        pooled = await engine.pool(TEXTS, 2, None)
        with pytest.raises(InvalidInput, match="64"):
            await engine.pool(["river " * 100], 1, None)
        cut = await engine.pool(["river " * 100], 1, 8)
    finally:
        await engine.aclose()
    means = [output.last_hidden_state[0].mean(0) for output in by_transformers("bert", AutoModel)]
    expected = torch.stack([mean / mean.norm() for mean in means])
    torch.testing.assert_close(torch.tensor(pooled.values), expected, atol=1e-4, rtol=1e-3)
    assert pooled.usage.prompt_tokens > len(TEXTS)
    assert cut.usage.prompt_tokens == 8


async def test_labels_come_with_their_scores_the_likeliest_first():
    engine = await started("bert-classifier", "text-classification")
    try:
        pooled = await engine.pool(TEXTS, 2, None)
    finally:
        await engine.aclose()
    for found, output in zip(
        pooled.values, by_transformers("bert-classifier", AutoModelForSequenceClassification), strict=True
    ):
        shares = output.logits[0].softmax(-1).tolist()
        assert {each["label"]: pytest.approx(each["score"], abs=1e-4) for each in found} == dict(
            zip(("negative", "neutral", "positive"), shares, strict=True)
        )
        assert [each["score"] for each in found] == sorted((each["score"] for each in found), reverse=True)
