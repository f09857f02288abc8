"""What a model reads of a request: the tokens of its text or conversation, cut where that was asked for, else refused."""

from __future__ import annotations

import copy
import json
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from deployments.engines import prompts
from deployments.engines.conversations import task_params
from deployments.engines.engine import Ask
from deployments.engines.prompts import Prompt, context_length, encode
from graphs.errors import InvalidInput
from tests.engines import tiny

CONTEXT = 64


@cache
def tokenizer(kind: str) -> Any:
    from transformers import AutoTokenizer

    return AutoTokenizer.from_pretrained(tiny.model(kind))


def templated(template: str) -> Any:
    given = copy.deepcopy(tokenizer("llama-chat"))
    given.chat_template = template
    return given


def config(*, encodes: bool = False, **more: Any) -> Any:
    return SimpleNamespace(is_encoder_decoder=encodes, **more)


def read(
    text: str, kind: str = "gpt2", task: str = "text-generation", output: int | None = None, *, encodes: bool = False,
    longest: int | None = None, context: int | None = CONTEXT, **said: Any,
) -> list[int]:  # fmt: skip
    ask = Ask(text=text, max_input_length=longest)
    return encode(ask, tokenizer(kind), config(encodes=encodes, **said), task, context, output).ids


def talk(*turns: str | dict[str, Any], kind: str = "gpt2", longest: int | None = None, **said: Any) -> Prompt:
    roles = ("user", "assistant")
    messages = [
        {"role": roles[index % 2], "content": turn} if isinstance(turn, str) else turn
        for index, turn in enumerate(turns)
    ]
    tools = said.pop("tools", ())
    ask = Ask(messages=messages, tools=tools, max_input_length=longest)
    return encode(ask, tokenizer(kind), config(**said), "chat-completion", 4 * CONTEXT)


def text_of(prompt: Prompt, kind: str = "gpt2") -> str:
    return tokenizer(kind).decode(prompt.ids)


def refused(call: Any, *args: Any, **more: Any) -> InvalidInput:
    with pytest.raises(InvalidInput) as refusal:
        call(*args, **more)
    return refusal.value


def test_a_text_is_read_with_the_special_tokens_of_its_tokenizer():
    assert read("A stream never hangs.") == tokenizer("gpt2")("A stream never hangs.").input_ids
    wrapped = read("A stream", "bart", "summarization", encodes=True)
    assert (wrapped[0], wrapped[-1]) == (tokenizer("bart").bos_token_id, tokenizer("bart").eos_token_id)


def test_a_text_longer_than_the_context_is_refused_and_both_lengths_are_named():
    text = "river " * 200
    length = len(tokenizer("gpt2")(text).input_ids)
    refusal = refused(read, text)
    assert f"the text has {length} tokens, but this model's maximum context length is 64" in refusal.message
    assert "write `max_input_length: 48` to have it cut" in refusal.message
    assert refusal.details["field"] == "text"


def test_an_answer_that_finds_no_room_is_refused_and_all_lengths_are_named():
    text = "river " * 10
    length = len(tokenizer("gpt2")(text).input_ids)
    message = refused(read, text, output=60).message
    said = f"the text has {length} tokens and max_output_length is 60, but this model's maximum context length is 64"
    assert said in message
    assert "max_output_length is 64, and the model's context is 64" in refused(read, "hi", output=64).message


def test_a_prompt_may_leave_room_for_one_token_alone():
    ids = read("river " * 9, context=None)
    assert read("river " * 9, context=len(ids) + 1) == ids
    refused(read, "river " * 9, context=len(ids))


def test_an_encoder_reads_its_whole_context_whatever_the_answer_takes():
    ids = read("river " * 9, "bart", "summarization", encodes=True, context=None)
    assert read("river " * 9, "bart", "summarization", 40, encodes=True, context=len(ids)) == ids
    refused(read, "river " * 9, "bart", "summarization", encodes=True, context=len(ids) - 1)


