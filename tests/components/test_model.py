"""The model component over real, tiny models: what it streams, answers and refuses."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.components.model import Model
from deployments.components.model.answers import make_talk
from deployments.engines.engine import Ask, Ended, Usage
from deployments.engines.prompts import prepare
from graphs.component import Note, Stream
from graphs.errors import InvalidInput, Unavailable
from tests.components.model_calls import GREEDY, HELLO, call, streamed, whole
from tests.engines import tiny
from tests.fakes.calls import everything, failure

RAIN = {
    "type": "function",
    "function": {
        "name": "rain",
        "parameters": {"type": "object", "properties": {"city": {"enum": ["Seoul"]}}, "required": ["city"]},
    },
}


def usage(prompt: int, completion: int) -> dict[str, int]:
    return {"prompt_tokens": prompt, "completion_tokens": completion, "total_tokens": prompt + completion}


# generation


@pytest.mark.parametrize(
    ("kind", "task"), [("gpt2", "text-generation"), ("bart", "summarization"), ("marian", "translation")]
)
async def test_joined_chunks_are_the_text_that_does_not_stream(make: Any, kind: str, task: str):
    component = await make(kind, task=task)
    chunks, notes = await streamed(component, text="A river left its bed.")
    answer = await whole(component, text="A river left its bed.")
    assert "".join(chunks) == answer.value != ""
    assert [note.data for note in notes] == [answer.notes]
    assert answer.notes["usage"]["completion_tokens"] <= 12
    assert answer.notes["finish_reason"] in ("stop", "length")


async def test_usage_and_the_end_follow_the_chunks(make: Any):
    component = await make("gpt2")
    chunks = await everything(call(component, text="A river", streaming=True))
    prompt = 0
    assert isinstance(chunks[-1], Note)
    assert not any(isinstance(chunk, Note) for chunk in chunks[:-1])
    prompt = chunks[-1].data["usage"]["prompt_tokens"]
    assert chunks[-1].data == {"usage": usage(prompt, 12), "finish_reason": "length"}


async def test_several_texts_are_answered_in_their_order(make: Any):
    component = await make("gpt2")
    texts = ["A river", "Once upon a time there was", "안녕"]
    alone = [await whole(component, text=text) for text in texts]
    for size in (1, 2, 8):
        together = await whole(component, text=texts, batch_size=size)
        assert together.value == [each.value for each in alone]
    counted = [each.notes["usage"]["total_tokens"] for each in alone]
    assert together.notes["usage"]["total_tokens"] == sum(counted)
    assert together.notes["finish_reason"] == ["length"] * 3


async def test_one_text_that_is_refused_fails_the_list(make: Any):
    component = await make("gpt2")
    error = await failure(call(component, text=["A river", ""], batch_size=2))
    assert "the text is empty" in error.message
    assert (await whole(component, text="A river")).value


async def test_a_text_may_come_as_a_stream(make: Any):
    async def batches() -> AsyncIterator[list[Any]]:
        yield ["A ", "riv"]
        yield ["er"]

    component = await make("gpt2")
    assert (await whole(component, text=Stream(batches()))).value == (await whole(component, text="A river")).value


async def test_both_places_of_stop_strings_hold(make: Any):
    component = await make("gpt2")
    text = (await whole(component, text="A river")).value
    first, second = text[4:6], text[1:3]
    stopped = await whole(component, text="A river", stop=first, params={**GREEDY, "stop": [second]})
    assert stopped.value == text[: min(text.index(first), text.index(second))]
    assert stopped.notes["finish_reason"] == "stop"


async def test_who_leaves_stops_the_generation(make: Any):
    component = await make("gpt2")
    answer = call(component, text="A river", streaming=True, params={"max_output_length": 200, "do_sample": False})
    async with aclosing(answer) as chunks:
        async for _ in chunks:
            break
    assert (await whole(component, text="A river")).value


async def test_requests_are_answered_side_by_side(make: Any):
    component = await make("gpt2")
    alone = (await whole(component, text="A river")).value
    answers = await asyncio.gather(*(whole(component, text="A river") for _ in range(8)))
    assert [answer.value for answer in answers] == [alone] * 8


# conversations


async def test_a_conversation_goes_through_the_models_template(make: Any):
    component = await make("llama-chat", task="chat-completion")
    by_list = await whole(component, messages=HELLO)
    assert by_list.value == (await whole(component, messages="Hello")).value
    raw = await make("llama-chat")
    rendered = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
    assert (await whole(raw, text=rendered)).value == by_list.value


async def test_an_answer_can_be_a_message(make: Any):
    component = await make("llama-chat", task="chat-completion")
    text = await whole(component, messages=HELLO)
    message = await whole(component, messages=HELLO, answer="message")
    assert message.value == {"role": "assistant", "content": text.value, **text.notes}
    chunks, notes = await streamed(component, messages=HELLO, answer="message")
    assert all(list(chunk) == ["content"] for chunk in chunks)
    assert "".join(chunk["content"] for chunk in chunks) == text.value
    assert [note.data for note in notes] == [text.notes]


async def test_an_answer_can_be_made_to_fit_a_schema(make: Any):
    component = await make("llama-chat", task="chat-completion")
    schema = {"type": "object", "properties": {"rain": {"enum": ["yes", "no"]}}, "required": ["rain"]}
    schema |= {"additionalProperties": False}
    format = {"type": "json_schema", "json_schema": {"name": "weather", "schema": schema}}
    answer = await whole(component, messages=HELLO, response_format=format, params={"do_sample": False})
    assert answer.notes["finish_reason"] == "stop"
    assert json.loads(answer.value)["rain"] in ("yes", "no")


@pytest.mark.parametrize("answer", ["text", "message"])
async def test_calls_of_tools_are_told_apart_from_content(make: Any, answer: str):
    component = await make("llama-chat", task="chat-completion")
    asked = {"messages": HELLO, "tools": [RAIN], "tool_choice": {"function": {"name": "rain"}}, "answer": answer}
    params = {"do_sample": False}
    message = await whole(component, **asked, params=params)
    told = message.notes if answer == "text" else message.value
    (called,) = told["tool_calls"]
    assert called["function"]["name"] == "rain"
    assert json.loads(called["function"]["arguments"]) == {"city": "Seoul"}
    assert told["finish_reason"] == "tool_calls"
    chunks, notes = await streamed(component, **asked, params=params)
    deltas = chunks if answer == "message" else [note.data for note in notes[:-1]]
    pieces = [each for delta in deltas for each in delta["tool_calls"] if each["index"] == 0]
    assert pieces[0]["function"] == {"name": "rain", "arguments": ""}
    assert json.loads("".join(each["function"]["arguments"] for each in pieces)) == {"city": "Seoul"}
    assert notes[-1].data["finish_reason"] == "tool_calls"


TOOL = {"type": "function", "function": {"name": "f"}}


async def test_the_chat_template_tells_how_the_model_writes_calls(make: Any, tmp_path: Path):
    folder = tiny.fresh("llama-chat", tmp_path)
    template = (
        "{% if tools %}[AVAILABLE_TOOLS]{{ tools | tojson }}, answer [TOOL_CALLS]{% endif %}{{ messages[0].content }}"
    )
    (folder / "chat_template.jinja").write_text(template)
    component = await make(None, model=str(folder), task="chat-completion")
    (place,) = component._pool._slots.values()
    said = saying(place.loading.result(), '[TOOL_CALLS]rain[ARGS]{"city": "Seoul"}')
    message = (await whole(component, messages=HELLO, tools=[RAIN], answer="message")).value
    (called,) = message["tool_calls"]
    assert message["content"] is None
    assert called["function"] == {"name": "rain", "arguments": '{"city": "Seoul"}'}
    assert len(called["id"]) == 9
    assert said[0].tags == ("[TOOL_CALLS]", "[ARGS]", "[CALL_ID]")


def saying(engine: Any, text: str) -> list[Ask]:
    """Put words into an engine's mouth; return the list that gets what it is asked."""
    asked: list[Ask] = []

    async def generate(ask: Ask) -> AsyncIterator[str | Ended]:
        asked.append(ask)
        yield text
        yield Ended("stop", Usage())

    engine.generate = generate
    return asked


