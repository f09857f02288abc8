"""vLLM's own parsers tell reasoning, content and calls of tools apart."""

from __future__ import annotations

from dataclasses import replace
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engines.engine import Ended
from deployments.engines.tool_calls.pieces import CallDelta, Thought, join_calls
from deployments.engines.vllm.parsing import Parsers, names_of
from graphs.errors import InvalidInput
from tests.engines import tiny
from tests.vllm.asks import ask, text
from tests.vllm.conftest import started

pytestmark = pytest.mark.asyncio(loop_scope="module")

RAIN = {
    "type": "function",
    "function": {"name": "rain", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
CONFIG: Any = SimpleNamespace(hf_config=SimpleNamespace(model_type="llama"), tokenizer=None)


def tokenizer(*specials: str) -> Any:
    return tiny.byte_level(eos="<|im_end|>", specials=("<|im_start|>", *specials))


THINKS = tokenizer("<think>", "</think>", "<tool_call>", "</tool_call>")


def found(template: str, of: Any = THINKS, **asked: str) -> Parsers | None:
    return Parsers.find("some/model", of, CONFIG, names_of(template, asked), asked)


def read(parsers: Parsers, answer: str, prompt: str, size: int) -> tuple[str, str, list[tuple[str, str]]]:
    """Return the reasoning, the content and the calls of an answer whose tokens come so many at a time."""
    reader = parsers.reader([RAIN])
    ids, before = (THINKS(each, add_special_tokens=False)["input_ids"] for each in (answer, prompt))
    said: list[Any] = []
    shown = ""
    for end in range(size, len(ids) + size, size):
        whole = THINKS.decode(ids[:end], skip_special_tokens=not reader.shows_special_tokens)
        said += reader.feed(whole[len(shown) :], ids[end - size : end], before, finished=end >= len(ids))
        shown = whole
    calls = join_calls(piece for piece in said if isinstance(piece, CallDelta))
    return (
        "".join(piece.text for piece in said if isinstance(piece, Thought)).strip(),
        "".join(piece for piece in said if isinstance(piece, str)).strip(),
        [(call["function"]["name"], call["function"]["arguments"]) for call in calls],
    )


@pytest.mark.parametrize("size", [1, 3])
@pytest.mark.parametrize(
    ("template", "prompt", "answer"),
    [
        (
            "<tool_call> <think>",
            "<|im_start|>assistant\n",
            '<think>\nHm.\n</think>\n\nLook.\n<tool_call>\n{"name": "rain", "arguments": {"city": "Seoul"}}\n</tool_call>',
        ),
        (
            "<tool_call> <function= <think>",
            "<|im_start|>assistant\n<think>\n",
            "Hm.\n</think>\n\nLook.\n<tool_call>\n<function=rain>\n<parameter=city>\nSeoul\n</parameter>\n</function>\n</tool_call>",
        ),
        (
            "<tool_call> <arg_key> <think>",
            "<|im_start|>assistant\n",
            "<think>Hm.</think>Look.<tool_call>rain<arg_key>city</arg_key><arg_value>Seoul</arg_value></tool_call>",
        ),
    ],
)
async def test_an_answer_is_told_apart_by_the_parsers_of_its_family(template, prompt, answer, size):
    parsers = found(template)
    assert parsers is not None
    assert read(parsers, answer, prompt, size) == ("Hm.", "Look.", [("rain", '{"city": "Seoul"}')])


async def test_a_parser_knows_what_the_template_was_told():
    parsers = found("<tool_call> <think>")
    assert parsers is not None
    ids, prompt = (THINKS(each, add_special_tokens=False)["input_ids"] for each in ("Look.", "<|im_start|>assistant\n"))
    thinks, answers = ({"enable_thinking": each} for each in (True, False))
    assert parsers.reader([], thinks).feed("Look.", ids, prompt, finished=False) == [Thought("Look.")]
    assert parsers.reader([], answers).feed("Look.", ids, prompt, finished=False) == ["Look."]


async def test_a_parser_that_does_not_fit_is_refused_where_it_was_named_and_left_out_where_it_was_found():
    plain = tokenizer()
    assert found('"parameters": {}', plain) is None
    with pytest.raises(InvalidInput, match="model 'some/model': vLLM's parsers can't read its answers"):
        found("", plain, reasoning_parser="deepseek_r1")
    assert found("", plain) is None


async def test_an_unknown_parser_is_refused_with_the_nearest():
    with pytest.raises(InvalidInput, match="vLLM has no tool_call_parser 'hermse'; did you mean 'hermes'"):
        found("", tool_call_parser="hermse")
    with pytest.raises(InvalidInput, match="vLLM has no reasoning_parser 'qwen'; did you mean 'qwen3'"):
        found("", reasoning_parser="qwen")


async def test_tools_need_no_type_and_those_that_vllm_refuses_are_named():
    parsers = found("<tool_call> <think>")
    assert parsers is not None
    parsers.reader([{"function": RAIN["function"]}])
    with pytest.raises(InvalidInput, match=r"tools: vLLM refuses them: tools\.0\.function"):
        parsers.reader([{"function": {"name": "rain", "description": 3}}])


async def test_an_engine_reads_its_answers_where_it_is_asked_to():
    engine = await started("llama-chat", "chat-completion", tool_call_parser="hermes")
    try:
        assert engine.parses
        asked = replace(ask(), parse=True)
        pieces = [piece async for piece in engine.generate(asked)]
        ended = pieces.pop()
        assert isinstance(ended, Ended)
        assert len(pieces) > 1
        assert "".join(pieces) == await text(engine, ask())
        whole = [piece async for piece in engine.generate(replace(asked, streaming=False))]
        assert "".join(whole[:-1]) == "".join(pieces)
    finally:
        await engine.aclose()
