"""Whoever makes the loop fail, fails alone."""

from __future__ import annotations

import asyncio
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from deployments.engines import devices
from deployments.engines.engine import Ask, Sampling
from graphs.errors import AnabranchError, ComponentFailed, Unavailable
from tests.engines.asking import PROMPTS, answer, answers, ask, generated, loaded, serving

LENGTH = 12


@contextmanager
def failing(model: Any, error: BaseException, when: Any):
    """Have the model raise where a forward pass is given such tokens."""

    def look(module: Any, args: Any, kwargs: dict[str, Any]) -> None:
        tokens = kwargs.get("input_ids", kwargs.get("decoder_input_ids"))
        if when(tokens):
            raise error

    hook = model.register_forward_pre_hook(look, with_kwargs=True)
    try:
        yield
    finally:
        hook.remove()


def greedy(text: str) -> Ask:
    return ask(text, do_sample=False, max_output_length=LENGTH)


async def outcomes(engine: Any, asks: list[Ask]) -> list[Any]:
    return list(await asyncio.gather(*(answer(engine, each) for each in asks), return_exceptions=True))


def expected(kind: str) -> list[str]:
    return [generated(loaded(kind), text, max_new_tokens=LENGTH) for text in PROMPTS]


@pytest.mark.parametrize("kind", ["llama", "bart"])
async def test_a_prompt_the_model_fails_for_fails_alone(kind):
    model = loaded(kind)
    poison = model.tokenizer(PROMPTS[2])["input_ids"][2]

    def poisoned(tokens: torch.Tensor) -> bool:
        return bool((tokens == poison).any()) and tokens.shape[1] > 1

    part = model.model if kind == "llama" else model.model.get_encoder()
    right = expected(kind)
    async with serving(model) as engine:
        with failing(part, RuntimeError("no such thing"), poisoned):
            got = await outcomes(engine, [greedy(text) for text in PROMPTS])
    assert isinstance(got[2], ComponentFailed)
    assert "RuntimeError: no such thing" in got[2].message
    assert got[:2] + got[3:] == right[:2] + right[3:]


@pytest.mark.parametrize("kind", ["llama", "bart"])
async def test_a_step_the_model_fails_for_fails_one_row_and_repeats_for_the_others(kind):
    from tests.engines.asking import tokens

    model = loaded(kind)
    runs = [tokens(model, text, max_new_tokens=LENGTH) for text in PROMPTS]
    others = {token for run in runs[1:] for token in run}
    poison = next(token for token in runs[0][2:] if token not in others)
    right = expected(kind)
    async with serving(model) as engine:
        with failing(model.model, RuntimeError("no such thing"), lambda given: bool((given[:, -1] == poison).any())):
            got = await outcomes(engine, [greedy(text) for text in PROMPTS])
    assert isinstance(got[0], ComponentFailed)
    assert got[1:] == right[1:]


async def test_without_memory_the_newest_go_and_the_others_go_on():
    model = loaded("llama")
    right = expected("llama")

    def many(tokens: torch.Tensor) -> bool:
        return len(tokens) > 3

    async with serving(model) as engine:
        with failing(model.model, torch.OutOfMemoryError("tried to allocate"), many):
            got = await outcomes(engine, [greedy(text) for text in PROMPTS])
    assert [each for each in got if isinstance(each, str)] == [
        text for each, text in zip(got, right, strict=True) if isinstance(each, str)
    ]
    failed = [each for each in got if not isinstance(each, str)]
    assert 0 < len(failed) <= 3
    assert all(isinstance(each, Unavailable) and "no memory left" in each.message for each in failed)


async def test_scores_that_are_no_numbers_fail_their_row_alone():
    model = loaded("llama")
    right = expected("llama")
    poison = model.tokenizer(PROMPTS[2])["input_ids"][-1]

    def spoil(module: Any, args: Any, kwargs: dict[str, Any], output: Any) -> None:
        output.logits[kwargs["input_ids"][:, -1] == poison] = torch.nan

    hook = model.model.register_forward_hook(spoil, with_kwargs=True)
    try:
        async with serving(model) as engine:
            got = await outcomes(engine, [greedy(text) for text in PROMPTS[:3]])
            drawn = ask(PROMPTS[2], temperature=1.0, top_k=top_k) if (top_k := 3) else None
            with pytest.raises(ComponentFailed, match="precision: float32"):
                await answer(engine, drawn)
    finally:
        hook.remove()
    assert got[:2] == right[:2]
    assert isinstance(got[2], ComponentFailed)