async def test_reasoning_comes_beside_the_content_of_a_message_and_a_text_leaves_it_out(make: Any, tmp_path: Path):
    folder = tiny.fresh("llama-chat", tmp_path)
    (folder / "chat_template.jinja").write_text(
        "{{ messages[0].content }}{% if add_generation_prompt %}<think>\n{% endif %}"
    )
    component = await make(None, model=str(folder), task="chat-completion")
    (place,) = component._pool._slots.values()
    engine = place.loading.result()

    async def generate(ask: Ask) -> AsyncIterator[str | Ended]:
        await prepare(ask, engine._loaded.tokenizer, engine._loaded.config, "chat-completion", None, 1)
        for piece in ("Hm", ".\n</thi", "nk>\n\nYe", "s."):
            yield piece
        yield Ended("stop", Usage())

    engine.generate = generate
    message = (await whole(component, messages=HELLO, answer="message")).value
    assert (message["reasoning_content"], message["content"]) == ("Hm.", "Yes.")
    deltas, _ = await streamed(component, messages=HELLO, answer="message")
    assert deltas == [{"reasoning_content": "Hm"}, {"reasoning_content": "."}, {"content": "Ye"}, {"content": "s."}]
    assert (await whole(component, messages=HELLO)).value == "Yes."
    assert (await streamed(component, messages=HELLO))[0] == ["Ye", "s."]
    again = await whole(component, messages=[*HELLO, message, {"role": "user", "content": "So?"}], answer="message")
    assert again.value["content"] == "Yes."


