from __future__ import annotations

import asyncio
import gc
import json
import sys
import textwrap
import threading
import tracemalloc
from contextlib import aclosing

import pytest

from deployments.engines.engine import Ask, Ended, Sampling, Usage
from deployments.engines.huggingface import text_outlet as outlets
from deployments.engines.huggingface.turns import Pace
from graphs.errors import InvalidInput, Unavailable
from tests.engines import tiny
from tests.engines.asking import PROMPTS, answer, answers, ask, decoded, generated, loaded, pieces, serving, tokens

DECODERS = ("gpt2", "llama", "mistral", "bloom", "mamba")
ENCODER_DECODERS = ("bart", "marian", "t5")


@pytest.mark.parametrize("kind", [*DECODERS, *ENCODER_DECODERS])
async def test_many_answers_at_once_are_each_what_generate_gives_alone(kind):
    model = loaded(kind)
    async with serving(model) as engine:
        got = await answers(engine, [ask(text, do_sample=False, max_output_length=24) for text in PROMPTS])
    assert got == [generated(model, text, max_new_tokens=24) for text in PROMPTS]


@pytest.mark.parametrize("kind", [*DECODERS, *ENCODER_DECODERS])
async def test_answers_that_begin_and_end_at_different_times_are_what_generate_gives_alone(kind):
    model = loaded(kind)
    lengths = [30, 8, 17, 9, 25, 6]
    async with serving(model, max_batch_size=4) as engine:
        first = engine.generate(ask(PROMPTS[0], do_sample=False, max_output_length=lengths[0]))
        begun = [piece for piece in [await anext(first)] if isinstance(piece, str)]
        asks = [ask(text, do_sample=False, max_output_length=n) for text, n in zip(PROMPTS, lengths, strict=True)]
        others = asyncio.gather(*(answer(engine, each) for each in asks[1:]))
        begun += [piece async for piece in first if isinstance(piece, str)]
        got = ["".join(begun), *await others]
    assert got == [generated(model, text, max_new_tokens=n) for text, n in zip(PROMPTS, lengths, strict=True)]


@pytest.mark.parametrize("kind", ["gpt2", "llama", "bart", "marian"])
async def test_what_streams_joins_to_the_whole(kind):
    said = {"temperature": 1.2, "seed": 5, "max_output_length": 60}
    async with serving(kind) as engine:
        for text in PROMPTS:
            texts, ended = await pieces(engine, ask(text, **said))
            whole, same = await pieces(engine, ask(text, streaming=False, num_beams=1, **said))
            assert whole == ["".join(texts)]
            assert ended == same
            assert len(texts) > 1


async def test_an_answer_is_only_what_was_generated():
    model = loaded("gpt2")
    async with serving(model) as engine:
        text, ended = await pieces(engine, ask(PROMPTS[0], do_sample=False, max_output_length=12))
    expected = tokens(model, PROMPTS[0], max_new_tokens=12)
    assert "".join(text) == decoded(model, expected)
    assert ended == Ended("length", Usage(len(model.tokenizer(PROMPTS[0])["input_ids"]), 12))


async def test_an_end_token_ends_the_answer_and_is_not_text(tmp_path):
    model = loaded("llama")
    expected = tokens(model, PROMPTS[0], max_new_tokens=12)
    end = next(token for token in expected[3:] if token not in expected[:3])
    count = expected.index(end)
    folder = tiny.fresh("llama", tmp_path / "model", eos_token_id=[end, 0])
    async with serving(folder) as engine:
        text, ended = await pieces(engine, ask(PROMPTS[0], do_sample=False, max_output_length=12))
    assert "".join(text) == decoded(model, expected[:count])
    assert ended.finish == "stop"
    assert ended.usage.completion_tokens == count + 1


async def test_no_end_comes_before_min_output_length(tmp_path):
    expected = tokens(loaded("llama"), PROMPTS[0], max_new_tokens=12)
    folder = tiny.fresh("llama", tmp_path / "model", eos_token_id=sorted(set(expected)))
    async with serving(folder) as engine:
        _, ended = await pieces(engine, ask(PROMPTS[0], do_sample=False, max_output_length=12, min_output_length=8))
        assert ended.usage.completion_tokens >= 8
        with pytest.raises(InvalidInput, match="min_output_length"):
            await answer(engine, ask(PROMPTS[0], max_output_length=4, min_output_length=8))