def test_what_is_to_be_continued_keeps_its_end_and_what_is_to_be_summed_up_its_beginning():
    text = " ".join(f"river {number}" for number in range(100))
    whole = read(text, context=None)
    assert read(text, longest=20) == whole[-20:]
    assert read(text, task="summarization", longest=20) == whole[:20]


def test_a_cut_text_keeps_the_special_tokens_around_it():
    cut = read("river " * 100, "bart", "summarization", encodes=True, longest=10)
    whole = read("river " * 100, "bart", "summarization", encodes=True, context=None)
    assert cut == [*whole[:9], whole[-1]]


def test_a_cut_text_leaves_room_for_its_answer():
    text = "river " * 100
    assert len(read(text, longest=500)) == CONTEXT - CONTEXT // 4
    assert len(read(text, output=10, longest=500)) == CONTEXT - 10


@pytest.mark.parametrize("longest", [None, 30])
def test_of_a_huge_text_only_as_much_is_read_as_it_takes(longest: int | None):
    given = tokenizer("gpt2")
    seen: list[int] = []

    class Counting:
        chat_template = None

        def __call__(self, text: str, **said: Any) -> Any:
            seen.append(len(text))
            return given(text, **said)

    ask = Ask(text="river " * 2_000_000, max_input_length=longest)
    if longest is None:
        refusal = refused(encode, ask, Counting(), config(), "text-generation", CONTEXT)
        assert "the text has more than" in refusal.message
    else:
        assert len(encode(ask, Counting(), config(), "text-generation", CONTEXT).ids) == longest
    assert sum(seen) <= prompts.LONG


@pytest.mark.parametrize("text", ["", "  \n"])
def test_an_empty_text_is_refused(text: str):
    assert "the text is empty" in refused(read, text).message


def test_text_that_is_no_text_is_refused_and_the_place_is_named():
    assert "NUL character (at 2)" in refused(read, "ab\0c").message
    assert "half of a surrogate pair (at 1)" in refused(read, "a\ud800").message
    message = refused(talk, "hi", "hello", "\ud800").message
    assert message.startswith("messages[2].content: there is half of a surrogate pair")


def test_a_model_is_told_its_task_as_it_was_trained_to_be():
    said = {
        "task_specific_params": {"summarization": {"prefix": "summarize: "}, "translation_en_to_de": {"prefix": "de: "}}
    }
    plain = read("summarize: A river.", "t5", "summarization", encodes=True)
    assert read("A river.", "t5", "summarization", encodes=True, **said) == plain
    assert read("summarize: A river.", "t5", "summarization", encodes=True, **said) == plain
    assert read("A river.", "t5", "translation", encodes=True, **said) == read("de: A river.", "t5", encodes=True)


def test_what_a_config_file_says_of_single_tasks_is_read_by_transformers(tmp_path: Path):
    from transformers import AutoConfig

    said = {"summarization": {"prefix": "summarize: "}, "conversational": {"max_length": 10}}
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "t5", "task_specific_params": said}))
    assert prompts.task_prefix(AutoConfig.from_pretrained(tmp_path), "summarization") == "summarize: "
    assert task_params(AutoConfig.from_pretrained(tmp_path)).keys() == said.keys()


def test_a_model_that_translates_several_ways_is_told_by_the_text_which():
    said = {
        "task_specific_params": {"translation_en_to_de": {"prefix": "de: "}, "translation_en_to_fr": {"prefix": "fr: "}}
    }
    assert read("A river.", "t5", "translation", encodes=True, **said) == read("A river.", "t5", encodes=True)


# conversations


def test_the_models_own_template_is_applied():
    prompt = talk({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}, kind="llama-chat")
    assert text_of(prompt, "llama-chat") == (
        "<|im_start|>system\nBe brief.<|im_end|>\n<|im_start|>user\nHi<|im_end|>\n<|im_start|>assistant\n"
    )
    assert prompt.stop == ()


def test_a_model_without_a_template_is_given_a_plain_one_that_ends_at_the_next_turn():
    prompt = talk({"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"})
    assert text_of(prompt) == "Be brief.\n\nUser: Hi\nAssistant:"
    assert prompt.stop == ("\nUser:",)