async def test_of_special_tokens_only_tags_of_calls_are_in_an_answer(make: Any):
    component = await make("llama-chat", task="chat-completion")
    (place,) = component._pool._slots.values()
    engine, specials = place.loading.result(), ("<|im_start|>", "<|endoftext|>")

    async def seen(*tags: str) -> set[str]:
        async def answer(seed: int) -> str:
            params = {"seed": seed, "temperature": 2.0, "top_k": 0, "max_output_length": 60}
            input = Model.Input.model_validate({"messages": HELLO, "tools": [TOOL], "params": params})
            talk = await make_talk(engine, component.config, input, None)
            ask = replace(talk.ask, tags=(*talk.ask.tags, *tags))
            return "".join([piece async for piece in engine.generate(ask) if isinstance(piece, str)])

        answers = await asyncio.gather(*(answer(seed) for seed in range(20)))
        return {special for special in specials if any(special in each for each in answers)}

    assert await seen() == set()
    assert await seen(specials[0]) == {specials[0]}


async def test_an_answer_goes_back_into_the_conversation_as_it_came(make: Any):
    component = await make("llama-chat", task="chat-completion")
    answer = (await whole(component, messages=HELLO, answer="message")).value
    plain = {"role": "assistant", "content": answer["content"]}
    from_openai = {
        **plain,
        "refusal": None,
        "annotations": [],
        "audio": None,
        "function_call": None,
        "tool_calls": None,
    }
    turns = ([*HELLO, each, *HELLO] for each in (plain, answer, from_openai))
    said = [(await whole(component, messages=each)).value for each in turns]
    assert said[0] == said[1] == said[2]


@pytest.mark.parametrize(
    ("message", "at"),
    [
        ({"role": "assistant", "content": "Hi", "finish_reson": "stop"}, "finish_reson"),
        ({"role": "user", "content": "Hi", "usage": {}}, "usage"),
        ({"role": "assistant", "content": "Hi", "function_call": {"name": "f"}}, "function_call"),
    ],
)
def test_other_keys_of_a_message_are_mistakes(message: dict[str, Any], at: str):
    with pytest.raises(ValidationError) as raised:
        Model.Input.model_validate({"messages": [message]})
    assert raised.value.errors()[0]["loc"] == ("messages", 0, at)


def test_a_refusal_is_what_the_assistant_said():
    told = Model.Input.model_validate({"messages": [{"role": "assistant", "content": None, "refusal": "No."}]})
    assert told.messages is not None
    assert told.messages[0].content == "No."