async def test_the_models_own_limit_holds_where_nobody_sets_one():
    async with serving("marian") as engine:
        text, ended = await pieces(engine, ask(PROMPTS[0], do_sample=False))
    assert "".join(text) == generated(loaded("marian"), PROMPTS[0])
    assert ended.usage.completion_tokens <= 47
    if ended.usage.completion_tokens == 47:
        assert ended.finish == "length"


async def test_an_answer_ends_where_the_context_does():
    model = loaded("gpt2")
    async with serving(model) as engine:
        _, ended = await pieces(engine, ask("a b c " * 30, do_sample=False))
    assert ended.finish == "length"
    assert ended.usage.prompt_tokens + ended.usage.completion_tokens == tiny.CONTEXT


@pytest.mark.parametrize("said", [{"repetition_penalty": 1.7}, {"repetition_penalty": 0.6}, {"min_output_length": 11}])
@pytest.mark.parametrize("kind", ["gpt2", "bart"])
async def test_greedy_parameters_mean_what_they_mean_to_generate(kind, said):
    model = loaded(kind)
    theirs = {"min_new_tokens" if name == "min_output_length" else name: value for name, value in said.items()}
    async with serving(model) as engine:
        got = await answers(engine, [ask(text, do_sample=False, max_output_length=12, **said) for text in PROMPTS])
    assert got == [generated(model, text, max_new_tokens=12, **theirs) for text in PROMPTS]


@pytest.mark.parametrize(
    "own",
    [
        {"no_repeat_ngram_size": 2},
        {"bad_words_ids": [[300], [301, 302], [70]]},
        {"suppress_tokens": list(range(60, 260))},
        {"begin_suppress_tokens": list(range(300))},
        {"forced_eos_token_id": 0},
        {"max_new_tokens": 5},
        {"repetition_penalty": 2.0},
        {"exponential_decay_length_penalty": [3, 1.5]},
    ],
    ids=lambda own: next(iter(own)),
)
async def test_what_a_models_configuration_says_is_done(tmp_path, own):
    from deployments.engines.huggingface.loading import load

    model = load(str(tiny.fresh("llama", tmp_path / "model", **own)), "text-generation")
    limit = {} if "max_new_tokens" in own else {"max_output_length": 16}
    theirs = {} if "max_new_tokens" in own else {"max_new_tokens": 16}
    async with serving(model) as engine:
        got = await answers(engine, [ask(text, do_sample=False, **limit) for text in PROMPTS[:3]])
    assert got == [generated(model, text, **theirs) for text in PROMPTS[:3]]


@pytest.mark.parametrize("kind", ["llama", "bart"])
async def test_a_seed_gives_the_same_text_whoever_else_is_there(kind):
    seeded = ask(PROMPTS[1], temperature=1.5, top_p=0.9, seed=42, max_output_length=30)
    async with serving(kind) as engine:
        alone = await answer(engine, seeded)
        crowd = [ask(text, temperature=1.0, top_k=top_k, max_output_length=40) for text in PROMPTS for top_k in (0, 5)]
        amid = await answers(engine, [*crowd, seeded, *crowd])
        other = await answer(engine, ask(PROMPTS[1], temperature=1.5, top_p=0.9, seed=43, max_output_length=30))
    assert amid[len(crowd)] == alone
    assert other != alone


async def test_answers_without_a_seed_differ():
    async with serving("llama") as engine:
        got = await answers(engine, [ask(PROMPTS[0], temperature=1.5, max_output_length=20)] * 4)
    assert len(set(got)) == 4


async def test_temperature_zero_is_the_likeliest_token_every_time():
    async with serving("llama") as engine:
        asks = [
            ask(PROMPTS[0], max_output_length=20, temperature=0),
            ask(PROMPTS[0], max_output_length=20, temperature=0.0, do_sample=True),
        ]
        got = await answers(engine, asks)
    assert got == [generated(loaded("llama"), PROMPTS[0], max_new_tokens=20)] * 2


async def test_a_stop_string_that_spans_tokens_ends_the_answer_before_it():
    whole = generated(loaded("gpt2"), PROMPTS[1], max_new_tokens=40)
    stop = whole[9:14]
    async with serving("gpt2") as engine:
        asked = ask(PROMPTS[1], do_sample=False, max_output_length=40, stop=("never", stop))
        text, ended = await pieces(engine, asked)
    assert "".join(text) == whole[: whole.index(stop)]
    assert (ended.finish, ended.stop_sequence) == ("stop", stop)


