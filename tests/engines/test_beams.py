"""Searches that wait are taken together; each finds what it would have found alone."""

from __future__ import annotations

import asyncio

import pytest

from tests.engines.asking import PROMPTS, answer, answers, ask, generated, loaded, serving

BEAMS = {"streaming": False, "do_sample": False, "num_beams": 3, "max_output_length": 14}


@pytest.mark.parametrize("kind", ["llama", "gpt2", "bart"])
async def test_several_at_once_find_what_each_finds_alone(kind):
    model = loaded(kind)
    async with serving(model) as engine:
        got = await answers(engine, [ask(text, **BEAMS) for text in PROMPTS])
    assert got == [generated(model, text, num_beams=3, max_new_tokens=14) for text in PROMPTS]


@pytest.mark.parametrize("kind", ["mamba"])
async def test_where_rows_cannot_be_padded_each_is_searched_alone(kind):
    model = loaded(kind)
    async with serving(model) as engine:
        got = await answers(engine, [ask(text, **BEAMS) for text in PROMPTS[:2]])
    assert got == [generated(model, text, num_beams=3, max_new_tokens=14) for text in PROMPTS[:2]]


async def test_those_that_wait_are_one_search(monkeypatch: pytest.MonkeyPatch):
    from deployments.engines.huggingface import beams

    sizes: list[int] = []
    search = beams.search

    def counted(network, rows, between):
        sizes.append(len(rows))
        return search(network, rows, between)

    monkeypatch.setattr(beams, "search", counted)
    async with serving("bart", max_batch_size=12) as engine:
        first = asyncio.ensure_future(answer(engine, ask(PROMPTS[0], **{**BEAMS, "max_output_length": 100})))
        await answer(engine, ask(PROMPTS[1], max_output_length=2))  # by now the first is under way
        await asyncio.gather(first, *(answer(engine, ask(text, **BEAMS)) for text in PROMPTS))
    # 12 rows have place for four of three beams each.
    assert sizes == [1, 4, 2]


async def test_other_settings_are_another_search():
    model = loaded("bart")
    async with serving(model) as engine:
        asked = [ask(PROMPTS[0], **BEAMS), ask(PROMPTS[1], **{**BEAMS, "num_beams": 2, "max_output_length": 9})]
        got = await answers(engine, asked)
    assert got == [
        generated(model, PROMPTS[0], num_beams=3, max_new_tokens=14),
        generated(model, PROMPTS[1], num_beams=2, max_new_tokens=9),
    ]


async def test_one_that_leaves_does_not_end_the_others():
    model = loaded("bart")
    async with serving(model) as engine:
        long = {**BEAMS, "max_output_length": 40}
        left = asyncio.ensure_future(answer(engine, ask(PROMPTS[0], **long)))
        stays = asyncio.ensure_future(answer(engine, ask(PROMPTS[1], **long)))
        await answer(engine, ask(PROMPTS[2], max_output_length=2))
        left.cancel()
        assert await stays == generated(model, PROMPTS[1], num_beams=3, max_new_tokens=40)


async def test_a_shortest_length_is_kept():
    model = loaded("bart")
    asked = ask(PROMPTS[0], **BEAMS, min_output_length=14)
    async with serving(model) as engine:
        got = await answer(engine, asked)
    assert got == generated(model, PROMPTS[0], num_beams=3, max_length=15, min_length=15)


async def test_if_beams_stood_in_another_order_each_would_be_searched_alone_and_the_log_would_say_so(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    from deployments.engines.huggingface import beams

    called = beams._Between.__call__
    monkeypatch.setattr(beams._Between, "__call__", lambda self, ids, scores: called(self, ids.flip(0), scores))
    async with serving("llama") as engine:
        got = await answers(engine, [ask(text, **BEAMS) for text in PROMPTS])
    assert got == [generated(loaded("llama"), text, num_beams=3, max_new_tokens=14) for text in PROMPTS]
    assert "each is searched for alone: ComponentFailed: generate of transformers" in caplog.text
    assert "keeps beams in another order" in caplog.text