@pytest.mark.parametrize(
    ("params", "field"),
    [
        ({"seed": 2**70}, "seed"),
        ({"seed": -(2**64)}, "seed"),
        ({"temperature": 2.1}, "temperature"),
        ({"temperature": 1e40}, "temperature"),
        ({"repetition_penalty": 1e-40}, "repetition_penalty"),
        ({"repetition_penalty": 1e300}, "repetition_penalty"),
        ({"top_k": 10**30}, "top_k"),
    ],
)
def test_params_have_bounds_that_every_engine_can_hold(params: dict[str, Any], field: str):
    with pytest.raises(ValidationError) as raised:
        Model.Input.model_validate({"text": "a", "params": params})
    assert raised.value.errors()[0]["loc"] == ("params", field)


@pytest.mark.parametrize(
    "params",
    [
        {"seed": 2**63 - 1},
        {"seed": -(2**63)},
        {"temperature": 2},
        {"repetition_penalty": 0.01},
        {"repetition_penalty": 100},
        {"top_k": 2**31 - 1},
    ],
)
@pytest.mark.parametrize("beams", [1, 2])
async def test_params_work_up_to_their_bounds(make: Any, params: dict[str, Any], beams: int):
    component = await make("gpt2")
    params = {"temperature": 1.0, "num_beams": beams, "max_output_length": 6, **params}
    assert (await whole(component, text="A river", params=params)).notes["usage"]["completion_tokens"]


async def test_an_empty_stop_string_stops_nothing(make: Any):
    component = await make("gpt2")
    assert (await whole(component, text="A river", stop=[""])).value == (await whole(component, text="A river")).value


BROKEN = {"function": {"name": "f", "parameters": {"properties": {"a": {"type": "string", "pattern": "("}}}}}
SCHEMA_OF_NOTHING = {"type": "json_schema", "json_schema": {"name": "n", "schema": {"type": "null"}}}


@pytest.mark.parametrize(
    ("asked", "field", "said"),
    [
        (
            {"tools": [RAIN], "response_format": SCHEMA_OF_NOTHING},
            "response_format",
            "could call none of the tools; leave one of them out, or write `tool_choice: none`",
        ),
        (
            {"tools": [RAIN], "tool_choice": "auto", "response_format": {"type": "json_object"}},
            "response_format",
            "could call none of the tools",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"requird": ["a"]}}}},
            "response_format",
            "did you mean 'required'?",
        ),
        (
            {"response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": {"const": "\ud800"}}}},
            "response_format",
            "half of a surrogate pair",
        ),
        (
            {"tools": [BROKEN], "tool_choice": "required"},
            "tools[0].function.parameters",
            "a call of 'f' can't be enforced: the pattern (: unclosed group; simplify its parameters",
        ),
    ],
)
async def test_what_no_grammar_can_hold_is_refused(make: Any, asked: dict[str, Any], field: str, said: str):
    component = await make("llama-chat", task="chat-completion")
    error = await failure(call(component, messages=HELLO, **asked))
    assert said in error.message
    assert (error.details["field"], error.status) == (field, 422)


async def test_where_no_tool_may_be_called_an_answer_can_fit_a_schema(make: Any):
    component = await make("llama-chat", task="chat-completion")
    asked = {"messages": HELLO, "tools": [RAIN], "params": {"do_sample": False, "max_output_length": 30}}
    answer = await whole(component, **asked, tool_choice="none", response_format=SCHEMA_OF_NOTHING)
    assert answer.value == "null"
    assert (await whole(component, **asked, response_format={"type": "text"})).value


def test_a_deeply_nested_request_is_no_trouble():
    nested: Any = 1
    for _ in range(3000):
        nested = [{"a": nested}]
    action = {"messages": HELLO, "tools": nested, "response_format": {"type": "text", "x": nested}}
    assert "expected a function" in dict(Model.check({"task": "chat-completion", "model": "m"}, action))["tools.0"]


# vectors and labels


NONE: dict[str, Any] = {"params": {}}
"""What generates nothing has no use for params."""


async def test_a_text_gets_a_vector_and_a_list_of_texts_one_each(make: Any):
    component = await make("bert", task="text-embedding")
    one = await whole(component, text="A river", **NONE)
    assert len(one.value) == 32
    assert one.notes["usage"]["completion_tokens"] == 0
    several = await whole(component, text=["A river", "안녕"], batch_size=2, **NONE)
    assert several.value[0] == pytest.approx(one.value, abs=1e-5)


