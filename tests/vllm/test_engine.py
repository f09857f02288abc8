"""Generation with vLLM: what comes, how it ends, and what leaving frees."""

import asyncio
import json
import re
from dataclasses import replace

import jsonschema
import pytest

from deployments.engines.engine import Ask, Ended, LogProbs, Sampling, Usage
from graphs.errors import InvalidInput
from tests.vllm import models
from tests.vllm.asks import SAID, answer, ask, text

pytestmark = pytest.mark.asyncio(loop_scope="module")


def running(engine) -> int:
    return engine._llm.output_processor.get_num_unfinished_requests()


async def test_pieces_join_to_the_whole_answer(engine):
    pieces, _ = await answer(engine, ask())
    assert len(pieces) > 1
    assert "".join(pieces) == await text(engine, ask(streaming=False))


async def test_the_likeliest_tokens_are_those_that_transformers_finds(engine):
    assert await text(engine, ask()) == models.likeliest("llama-chat", SAID, 24)


async def test_the_end_tells_why_and_how_much(engine):
    _, ended = await answer(engine, ask(max_output_length=5))
    assert ended == Ended("length", Usage(ended.usage.prompt_tokens, 5))
    assert ended.usage.prompt_tokens > 5


async def test_an_answer_stops_before_a_stop_string_that_spans_tokens(engine):
    whole = await text(engine, ask())
    stop = whole[7:12]
    pieces, ended = await answer(engine, ask(stop=(stop,)))
    assert "".join(pieces) == whole[: whole.index(stop)]
    assert (ended.finish, ended.stop_sequence) == ("stop", stop)


async def test_a_seed_gives_the_same_answer_whoever_else_asks(engine):
    seeded = ask(temperature=1.0, seed=11)
    alone = await text(engine, seeded)
    crowd = await asyncio.gather(*(text(engine, ask(temperature=1.0, seed=seed)) for seed in (11, 12, 11, 13)))
    assert crowd[0] == crowd[2] == alone
    assert len(set(crowd)) == 3


async def test_answers_that_run_together_are_what_each_is_alone(engine):
    asks = [ask(), replace(ask(), messages=[{"role": "user", "content": "Write a short story"}])]
    alone = [await text(engine, each) for each in asks]
    assert await asyncio.gather(*(text(engine, each) for each in asks)) == alone


async def test_korean_and_emoji_arrive_in_whole_characters(engine):
    said = "안녕하세요, 강을 떠났다가 다시 만나요 👩‍👩‍👧"
    pieces, ended = await answer(engine, ask(schema={"enum": [said]}, max_output_length=200))
    assert json.loads("".join(pieces)) == said
    assert len(pieces) > 5
    assert "\ufffd" not in "".join(pieces)
    assert ended.finish == "stop"


async def test_a_schema_is_kept_to(engine):
    schema = {
        "type": "object",
        "properties": {
            "mood": {"enum": ["좋음", "나쁨"]},
            "sizes": {"type": "array", "items": {"type": "boolean"}, "minItems": 1, "maxItems": 3},
        },
        "required": ["mood", "sizes"],
        "additionalProperties": False,
    }
    for seed in range(4):
        whole = await text(engine, ask(schema=schema, temperature=1.0, seed=seed, max_output_length=100))
        jsonschema.validate(json.loads(whole), schema)


async def test_blanks_in_json_are_few_and_stand_behind_commas_and_colons(engine):
    schema = {
        "type": "object",
        "properties": {"a": {"type": "boolean"}, "b": {"type": "array", "items": {"type": "null"}, "minItems": 2, "maxItems": 3}},
        "required": ["a", "b"],
        "additionalProperties": False,
    }  # fmt: skip
    blank = r"(?: |\r?\n[ \t]{0,64})?"
    written = rf'\{{"a":{blank}(?:true|false),{blank}"b":{blank}\[null(?:,{blank}null){{1,2}}\]\}}'
    blanks = set()
    for seed in range(12):
        asked = ask(schema=schema, temperature=2.0, top_k=0, seed=seed, max_output_length=150)
        pieces, ended = await answer(engine, asked)
        whole = "".join(pieces)
        if ended.finish == "stop":
            assert re.fullmatch(written, whole), whole
            blanks |= set(re.findall(r"\s+", whole))
    assert blanks, "some are allowed, and nothing keeps the model from writing them"