async def test_an_engine_whose_thread_died_says_so():
    model = loaded("llama")
    async with serving(model) as engine:
        with failing(model.model, SystemExit("gone"), lambda tokens: tokens.shape[1] == 1):
            got = await outcomes(engine, [greedy(text) for text in PROMPTS])
        assert all(isinstance(each, Unavailable) and "has stopped: SystemExit: gone" in each.message for each in got)
        with pytest.raises(Unavailable, match="gone"):
            await engine.healthy()
        with pytest.raises(Unavailable, match="gone"):
            await answer(engine, greedy(PROMPTS[0]))


class OneToken:
    """A constraint that allows one token, so many times."""

    def __init__(self, token: int, times: int) -> None:
        self.token = token
        self.left = times

    def mask(self, logits: torch.Tensor) -> None:
        kept = logits[self.token].clone()
        logits.fill_(-torch.inf)
        logits[self.token] = kept

    def accept(self, token: int) -> bool:
        assert token == self.token
        self.left -= 1
        if self.left < 0:
            raise AssertionError("went on after the end")
        return self.left == 0


async def test_a_constraint_says_what_may_come_and_when_it_is_complete(monkeypatch):
    model = loaded("llama")
    token = model.tokenizer("story")["input_ids"][0]
    async with serving(model) as engine:

        async def compile(schema: Any) -> OneToken:
            return OneToken(token, 3)

        monkeypatch.setattr(engine._grammars, "compile", compile)
        bound = Ask(text=PROMPTS[0], json_schema={}, sampling=Sampling(temperature=1.0, max_output_length=LENGTH))
        got = await answers(engine, [greedy(PROMPTS[1]), bound])
    assert got == [expected("llama")[1], model.tokenizer.decode([token] * 3)]


async def test_a_constraint_that_breaks_fails_its_row_alone(monkeypatch):
    class Broken(OneToken):
        def mask(self, logits: torch.Tensor) -> None:
            raise ValueError("no grammar")

    async with serving("llama") as engine:

        async def compile(schema: Any) -> OneToken:
            return Broken(0, 3)

        monkeypatch.setattr(engine._grammars, "compile", compile)
        got = await outcomes(engine, [greedy(PROMPTS[1]), Ask(text=PROMPTS[0], json_schema={})])
    assert got[0] == expected("llama")[1]
    assert isinstance(got[1], AnabranchError)
    assert "no grammar" in got[1].message


async def test_more_requests_than_places_are_all_answered():
    async with serving("llama", max_batch_size=2) as engine:
        got = await answers(engine, [greedy(text) for text in PROMPTS * 3])
    assert got == expected("llama") * 3


async def test_more_tokens_than_there_is_memory_for_stand_in_line():
    async with serving("llama", max_cache_tokens=40) as engine:
        got = await answers(engine, [greedy(text) for text in PROMPTS])
    assert got == expected("llama")


async def test_a_container_has_no_more_memory_than_it_may_take(monkeypatch: pytest.MonkeyPatch, tmp_path: Path):
    limit, unlimited = tmp_path / "memory.max", tmp_path / "none"
    unlimited.write_text("max\n")
    monkeypatch.setattr(devices, "CONTAINER", (str(unlimited), str(tmp_path / "missing")))
    whole = devices.affordable(loaded("llama").token_bytes, torch.device("cpu"))
    limit.write_text("8388608\n")
    monkeypatch.setattr(devices, "CONTAINER", (str(limit), str(unlimited)))
    part = devices.affordable(loaded("llama").token_bytes, torch.device("cpu"))
    assert part is not None
    assert whole is not None
    assert 1 < part < whole


async def test_a_model_without_an_end_can_be_asked_for_a_length(monkeypatch: pytest.MonkeyPatch):
    async with serving("llama") as engine:
        monkeypatch.setattr(engine, "_ends", frozenset())
        got = await answer(engine, ask(PROMPTS[1], do_sample=False, min_output_length=4, max_output_length=LENGTH))
    assert got == generated(loaded("llama"), PROMPTS[1], min_new_tokens=4, max_new_tokens=LENGTH, eos_token_id=None)
