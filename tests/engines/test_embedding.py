"""Texts become vectors or labels as their model was trained to make them, in batches and in order."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engines.huggingface import embedding as pooling
from deployments.engines.huggingface.embedding import Recipe, read_recipe
from deployments.engines.huggingface.engine import HuggingFace
from deployments.engines.huggingface.loading import Loaded, load
from graphs.errors import ComponentFailed, InvalidInput, Unavailable
from tests.engines import tiny

TEXTS = ["A river.", "The quick brown fox jumps over the lazy dog.", "안녕하세요", "A stream never hangs."]


@cache
def bert() -> Loaded:
    return load(str(tiny.model("bert")), "text-embedding")


@cache
def classifier() -> Loaded:
    return load(str(tiny.model("bert-classifier")), "text-classification")


class Calls:
    """Runs at once what the inference thread would, and counts."""

    def __init__(self) -> None:
        self.count = 0

    async def __call__(self, work: Callable[[], Any]) -> Any:
        self.count += 1
        return work()


async def vectors(
    texts: list[str], batch_size: int = 8, longest: int | None = None, loaded: Loaded | None = None
) -> Any:
    return (await pooling.embed(loaded or bert(), texts, batch_size, longest, Calls())).values


def states(text: str) -> Any:
    import torch

    with torch.inference_mode():
        return bert().model(**bert().tokenizer(text, return_tensors="pt")).last_hidden_state[0]


def close(one: Any, other: Any) -> bool:
    import torch

    return torch.allclose(torch.tensor(one), torch.as_tensor(other), atol=1e-5)


async def test_a_vector_is_the_mean_of_its_tokens_and_of_length_one():
    import torch

    expected = torch.nn.functional.normalize(states(TEXTS[0]).mean(0), dim=0)
    assert close((await vectors(TEXTS[:1]))[0], expected)


async def test_a_text_gets_the_same_vector_whatever_it_is_batched_with_and_in_its_place():
    alone = [(await vectors([text]))[0] for text in TEXTS]
    for size in (1, 3, 8):
        assert close(await vectors(TEXTS, size), alone)


async def test_each_batch_is_a_call_of_its_own_and_tokens_are_counted():
    calls = Calls()
    pooled = await pooling.embed(bert(), TEXTS, 3, None, calls)
    assert calls.count == 2
    assert pooled.usage.prompt_tokens == sum(len(bert().tokenizer(text).input_ids) for text in TEXTS)
    assert pooled.usage.completion_tokens == 0


async def test_a_text_too_long_for_the_model_is_refused_or_cut_as_asked():
    with pytest.raises(InvalidInput, match="but this model's maximum context length is 64"):
        await vectors(["river " * 100])
    assert close(await vectors(["river " * 100], longest=10), await vectors([" ".join(["river"] * 8)]))


@pytest.mark.parametrize("text", ["", "a\0b"])
async def test_what_is_no_text_is_refused(text: str):
    with pytest.raises(InvalidInput):
        await vectors(["A river.", text])


def as_sentence_transformers(folder: Path, pooling: dict[str, Any], *more: str, longest: int | None = None) -> Path:
    shutil.copytree(tiny.model("bert"), folder)
    modules = [{"path": "", "type": "sentence_transformers.models.Transformer"}]
    modules += [{"path": "1_Pooling", "type": "sentence_transformers.models.Pooling"}]
    modules += [{"path": f"2_{name}", "type": f"sentence_transformers.models.{name}"} for name in more]
    (folder / "modules.json").write_text(json.dumps(modules))
    (folder / "1_Pooling").mkdir()
    (folder / "1_Pooling" / "config.json").write_text(json.dumps(pooling))
    if longest:
        (folder / "sentence_bert_config.json").write_text(json.dumps({"max_seq_length": longest}))
    return folder


@pytest.mark.parametrize(
    ("said", "pool"),
    [
        ({"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": False}, lambda states: states[0]),
        ({"pooling_mode_mean_tokens": True, "include_prompt": True}, lambda states: states.mean(0)),
        ({"pooling_mode_max_tokens": True}, lambda states: states.max(0).values),
        ({"pooling_mode_lasttoken": True}, lambda states: states[-1]),
        ({"pooling_mode": "cls"}, lambda states: states[0]),
    ],
)
async def test_a_model_of_sentence_transformers_is_pooled_as_its_folder_says(tmp_path: Path, said: Any, pool: Any):
    loaded = load(str(as_sentence_transformers(tmp_path / "m", said)), "text-embedding")
    assert close(await vectors(TEXTS, loaded=loaded), [pool(states(text)).tolist() for text in TEXTS])


async def test_texts_are_cut_to_the_length_such_a_model_was_trained_on(tmp_path: Path):
    folder = as_sentence_transformers(tmp_path / "m", {"pooling_mode": "mean"}, "Normalize", longest=12)
    assert read_recipe(folder, "m") == Recipe("mean", True, 12)
    loaded = load(str(folder), "text-embedding")
    assert close(await vectors(["river " * 100], loaded=loaded), await vectors(["river " * 100], longest=12))


def test_a_way_of_making_vectors_that_is_not_known_is_refused(tmp_path: Path):
    folder = as_sentence_transformers(tmp_path / "m", {"pooling_mode": "mean"}, "Dense")
    with pytest.raises(Unavailable, match="makes its vectors with Dense, which this driver"):
        read_recipe(folder, "m")
    both = {"pooling_mode_cls_token": True, "pooling_mode_mean_tokens": True}
    with pytest.raises(Unavailable, match="pools by cls, mean; this driver supports mean, cls, max, lasttoken"):
        read_recipe(as_sentence_transformers(tmp_path / "n", both), "n")


async def test_an_encoder_decoders_encoder_makes_vectors():
    loaded = load(str(tiny.model("bart")), "text-embedding")
    alone = [(await vectors([text], loaded=loaded))[0] for text in TEXTS]
    assert close(await vectors(TEXTS, loaded=loaded), alone)


async def test_a_decoder_without_a_padding_token_makes_vectors_in_batches():
    loaded = load(str(tiny.model("gpt2")), "text-embedding")
    alone = [(await vectors([text], loaded=loaded))[0] for text in TEXTS]
    assert close(await vectors(TEXTS, loaded=loaded), alone)


# classification


async def test_labels_come_with_scores_that_add_up_the_likeliest_first():
    pooled = await pooling.classify(classifier(), TEXTS, 2, None, Calls())
    for ranked in pooled.values:
        assert {each["label"] for each in ranked} == {"negative", "neutral", "positive"}
        scores = [each["score"] for each in ranked]
        assert scores == sorted(scores, reverse=True)
        assert sum(scores) == pytest.approx(1)


async def test_a_text_is_judged_alike_alone_and_in_a_batch():
    together = (await pooling.classify(classifier(), TEXTS, 8, None, Calls())).values
    for text, ranked in zip(TEXTS, together, strict=True):
        alone = (await pooling.classify(classifier(), [text], 1, None, Calls())).values[0]
        assert [each["label"] for each in alone] == [each["label"] for each in ranked]
        assert [each["score"] for each in alone] == pytest.approx([each["score"] for each in ranked], abs=1e-5)


def test_scores_are_what_the_model_was_trained_to_give():
    import torch

    logits = torch.tensor([[0.0, 2.0]])
    several = SimpleNamespace(problem_type="multi_label_classification")
    assert torch.equal(pooling._scores(logits, several), logits.sigmoid())
    assert torch.equal(pooling._scores(logits, SimpleNamespace(problem_type=None)), logits.softmax(-1))
    assert torch.equal(pooling._scores(logits, SimpleNamespace(problem_type="regression")), logits)
    assert torch.equal(pooling._scores(logits[:, :1], SimpleNamespace(problem_type=None)), logits[:, :1].sigmoid())


async def test_a_device_that_has_failed_is_told_and_makes_the_replica_unhealthy(monkeypatch: pytest.MonkeyPatch):
    import torch

    def fail(*_: Any) -> Any:
        raise torch.AcceleratorError("CUDA error: an illegal memory access was encountered\nand more")

    engine = HuggingFace(bert())
    try:
        await engine.pool(TEXTS, 8, None)
        await engine.healthy()
        monkeypatch.setattr(pooling, "_vectors", fail)
        with pytest.raises(
            ComponentFailed, match=r"failed: AcceleratorError: CUDA error: an illegal memory access was encountered$"
        ):
            await engine.pool(TEXTS, 8, None)
        with pytest.raises(ComponentFailed):
            await engine.healthy()
    finally:
        await engine.aclose()


async def test_without_memory_the_call_fails_in_words_and_the_replica_stays(monkeypatch: pytest.MonkeyPatch):
    import torch

    def fail(*_: Any) -> Any:
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB")

    engine = HuggingFace(bert())
    try:
        monkeypatch.setattr(pooling, "_vectors", fail)
        with pytest.raises(Unavailable, match="has no memory left"):
            await engine.pool(TEXTS, 8, None)
        await engine.healthy()
    finally:
        await engine.aclose()
