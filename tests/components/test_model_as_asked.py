"""What a program may ask of a model component beyond its document: a conversation, a text to continue, a count."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.components.model import Model
from graphs.component import Note, Whole
from tests.components.model_calls import GREEDY, HELLO, call, whole
from tests.engines import tiny
from tests.fakes.calls import everything, failure

RENDERED = "<|im_start|>user\nHello<|im_end|>\n<|im_start|>assistant\n"
TOOL = {"type": "function", "function": {"name": "rain"}}


# a conversation or a text, whatever the document's task


async def test_a_model_that_continues_texts_answers_a_conversation_through_its_template(make: Any):
    component = await make("llama-chat")
    answer = await whole(component, messages=HELLO, answer="message")
    assert answer.value["content"] == (await whole(component, text=RENDERED)).value != ""
    chat = await make("llama-chat", task="chat-completion")
    assert answer == await whole(chat, messages=HELLO, answer="message")


async def test_a_model_for_conversations_continues_a_text_as_it_is(make: Any):
    component = await make("llama-chat", task="chat-completion")
    assert (await whole(component, text=RENDERED)).value == (await whole(component, messages=HELLO)).value


async def test_what_a_document_says_of_its_conversations_does_not_concern_a_text_that_is_continued(make: Any):
    component = await make("llama-chat", task="chat-completion")
    said = {"tools": [TOOL], "response_format": {"type": "text"}, "chat_template_kwargs": {"enable_thinking": False}}
    assert await whole(component, text="A river", **said) == await whole(component, text="A river")


async def test_of_a_text_that_a_model_for_conversations_continues_the_end_is_kept(make: Any):
    component = await make("llama-chat", task="chat-completion")
    raw = await make("llama-chat")
    text = " ".join(f"river {number}" for number in range(40))
    asked = {"text": text, "max_input_length": 10}
    assert (await whole(component, **asked)).value == (await whole(raw, **asked)).value


async def test_a_model_without_a_template_reads_a_conversation_in_plain_words(make: Any):
    component = await make("gpt2")
    answer = await whole(component, messages=HELLO, answer="message")
    assert answer.value["content"] == (await whole(component, text="User: Hello\nAssistant:", stop="\nUser:")).value


@pytest.mark.parametrize(
    ("kind", "task"), [("t5", "translation"), ("bart", "summarization"), ("t5", "text-generation")]
)
async def test_an_encoder_decoder_reads_what_the_user_says_last(make: Any, kind: str, task: str):
    component = await make(kind, task=task)
    messages = [
        {"role": "system", "content": "Be brief."},
        {"role": "user", "content": "No."},
        {"role": "user", "content": [{"type": "text", "text": "A river left its bed."}]},
        {"role": "assistant", "content": "Ah."},
    ]
    answer = await whole(component, messages=messages, answer="message")
    alone = await whole(component, text="A river left its bed.")
    assert (answer.value["content"], answer.notes) == (alone.value, alone.notes)
    error = await failure(call(component, messages=messages[:1]))
    assert (error.details["field"], error.status) == ("messages", 422)
    assert "reads what the user says last, and the user says nothing" in error.message


@pytest.mark.parametrize("kind", ["bert", "bert-classifier"])
async def test_what_generates_nothing_answers_no_conversation(make: Any, kind: str):
    task = "text-embedding" if kind == "bert" else "text-classification"
    error = await failure(call(await make(kind, task=task), messages=HELLO, params={}))
    assert f"the task {task} needs 'text'" in error.message


async def test_a_document_still_says_which_of_the_two_its_component_reads():
    config = {"task": "text-generation", "model": "m"}
    assert "needs 'text'" in dict(Model.check(config, {"messages": HELLO}))["messages"]


async def test_a_developer_speaks_as_the_system(make: Any):
    component = await make("llama-chat", task="chat-completion")
    said = [[{"role": role, "content": "Be brief."}, *HELLO] for role in ("developer", "system")]
    first, second = [await whole(component, messages=each) for each in said]
    assert first == second


# the chat template


def template(tmp_path: Path, text: str) -> str:
    folder = tiny.fresh("llama-chat", tmp_path)
    (folder / "chat_template.jinja").write_text(text)
    return str(folder)


async def test_a_template_reads_what_it_is_told(make: Any, tmp_path: Path):
    model = template(tmp_path, "{{ messages[0].content }}{% if enable_thinking is false %} a river{% endif %}")
    component = await make(None, model=model, task="chat-completion")
    told = await whole(component, messages=HELLO, chat_template_kwargs={"enable_thinking": False, "other": 1})
    assert told.value == (await whole(component, text="Hello a river")).value
    untold = await whole(component, messages=HELLO, chat_template_kwargs=None)
    assert untold.value == (await whole(component, text="Hello")).value


async def test_a_model_without_a_template_passes_over_what_it_would_be_told(make: Any):
    component = await make("gpt2", task="chat-completion")
    asked = {"messages": HELLO, "answer": "message"}
    assert await whole(component, **asked, chat_template_kwargs={"enable_thinking": False}) == await whole(
        component, **asked
    )


@pytest.mark.parametrize("name", ["messages", "tools", "chat_template", "add_generation_prompt", "tokenize"])
def test_what_the_engine_says_to_the_template_is_refused(name: str):
    with pytest.raises(
        ValidationError, match=f"'{name}' can't be said to a chat template here; leave it out"
    ) as raised:
        Model.Input.model_validate({"messages": HELLO, "chat_template_kwargs": {name: "x"}})
    assert raised.value.errors()[0]["loc"] == ("chat_template_kwargs",)


async def test_what_a_template_can_not_use_is_told_in_its_words(make: Any, tmp_path: Path):
    model = template(tmp_path, "{{ messages[0].content + effort }}")
    component = await make(None, model=model, task="chat-completion")
    error = await failure(call(component, messages=HELLO, chat_template_kwargs={"effort": 3}))
    assert "the model's chat template refuses the messages: can only concatenate str" in error.message


def test_only_conversations_have_a_template():
    action = {"text": "a", "chat_template_kwargs": {"enable_thinking": False}}
    found = dict(Model.check({"task": "text-generation", "model": "m"}, action))
    assert "is for the task chat-completion" in found["chat_template_kwargs"]


# counting


@pytest.mark.parametrize(
    "asked", [{"messages": HELLO}, {"messages": HELLO, "tools": [TOOL]}, {"text": "A river"}, {"messages": "Hello"}]
)
async def test_counted_are_the_tokens_that_the_model_would_read(make: Any, asked: dict[str, Any]):
    component = await make("llama-chat", task="chat-completion")
    counted = await everything(call(component, **asked, answer="count"))
    assert counted == [Whole({"input_tokens": (await whole(component, **asked)).notes["usage"]["prompt_tokens"]})]


async def test_several_texts_are_counted_together(make: Any):
    component = await make("gpt2")
    texts = ["A river", "Once upon a time"]
    alone = [(await whole(component, text=text, answer="count")).value["input_tokens"] for text in texts]
    assert (await whole(component, text=texts, answer="count")).value == {"input_tokens": sum(alone)}


async def test_a_prompt_above_the_context_is_counted_whole_unless_it_would_be_cut(make: Any):
    component = await make("gpt2")
    text = "river " * 30_000
    counted = (await whole(component, text=text, answer="count")).value["input_tokens"]
    assert counted > 30_000
    cut = await whole(component, text=text, answer="count", max_input_length=50)
    assert cut.value == {"input_tokens": 50}


async def test_a_count_does_not_stream(make: Any):
    error = await failure(call(await make("gpt2"), text="a", answer="count", streaming=True))
    assert (error.details["field"], error.status) == ("streaming", 422)
    config = {"task": "text-generation", "model": "m"}
    found = dict(Model.check(config, {"text": "a", "answer": "count", "streaming": True}))
    assert found == {"streaming": "a number of tokens comes at once and can't stream; leave 'streaming' out"}
    assert not dict(Model.check(config, {"text": "a", "answer": "count", "streaming": "off"}))


@pytest.mark.parametrize("task", ["text-embedding", "text-classification"])
def test_what_generates_nothing_counts_nothing(task: str):
    found = dict(Model.check({"task": task, "model": "m"}, {"text": "a", "answer": "count"}))
    assert "its usage says how many tokens it read; leave 'answer' out" in found["answer"]


# log-probabilities


@pytest.mark.parametrize("answer", ["text", "message"])
async def test_log_probabilities_are_noted_before_their_text(make: Any, answer: str):
    component = await make("llama-chat", task="chat-completion")
    asked = {"messages": HELLO, "answer": answer, "logprobs": 2}
    chunks = await everything(call(component, **asked, streaming=True))
    assert isinstance(chunks[0], Note)
    assert isinstance(chunks[-1], Note)
    noted = [each for chunk in chunks[:-1] if isinstance(chunk, Note) for each in chunk.data["logprobs"]]
    told = await whole(component, **asked)
    assert told.notes["logprobs"] == noted
    assert len(noted) == told.notes["usage"]["completion_tokens"] == chunks[-1].data["usage"]["completion_tokens"]
    plain = await whole(component, messages=HELLO, answer=answer)
    assert plain.value == told.value
    assert "logprobs" not in plain.notes


@pytest.mark.parametrize(
    ("asked", "said"),
    [
        ({"text": ["a"]}, "logprobs are of one answer, so text can't be a list"),
        ({"text": "a", "params": {"num_beams": 2}}, "beam search draws no single tokens"),
    ],
)
async def test_log_probabilities_are_of_single_tokens_of_one_answer(make: Any, asked: dict[str, Any], said: str):
    error = await failure(call(await make("gpt2"), **asked, logprobs=0))
    assert said in error.message
    assert (error.details["field"], error.status) == ("logprobs", 422)


@pytest.mark.parametrize("logprobs", [-1, 21, "many"])
def test_a_number_of_likeliest_tokens_has_bounds(logprobs: Any):
    with pytest.raises(ValidationError) as raised:
        Model.Input.model_validate({"text": "a", "logprobs": logprobs})
    assert raised.value.errors()[0]["loc"] == ("logprobs",)


# too long a prompt


async def test_of_a_conversation_that_is_too_long_the_oldest_turns_are_left_out_where_that_is_asked_for(make: Any):
    component = await make("llama-chat", task="chat-completion")
    old = [{"role": "user", "content": "river " * 500}, {"role": "assistant", "content": "Ah."}]
    error = await failure(call(component, messages=[*old, *HELLO]))
    assert error.to_data()["code"] == "context_length_exceeded"
    assert await whole(component, messages=[*old, *HELLO], truncation="auto") == await whole(component, messages=HELLO)
    assert await whole(component, messages=HELLO, truncation="auto") == await whole(component, messages=HELLO)


@pytest.mark.parametrize(
    ("asked", "field"),
    [
        ({"text": "river " * 500}, "text"),
        ({"text": "river " * 500_000}, "text"),
        ({"messages": [{"role": "user", "content": "river " * 500}]}, "messages"),
        ({"messages": [{"role": "user", "content": "river " * 50}], "max_input_length": 20}, "messages"),
        ({"text": "river " * 70, "params": {"max_output_length": 200}}, "text"),
    ],
)
async def test_a_prompt_that_does_not_fit_is_known_by_its_code(make: Any, asked: dict[str, Any], field: str):
    error = await failure(call(await make("llama-chat", task="chat-completion"), **{"params": GREEDY, **asked}))
    assert error.to_data()["code"] == "context_length_exceeded"
    assert (error.details["field"], error.status) == (field, 422)


async def test_an_answer_may_be_shorter_than_the_limit_where_that_is_asked_for(make: Any):
    model = await make("llama-chat", task="chat-completion")
    asked: dict[str, Any] = {"messages": [{"role": "user", "content": "river"}]}
    error = await failure(call(model, **asked, params={**GREEDY, "max_output_length": 100_000}))
    assert error.details["field"] == "params.max_output_length"
    shorter = call(model, **asked, params={**GREEDY, "max_output_length": 100_000, "fit_output": True})
    (whole,) = [chunk async for chunk in shorter]
    assert whole.notes["finish_reason"] in ("stop", "length")
