"""Whatever a model's own configuration asks of `generate` is done, or the model is refused."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from transformers import GenerationConfig

from deployments.engines.huggingface import self_check as fields
from deployments.engines.huggingface.loading import load
from deployments.engines.settings import DEFAULT_TOP_K
from graphs.errors import Unavailable
from tests.engines import tiny
from tests.engines.asking import PROMPTS, answer, ask, generated, serving


def test_every_field_of_the_installed_version_is_in_one_list():
    lists = (fields.DONE, fields.WITHOUT_EFFECT, frozenset(fields.REFUSED))
    known = [field for each in lists for field in each]
    assert sorted(known) == sorted(vars(GenerationConfig()))


def test_top_k_is_by_default_what_generate_takes():
    assert GenerationConfig._get_default_generation_params()["top_k"] == DEFAULT_TOP_K


@pytest.mark.parametrize(
    "own",
    [
        {"guidance_scale": 1.5}, {"max_time": 2.0}, {"penalty_alpha": 0.6}, {"num_beam_groups": 2},
        {"diversity_penalty": 0.5}, {"token_healing": True}, {"dola_layers": "low"}, {"constraints": [1]},
        {"force_words_ids": [[1]]},
    ],
    ids=lambda own: next(iter(own)),
)  # fmt: skip
def test_another_way_to_generate_is_refused_by_its_name(tmp_path: Path, own: dict[str, Any]):
    folder = tiny.fresh("llama", tmp_path / "model", **own)
    ((name, value),) = own.items()
    with pytest.raises(Unavailable, match=f"wants to generate with {name}: ") as refused:
        load(str(folder), "text-generation")
    assert "take it out of the generation_config.json" in refused.value.message
    assert repr(value) in refused.value.message


def test_a_field_that_a_new_version_brings_is_refused_where_a_model_uses_it(monkeypatch):
    monkeypatch.setattr(fields, "DONE", fields.DONE - {"top_h"})
    fields.refuse_unknown(GenerationConfig(), "m")
    with pytest.raises(
        Unavailable, match=r"with top_h: 0.5, which the driver huggingface doesn't know \(transformers "
    ):
        fields.refuse_unknown(GenerationConfig(top_h=0.5), "m")


def test_what_a_model_says_for_code_of_its_own_is_none_of_ours():
    own = GenerationConfig()
    own.chat_format = "chatml"
    fields.refuse_unknown(own, "m")


def _settings(engine: Any, **said: Any) -> Any:
    from deployments.engines.engine import Sampling
    from deployments.engines.settings import Space, settle

    return settle(Sampling(**said), engine._network.own, Space(3, 50))


@pytest.mark.parametrize(
    "own",
    [{"top_h": 0.4}, {"min_p": 0.3}, {"typical_p": 0.5}, {"epsilon_cutoff": 0.02}, {"eta_cutoff": 0.02}],
    ids=lambda own: next(iter(own)),
)
async def test_a_rarer_way_to_draw_leaves_the_tokens_that_generate_leaves(tmp_path: Path, own: dict[str, Any]):
    import torch
    from transformers import LogitsProcessorList

    model = load(str(tiny.fresh("llama", tmp_path / "model", do_sample=True, **own)), "text-generation")
    scores = torch.randn(600, generator=torch.Generator().manual_seed(2)) * 3
    async with serving(model) as engine:
        settings = _settings(engine, temperature=0.7, top_k=40, top_p=0.95)
        shape = engine._shaper.shape(settings, [1, 2, 3], False)
    said = GenerationConfig(do_sample=True, temperature=0.7, top_k=40, top_p=0.95, **own)
    theirs: LogitsProcessorList = model.model._get_logits_processor(said, input_ids_seq_length=3)
    right = theirs(torch.tensor([[1, 2, 3]]), scores[None].clone())[0]
    assert shape.narrows
    shape.apply(scores)
    assert torch.equal(scores, right)


async def test_a_models_own_stop_strings_end_its_answers(tmp_path: Path):
    from tests.engines.asking import loaded

    whole = generated(loaded("gpt2"), PROMPTS[1], max_new_tokens=40)
    folder = tiny.fresh("gpt2", tmp_path / "model", stop_strings=[whole[9:14]])
    async with serving(folder) as engine:
        streamed = await answer(engine, ask(PROMPTS[1], do_sample=False, max_output_length=40))
        searched = await answer(
            engine, ask(PROMPTS[1], streaming=False, do_sample=False, num_beams=2, max_output_length=40)
        )
    assert streamed == whole[: whole.index(whole[9:14])]
    assert whole[9:14] not in searched


async def test_a_models_watermark_is_put_on_its_answers(tmp_path: Path):
    mark = {
        "greenlist_ratio": 0.25,
        "bias": 8.0,
        "hashing_key": 15485863,
        "seeding_scheme": "lefthash",
        "context_width": 1,
    }
    folder = tiny.fresh("llama", tmp_path / "model", watermarking_config=mark)
    assert json.loads((folder / "generation_config.json").read_text())["watermarking_config"] == mark
    model = load(str(folder), "text-generation")
    async with serving(model) as engine:
        got = await answer(engine, ask(PROMPTS[0], do_sample=False, max_output_length=16))
    assert got == generated(model, PROMPTS[0], max_new_tokens=16)
    from tests.engines.asking import loaded

    assert got != generated(loaded("llama"), PROMPTS[0], max_new_tokens=16)