async def test_of_special_tokens_only_tags_are_text(engine):
    asked = ask(temperature=2.0, top_k=0, max_output_length=100)
    specials = ("<|im_start|>", "<|endoftext|>")

    async def seen(*tags: str) -> set[str]:
        asks = [replace(asked, tags=tags, sampling=replace(asked.sampling, seed=seed)) for seed in range(16)]
        texts = await asyncio.gather(*(text(engine, each) for each in asks))
        return {special for special in specials if any(special in each for each in texts)}

    assert await seen() == set()
    assert await seen("<|im_start|>", "<tool_call>") == {"<|im_start|>"}


async def test_leaving_frees_the_place_at_once(engine):
    left = engine.generate(ask(max_output_length=200, min_output_length=200))
    await anext(left)
    assert running(engine) == 1
    await left.aclose()
    assert running(engine) == 0


async def test_a_hundred_that_leave_take_nothing_with_them(engine):
    async def leave() -> None:
        left = engine.generate(ask(max_output_length=200, min_output_length=200))
        await anext(left)
        await left.aclose()

    await asyncio.gather(*(leave() for _ in range(100)))
    assert running(engine) == 0
    # Their places are free in vLLM's own process too: there are sixteen, and an answer gets one.
    assert await text(engine, ask())


async def test_no_end_before_the_least_length(engine):
    _, ended = await answer(engine, ask(min_output_length=24, temperature=2.0, seed=5))
    assert ended.usage.completion_tokens == 24


async def test_tools_stand_in_the_prompt(engine):
    tool = {"type": "function", "function": {"name": "weather", "parameters": {"type": "object", "properties": {}}}}
    _, plain = await answer(engine, ask(max_output_length=1))
    _, armed = await answer(engine, replace(ask(max_output_length=1), tools=[tool]))
    assert armed.usage.prompt_tokens > plain.usage.prompt_tokens


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        (ask(num_beams=4), r"expected num_beams 1, because vLLM has no beam search, got 4; leave it out"),
        (ask(temperature=5.0), r"temperature must be in \[0, 2\], got 5.0"),
        (ask(schema={"type": "nonsense"}), r"nonsense"),
        (Ask(messages=[{"role": "user", "content": "river " * 400}]), r"256"),
        (ask(min_output_length=30), r"expected min_output_length to be at most 24, the limit of new tokens"),
    ],
    ids=["beams", "temperature", "schema", "overlong", "lengths"],
)  # fmt: skip
async def test_what_cannot_be_is_refused_and_others_go_on(engine, asked, message):
    other = asyncio.create_task(text(engine, ask()))
    with pytest.raises(InvalidInput, match=message):
        await answer(engine, asked)
    assert await other
    assert running(engine) == 0


async def test_a_model_that_samples_by_its_own_configuration_does_so(engine):
    asked = Ask(messages=SAID, sampling=Sampling(max_output_length=24, do_sample=True, seed=3))
    assert await text(engine, asked) == await text(engine, ask(do_sample=True, temperature=1.0, seed=3))
    assert await text(engine, asked) != await text(engine, ask())


async def test_an_engine_that_runs_is_healthy(engine):
    await engine.healthy()


async def test_counted_are_the_tokens_of_the_prompt_however_many(engine):
    _, ended = await answer(engine, ask(max_output_length=1))
    assert await engine.count(ask()) == ended.usage.prompt_tokens
    assert await engine.count(Ask(text="river " * 5000)) > 5000


async def test_a_prompt_that_does_not_fit_is_known_by_its_code(engine):
    with pytest.raises(InvalidInput) as refusal:
        await text(engine, Ask(text="river " * 5000))
    assert refusal.value.details["code"] == "context_length_exceeded"


async def test_log_probabilities_are_as_openai_writes_them(engine):
    for streaming in (True, False):
        entries, text = [], ""
        async for piece in engine.generate(replace(ask(streaming), logprobs=2)):
            if isinstance(piece, LogProbs):
                entries += piece.entries
            elif isinstance(piece, Ended):
                assert len(entries) == piece.usage.completion_tokens
            else:
                text += piece
        said = bytes(byte for entry in entries for byte in entry["bytes"]).decode(errors="ignore")
        # Bytes that are no character are shown in the text as \ufffd, and left out here.
        assert text.replace("\ufffd", "") == re.sub(r"<\|.*?\|>", "", said)
        for entry in entries:
            first = entry["top_logprobs"][0]
            assert (first["token"], first["logprob"]) == (entry["token"], entry["logprob"])
            assert len(entry["top_logprobs"]) == 2