async def test_what_only_began_like_a_stop_string_is_not_lost():
    whole = generated(loaded("gpt2"), PROMPTS[1], max_new_tokens=20)
    async with serving("gpt2") as engine:
        got = await answer(engine, ask(PROMPTS[1], do_sample=False, max_output_length=20, stop=(whole[-3:] + "never",)))
    assert got == whole


@pytest.mark.parametrize("kind", ["llama", "bart"])
async def test_beams_find_what_they_find_in_generate(kind):
    model = loaded(kind)
    asked = ask(PROMPTS[1], streaming=False, do_sample=False, num_beams=3, max_output_length=14)
    async with serving(model) as engine:
        got = await answer(engine, asked)
    assert got == generated(model, PROMPTS[1], num_beams=3, max_new_tokens=14)


async def test_a_stream_goes_on_between_the_steps_of_a_search():
    async with serving("llama") as engine:
        asked = ask(PROMPTS[0], streaming=False, do_sample=False, num_beams=4, max_output_length=100)
        search = asyncio.ensure_future(answer(engine, asked))
        stream = asyncio.ensure_future(answer(engine, ask(PROMPTS[1], do_sample=False, max_output_length=5)))
        done, _ = await asyncio.wait({search, stream}, return_when=asyncio.FIRST_COMPLETED)
        assert done == {stream}
        await search


async def test_a_search_ends_when_its_reader_leaves():
    async with serving("llama") as engine:
        asked = ask(PROMPTS[0], streaming=False, do_sample=False, num_beams=4, max_output_length=200)
        search = asyncio.ensure_future(answer(engine, asked))
        await answer(engine, ask(PROMPTS[1], do_sample=False, max_output_length=3))
        search.cancel()
        await answer(engine, ask(PROMPTS[1], do_sample=False, max_output_length=3))
        assert all(row.over for row in engine._batcher.turns.live)


async def test_beams_and_streaming_exclude_each_other():
    async with serving("llama") as engine:
        with pytest.raises(InvalidInput, match="num_beams 1 for a stream, got 2"):
            await answer(engine, ask(PROMPTS[0], num_beams=2))


async def test_a_model_that_searches_by_itself_streams_with_one_beam(tmp_path):
    from deployments.engines.huggingface.loading import load

    model = load(str(tiny.fresh("bart", tmp_path / "model", num_beams=3)), "summarization")
    async with serving(model) as engine:
        streamed = await answer(engine, ask(PROMPTS[1], max_output_length=14))
        whole = await answer(engine, ask(PROMPTS[1], streaming=False, max_output_length=14))
    assert streamed == generated(model, PROMPTS[1], num_beams=1, max_new_tokens=14)
    assert whole == generated(model, PROMPTS[1], num_beams=3, max_new_tokens=14)


@pytest.mark.parametrize("kind", ["gpt2", "bart", "mamba"])
async def test_a_reader_who_stops_reading_holds_up_its_own_row_only(kind, monkeypatch):
    monkeypatch.setattr(outlets, "AHEAD", 8)
    model = loaded(kind)
    async with serving(model) as engine:
        slow = engine.generate(ask(PROMPTS[0], do_sample=False, max_output_length=39))
        got = [await anext(slow)]
        others = await answers(engine, [ask(text, do_sample=False, max_output_length=39) for text in PROMPTS])
        (row,) = (row for row in engine._batcher.turns.live if not row.over)
        assert len(row.tokens) < 39
        assert row.outlet.written - row.outlet.taken == 8
        got += [piece async for piece in slow if isinstance(piece, str)]
    assert others == [generated(model, text, max_new_tokens=39) for text in PROMPTS]
    assert "".join(got) == others[0]


async def test_a_long_prompt_is_read_in_pieces_while_others_go_on(monkeypatch):
    monkeypatch.setattr(Pace, "measure", lambda *_: None)
    model = loaded("llama")
    text = " ".join(PROMPTS)
    async with serving(model) as engine:
        engine._batcher.turns._pace.budget = 7
        got = await answers(engine, [ask(each, do_sample=False, max_output_length=20) for each in (*PROMPTS, text)])
    assert got == [generated(model, each, max_new_tokens=20) for each in (*PROMPTS, text)]