async def test_a_text_is_judged(make: Any):
    component = await make("bert-classifier", task="text-classification")
    one = await whole(component, text="A river", **NONE)
    assert {each["label"] for each in one.value} == {"negative", "neutral", "positive"}
    assert [each[0]["label"] for each in (await whole(component, text=["A river"], **NONE)).value] == [
        one.value[0]["label"]
    ]


# several models


async def test_several_models_share_a_component_and_the_longest_unused_makes_room(make: Any):
    names = [str(tiny.model(kind)) for kind in ("gpt2", "llama", "bart")]
    component = await make(None, models=names, max_models=2)
    for name in (*names, names[0]):
        assert (await whole(component, text="A river", model=name)).value
    assert list(component._pool._slots) == [names[2], names[0]]


async def test_a_folder_is_also_called_by_the_end_of_its_path(make: Any):
    component = await make(None, models=[str(tiny.model("gpt2")), str(tiny.model("llama"))])
    assert (await whole(component, text="A river", model="./gpt2")).value
    error = await failure(call(component, text="A river", model="gpt3"))
    assert "the component has no model 'gpt3'; it has " in error.message
    assert (
        "this component has several models; write `model:` with one of "
        in (await failure(call(component, text="A river"))).message
    )


# what is wrong


@pytest.mark.parametrize(
    ("action", "field", "said"),
    [
        ({"text": ["a"], "streaming": True}, "text", "a stream carries one answer"),
        ({"text": "a", "streaming": True, "batch_size": 2}, "batch_size", "batch_size must be 1"),
        ({"text": "a", "streaming": True, "params": {"num_beams": 2}}, "params.num_beams", "can't stream"),
        (
            {"text": "a", "params": {"min_output_length": 5, "max_output_length": 2}},
            "params.min_output_length",
            "above",
        ),
        ({}, "messages", "needs 'text'"),
        ({"text": "a", "messages": HELLO}, "messages", "leave 'messages' out"),
        ({"text": "a\0"}, "text", "NUL"),
        ({"text": "river " * 2_000_000}, "text", "this model's maximum context length is 256"),
        ({"text": "river", "params": {"max_output_length": 300}}, "params.max_output_length", "context is 256"),
    ],
)
async def test_what_only_the_call_shows_to_be_wrong_is_refused_and_others_are_served(
    make: Any, action: dict[str, Any], field: str, said: str
):
    component = await make("gpt2")
    error = await failure(call(component, **action))
    assert isinstance(error, InvalidInput)
    assert said in error.message
    assert (error.details["field"], error.status) == (field, 422)
    assert (await whole(component, text="A river")).value


async def test_a_stream_of_anything_but_text_is_refused(make: Any):
    async def batches() -> AsyncIterator[list[Any]]:
        yield [{"a": 1}]

    error = await failure(call(await make("gpt2"), text=Stream(batches())))
    assert error.details["field"] == "text"


async def test_vectors_do_not_stream(make: Any):
    component = await make("bert", task="text-embedding")
    error = await failure(call(component, text="a", streaming=True, **NONE))
    assert "can't stream" in error.message


@pytest.mark.parametrize("task", ["text-embedding", "text-classification"])
def test_what_generates_nothing_is_not_told_how_to(task: str):
    config, action = {"task": task, "model": "m"}, {"text": "a", "params": {"temperature": 1}, "stop": "."}
    found = dict(Model.check(config, action))
    assert found.keys() == {"params", "stop"}
    assert found["stop"] == f"the task {task} generates nothing, and 'stop' says how to; leave 'stop' out"
    assert not dict(Model.check(config, {"text": "a", "params": {"temperature": None}}))


async def test_a_model_that_is_not_there_fails_the_setup_in_one_line(make: Any, tmp_path: Path):
    with pytest.raises(Unavailable, match="there is no folder"):
        await make(None, model=str(tmp_path / "none"))


async def test_a_component_is_as_well_as_its_engine(make: Any, monkeypatch: pytest.MonkeyPatch):
    component = await make("gpt2")
    await component.healthy()
    (place,) = component._pool._slots.values()

    async def ill() -> None:
        raise Unavailable("the inference thread has died")

    monkeypatch.setattr(place.loading.result(), "healthy", ill)
    with pytest.raises(Unavailable, match="has died"):
        await component.healthy()