def test_a_model_trained_on_conversations_is_given_its_turns_with_end_tokens():
    prompt = talk("Hi", "Hello!", "Who are you?", kind="dialogpt", task_specific_params={"conversational": {}})
    assert text_of(prompt, "dialogpt") == "Hi<|endoftext|>Hello!<|endoftext|>Who are you?<|endoftext|>"
    assert prompt.stop == ()


def test_content_in_parts_is_read_as_text():
    parts = [{"type": "text", "text": "One"}, {"type": "text", "text": "two"}]
    assert text_of(talk({"role": "user", "content": parts})) == "User: One\ntwo\nAssistant:"
    image = [{"type": "image_url", "image_url": {"url": "https://a.b/c.png"}}]
    assert "reads text, not 'image_url'" in refused(talk, {"role": "user", "content": image}).message


def test_tools_are_told_to_the_template_and_refused_where_it_takes_none():
    tools = [{"type": "function", "function": {"name": "rain", "parameters": {"type": "object"}}}]
    assert '"name": "rain"' in text_of(talk("Hi", kind="llama-chat", tools=tools), "llama-chat")
    message = refused(talk, "Hi", tools=tools).message
    assert "this model does not support tools: its tokenizer has no chat template; leave 'tools' out" in message
    ask = Ask(messages=[{"role": "user", "content": "Hi"}], tools=tools)
    refusal = refused(encode, ask, templated("{{ messages[0].content }}"), config(), "chat-completion", CONTEXT)
    assert refusal.message.startswith("this model does not support tools: its chat template has no tools section;")


def test_arguments_of_a_call_reach_the_template_as_data():
    template = "{% for m in messages %}{% for c in m.tool_calls or [] %}{{ c.function.arguments.city }}{% endfor %}{% endfor %}"
    given = templated(template)
    call = {"id": "1", "type": "function", "function": {"name": "rain", "arguments": '{"city": "Seoul"}'}}
    ask = Ask(messages=[{"role": "user", "content": "?"}, {"role": "assistant", "tool_calls": [call]}])
    assert given.decode(encode(ask, given, config(), "chat-completion", CONTEXT).ids) == "Seoul"


def test_what_a_template_refuses_is_told_in_its_words():
    given = templated("{{ raise_exception('Conversation roles must alternate') }}")
    ask = Ask(messages=[{"role": "user", "content": "Hi"}])
    refusal = refused(encode, ask, given, config(), "chat-completion", CONTEXT)
    assert refusal.message == "the model's chat template refuses the messages: Conversation roles must alternate"
    assert refusal.details["field"] == "messages"


def test_an_empty_message_of_the_user_is_refused():
    assert refused(talk, "Hi", "Hello", " ").message.startswith("messages[2]: the user's message is empty")


def test_a_conversation_longer_than_the_context_is_refused():
    refusal = refused(talk, "river " * 300)
    assert "the conversation has" in refusal.message
    assert refusal.details["field"] == "messages"


def test_a_conversation_that_may_be_cut_loses_its_oldest_turns_and_keeps_the_system():
    system = {"role": "system", "content": "Be brief."}
    turns = [
        turn
        for number in range(8)
        for turn in ({"role": "user", "content": f"Ask {number}"}, {"role": "assistant", "content": f"Yes {number}"})
    ]
    cut = text_of(talk(system, *turns, {"role": "user", "content": "Last?"}, longest=120))
    assert cut.startswith("Be brief.\n\nUser: Ask ")
    assert cut.endswith("Assistant: Yes 7\nUser: Last?\nAssistant:")
    assert "Ask 0" not in cut
    first = int(cut.removeprefix("Be brief.\n\nUser: Ask ")[0])
    longer = talk(system, *turns[2 * (first - 1) :], {"role": "user", "content": "Last?"})
    assert len(longer.ids) > 120


def test_a_last_message_that_is_too_long_alone_is_refused():
    message = refused(talk, "Hi", "Hello", "river " * 100, longest=20).message
    assert "the last message and the system's have at least" in message
    assert "max_input_length allows 20" in message