@pytest.mark.parametrize("kind", ["llama", "bart", "mamba"])
async def test_a_hundred_readers_who_leave_leave_nothing_behind(kind):
    before = set(threading.enumerate())
    async with serving(kind, max_batch_size=16) as engine:

        async def leave(count: int) -> None:
            async with aclosing(engine.generate(ask(PROMPTS[count % 6], max_output_length=120))) as stream:
                async for _ in stream:
                    if (count := count - 1) % 7 == 0:
                        return

        await asyncio.gather(*(leave(count) for count in range(100)))
        assert await answer(engine, ask(PROMPTS[0], do_sample=False, max_output_length=3))
        assert all(row.over for row in engine._batcher.turns.live)
        assert all(row.over for row in engine._batcher.turns.placed())
        assert len(engine._batcher.turns.placed()) <= 1
    left = {thread for thread in set(threading.enumerate()) - before if thread.name.startswith("engine")}
    assert left == set()


async def test_a_request_that_leaves_while_it_stands_in_line_is_never_begun():
    async with serving("llama", max_batch_size=1) as engine:
        first = engine.generate(ask(PROMPTS[0], do_sample=False, max_output_length=60))
        await anext(first)
        waiting = asyncio.ensure_future(answer(engine, ask(PROMPTS[1])))
        last = asyncio.ensure_future(answer(engine, ask(PROMPTS[2], do_sample=False, max_output_length=3)))
        await anext(first)
        waiting.cancel()
        await first.aclose()
        assert await last == generated(loaded("llama"), PROMPTS[2], max_new_tokens=3)
        assert waiting.cancelled()


async def test_memory_is_flat_over_a_thousand_requests():
    async with serving("llama") as engine:

        async def some(count: int) -> None:
            for _ in range(count // 20):
                await answers(engine, [ask(PROMPTS[index % 6], max_output_length=3) for index in range(20)])

        await some(200)
        gc.collect()
        tracemalloc.start()
        try:
            await some(100)
            gc.collect()
            before, _ = tracemalloc.get_traced_memory()
            await some(700)
            gc.collect()
            after, _ = tracemalloc.get_traced_memory()
        finally:
            tracemalloc.stop()
    assert after - before < 300_000


@pytest.mark.parametrize("kind", ["llama", "mamba", "bart", "marian", "t5"])
async def test_a_schema_holds_whatever_the_model_forces_or_bans(kind):
    said = Sampling(temperature=1.0, repetition_penalty=1.3, max_output_length=30)
    asked = Ask(text=PROMPTS[0], json_schema={"enum": ["yes", "no"]}, sampling=said)
    async with serving(kind) as engine:
        text, ended = await pieces(engine, asked)
    assert json.loads("".join(text)) in ("yes", "no")
    assert ended.finish == "stop"


async def test_a_process_that_forgets_to_close_ends_all_the_same():
    forgetful = """
        import asyncio
        from deployments.engines.huggingface.engine import HuggingFace
        from tests.engines.asking import answer, ask, loaded

        asyncio.run(answer(HuggingFace(loaded("llama")), ask("Hello", max_output_length=3)))
        print("answered")
    """
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", textwrap.dedent(forgetful), stdout=asyncio.subprocess.PIPE
    )
    printed, _ = await process.communicate()
    assert process.returncode == 0
    assert b"answered" in printed


async def test_an_engine_that_is_closed_fails_its_readers_and_takes_no_more():
    async with serving("llama") as engine:
        stream = engine.generate(ask(PROMPTS[0], max_output_length=200))
        await anext(stream)
        await engine.aclose()
        with pytest.raises(Unavailable, match="shut down"):
            [piece async for piece in stream]
        with pytest.raises(Unavailable, match="shut down"):
            await answer(engine, ask(PROMPTS[0]))


async def test_an_engine_that_never_answered_closes():
    async with serving("bart") as engine:
        await engine.healthy()


def test_a_response_template_that_comes_with_the_model_is_found_with_its_special_tokens(tmp_path):
    folder = tiny.fresh("llama-chat", tmp_path)
    file = folder / "tokenizer_config.json"
    spec = {"start_anchor": "A:", "fields": {"content": {}}}
    file.write_text(json.dumps({**json.loads(file.read_text()), "response_template": spec}))
    from deployments.engines.huggingface.engine import HuggingFace
    from deployments.engines.huggingface.loading import load

    engine = HuggingFace(load(str(folder), "chat-completion"))
    assert engine.response_template.spec == spec
    assert "<|im_start|>" in engine.response_template.tags