# contexts


def network(model_type: str = "llama", **said: Any) -> Any:
    text = SimpleNamespace(model_type=model_type, pad_token_id=1, **said)
    return SimpleNamespace(model_type=model_type, get_text_config=lambda: text)


def limit(said: int) -> Any:
    return SimpleNamespace(model_max_length=said)


def test_the_context_is_what_the_model_says_else_its_tokenizer():
    assert context_length(network(max_position_embeddings=100), limit(50)) == 100
    assert context_length(network(n_positions=100), limit(50)) == 100
    assert context_length(network(), limit(50)) == 50
    assert context_length(network(), limit(10**30), 20) == 20


def test_a_model_that_may_have_a_limit_and_states_none_is_refused():
    refusal = refused(context_length, network("own_kind", n_ctx_of_its_own=64), limit(10**30))
    assert "the model's configuration (own_kind) does not state how many tokens it can read" in refusal.message
    assert "write `options: {max_model_len: …}`" in refusal.message
    assert context_length(network("mamba"), limit(10**30)) is None


def test_every_model_of_transformers_states_its_context_or_has_no_end():
    from transformers import CONFIG_MAPPING
    from transformers.models.auto import modeling_auto as auto

    read_text = {
        *auto.MODEL_FOR_CAUSAL_LM_MAPPING_NAMES, *auto.MODEL_FOR_SEQ_TO_SEQ_CAUSAL_LM_MAPPING_NAMES,
        *auto.MODEL_FOR_TEXT_ENCODING_MAPPING_NAMES, *auto.MODEL_FOR_SEQUENCE_CLASSIFICATION_MAPPING_NAMES,
    }  # fmt: skip
    # Of sound, and half of another model, which can't be configured alone.
    read_text -= {"whisper", "musicgen", "musicgen_melody", "gemma4_assistant"}
    unstated = [kind for kind in sorted(read_text) if context_length(CONFIG_MAPPING[kind](), limit(10**30)) is None]
    assert set(unstated) <= set(prompts.ENDLESS)


@pytest.mark.parametrize("kind", ["xlm-roberta", "data2vec-text", "xmod"])
def test_positions_that_padding_takes_are_not_counted(kind: str):
    assert context_length(network(kind, max_position_embeddings=514), limit(10**30)) == 512


def test_each_half_of_an_encoder_decoder_has_positions_of_its_own():
    led = network(max_encoder_position_embeddings=512, max_decoder_position_embeddings=32)
    assert context_length(led, limit(10**30)) == 512
    assert prompts.answer_length(led) == 32
    joined = SimpleNamespace(
        encoder=network("bert", max_position_embeddings=128), decoder=network("roberta", max_position_embeddings=66)
    )
    assert context_length(joined, limit(10**30)) == 128
    assert prompts.answer_length(joined) == 64
    assert prompts.answer_length(network("t5", n_positions=512)) is None


def test_the_context_can_be_lowered_and_raised_only_where_positions_are_relative():
    assert context_length(network(max_position_embeddings=100), limit(50), 20) == 20
    assert context_length(network(max_position_embeddings=100), limit(50), 200) == 100
    assert context_length(network("t5", n_positions=100), limit(50), 200) == 200


def test_a_model_that_states_no_context_is_given_one():
    refusal = refused(read, "river " * 10_000, context=None)
    assert f"this model's maximum context length is taken to be {prompts.UNSTATED} (it states none)" in refusal.message


async def test_a_long_text_is_read_off_the_event_loop(monkeypatch: pytest.MonkeyPatch):
    import threading

    threads: list[str] = []
    monkeypatch.setattr(prompts, "encode", lambda *args: threads.append(threading.current_thread().name) or Prompt([]))
    for text in ("short", "x" * (prompts.LONG + 1)):
        await prompts.prepare(Ask(text=text), None, None, "text-generation", CONTEXT)
    assert threads[0] == threading.main_thread().name != threads[1]
