"""What a request to `/v1/messages` asks for, and what is said of one that is wrong."""

from __future__ import annotations

import json
from typing import Any

import pytest

from deployments.conversations.parameters import Honoured, Refused, Unread, fates
from deployments.conversations.request import Conversation, Sampling
from deployments.transports.anthropic.decode import Asking, decode, decode_count
from deployments.transports.anthropic.parameters import MessagesBody
from graphs.errors import BadRequest, InvalidInput
from tests.transports.anthropic.messages_api import ASKED, HELLO

CALL = {"type": "tool_use", "id": "toolu_1", "name": "rain", "input": {"at": "sea"}}
RESULT = {"type": "tool_result", "tool_use_id": "toolu_1"}
TOOL = {"name": "rain", "description": "Rain?", "input_schema": {"type": "object"}}
PNG = {"type": "base64", "media_type": "image/png", "data": "iVBO"}
PDF = {"type": "base64", "media_type": "application/pdf", "data": "JVBE"}


def asking(**fields: Any) -> Asking:
    return decode(json.dumps({**ASKED, **fields}).encode())


def conversation(**fields: Any) -> Conversation:
    return asking(**fields).conversation


def messages(*turns: Any) -> Any:
    return conversation(messages=list(turns)).messages


def user(*blocks: Any) -> dict[str, Any]:
    return {"role": "user", "content": list(blocks)}


def assistant(*blocks: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": list(blocks)}


def text(said: str) -> dict[str, Any]:
    return {"type": "text", "text": said}


def refusal(**fields: Any) -> tuple[str, Any]:
    with pytest.raises(InvalidInput) as refused:
        asking(**fields)
    return refused.value.message, refused.value.details["field"]


# turns


def test_text_and_one_block_of_text_are_the_same() -> None:
    assert messages(*HELLO) == messages(user({**text("Hello"), "cache_control": {"type": "ephemeral"}})) == HELLO


def test_the_system_comes_first() -> None:
    said = conversation(system=[text("Be brief."), text("Be kind.")])
    assert said.messages == [{"role": "system", "content": [text("Be brief."), text("Be kind.")]}, *HELLO]
    assert conversation(system="Be brief.").messages[0] == {"role": "system", "content": "Be brief."}
    assert conversation(system="").messages == HELLO


def test_several_turns_of_one_role_stay_as_they_are() -> None:
    assert messages(*HELLO, *HELLO, {"role": "system", "content": "Now rhyme."}) == [
        *HELLO,
        *HELLO,
        {"role": "system", "content": "Now rhyme."},
    ]


def test_calls_of_tools_and_their_results() -> None:
    turns = [
        assistant({"type": "thinking", "thinking": "hm", "signature": "x"}, text("Let "), text("me see."), CALL),
        user({**RESULT, "content": "wet"}, text("And now?")),
    ]
    function = {"name": "rain", "arguments": '{"at": "sea"}'}
    assert messages(*HELLO, *turns)[1:] == [
        {
            "role": "assistant",
            "content": "Let me see.",
            "reasoning_content": "hm",
            "tool_calls": [{"id": "toolu_1", "type": "function", "function": function}],
        },
        {"role": "tool", "tool_call_id": "toolu_1", "content": "wet"},
        {"role": "user", "content": "And now?"},
    ]


@pytest.mark.parametrize(
    ("said", "content"),
    [
        ({}, ""),
        ({"content": [text("wet")]}, "wet"),
        ({"content": [text("wet"), text("cold")]}, [text("wet"), text("cold")]),
        ({"content": "no sea", "is_error": True}, "Error: no sea"),
        ({"content": [text("a"), text("b")], "is_error": True}, [text("Error:"), text("a"), text("b")]),
        ({"content": "wet", "is_error": False}, "wet"),
    ],
)
def test_the_result_of_a_tool(said: Any, content: Any) -> None:
    assert messages(*HELLO, assistant(CALL), user({**RESULT, **said}))[-1]["content"] == content


def test_an_assistant_that_only_calls_says_nothing() -> None:
    assert messages(*HELLO, assistant(CALL))[1]["content"] is None
    assert messages(*HELLO, assistant({"type": "redacted_thinking", "data": "x"}))[1] == {
        "role": "assistant",
        "content": "",
    }


@pytest.mark.parametrize(
    ("block", "parts"),
    [
        ({"type": "image", "source": PNG}, [{"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}]),
        (
            {"type": "image", "source": {"type": "url", "url": "https://a/b.png"}},
            [{"type": "image_url", "image_url": {"url": "https://a/b.png"}}],
        ),
        (
            {"type": "document", "source": PDF, "title": "map.pdf"},
            [{"type": "file", "file": {"filename": "map.pdf", "file_data": "data:application/pdf;base64,JVBE"}}],
        ),
        (
            {"type": "document", "source": {"type": "url", "url": "https://a/b.pdf"}},
            [{"type": "file", "file": {"file_url": "https://a/b.pdf"}}],
        ),
        (
            {
                "type": "document",
                "title": "Map",
                "source": {"type": "text", "media_type": "text/plain", "data": "N, S"},
            },
            [text("Map"), text("N, S")],
        ),
        ({"type": "document", "source": {"type": "content", "content": "N, S"}}, [text("N, S")]),
        (
            {
                "type": "document",
                "source": {"type": "content", "content": [text("N"), {"type": "image", "source": PNG}]},
            },
            [text("N"), {"type": "image_url", "image_url": {"url": "data:image/png;base64,iVBO"}}],
        ),
        (
            {"type": "search_result", "title": "Rivers", "source": "https://a", "content": [text("Wet.")]},
            [text("Rivers\nhttps://a"), text("Wet.")],
        ),
    ],
)
def test_what_isnt_text_becomes_parts_as_openai_writes_them(block: Any, parts: Any) -> None:
    assert messages(user(block, text("What?")))[0]["content"] == [*parts, text("What?")]
    answered = messages(*HELLO, assistant(CALL), user({**RESULT, "content": [block, text("So.")]}))
    assert answered[-1]["content"] == [*parts, text("So.")]


# the other fields


def test_sampling() -> None:
    said = conversation(temperature=1, top_p=0.5, top_k=7, stop_sequences=["###", "\n\nHuman:"])
    stop = ("###", "\n\nHuman:")
    assert said.sampling == Sampling(max_tokens=9, temperature=1, top_p=0.5, top_k=7, stop=stop)
    assert not said.stream
    assert conversation(stream=True).stream


def test_tools() -> None:
    said = conversation(tools=[{**TOOL, "type": "custom", "strict": True, "cache_control": {"type": "ephemeral"}}])
    function = {"name": "rain", "description": "Rain?", "parameters": {"type": "object"}, "strict": True}
    assert said.tools == [{"type": "function", "function": function}]


@pytest.mark.parametrize(
    ("choice", "said"),
    [
        (None, None),
        ({"type": "auto"}, "auto"),
        ({"type": "any"}, "required"),
        ({"type": "none"}, "none"),
        ({"type": "tool", "name": "rain"}, {"type": "function", "function": {"name": "rain"}}),
    ],
)
def test_the_choice_of_a_tool(choice: Any, said: Any) -> None:
    assert conversation(tool_choice=choice).tool_choice == said
    assert conversation(tool_choice=choice).parallel_tool_calls
    if choice is not None:
        alone = conversation(tool_choice={**choice, "disable_parallel_tool_use": True})
        assert (alone.tool_choice, alone.parallel_tool_calls) == (said, False)
        assert alone.for_workflow()["parallel_tool_calls"] is False


@pytest.mark.parametrize(
    ("thinking", "told", "shown"),
    [
        (None, None, None),
        ({"type": "enabled", "budget_tokens": 1024}, {"enable_thinking": True}, "text"),
        ({"type": "adaptive"}, {"enable_thinking": True}, "text"),
        ({"type": "adaptive", "display": "summarized"}, {"enable_thinking": True}, "text"),
        ({"type": "adaptive", "display": "omitted"}, {"enable_thinking": True}, "place"),
        ({"type": "disabled"}, {"enable_thinking": False}, None),
    ],
)
def test_thinking(thinking: Any, told: Any, shown: Any) -> None:
    asked = asking(thinking=thinking)
    assert (asked.conversation.chat_template_kwargs, asked.shown) == (told, shown)


@pytest.mark.parametrize(("effort", "told"), [("low", "low"), ("high", "high"), ("max", "high")])
def test_effort_is_told_to_the_template_in_its_words(effort: str, told: str) -> None:
    said = conversation(output_config={"effort": effort}, thinking={"type": "adaptive"})
    assert said.for_component()["chat_template_kwargs"] == {"enable_thinking": True, "reasoning_effort": told}


@pytest.mark.parametrize("field", ["output_format", "output_config"])
def test_the_format_of_the_answer(field: str) -> None:
    format = {"type": "json_schema", "schema": {"type": "object"}}
    said = conversation(**{field: format if field == "output_format" else {"format": format}})
    schema = {"name": "answer", "strict": True, "schema": {"type": "object"}}
    assert said.response_format == {"type": "json_schema", "json_schema": schema}


def test_a_workflow_reads_the_fields_by_their_names_and_its_own_input() -> None:
    said = conversation(
        system="Be brief.",
        metadata={"user_id": "u1", "input": {"about": "a cat", "lines": 2}},
        input={"about": "a dog"},
        custom={"x": 1},
    ).for_workflow()
    assert said["question"] == said["prompt"] == "Hello"
    assert (said["about"], said["lines"]) == ("a dog", 2)
    assert (said["user"], said["custom"], said["max_tokens"]) == ("u1", {"x": 1}, 9)
    assert said["messages"][0] == {"role": "system", "content": "Be brief."}


def test_a_count_needs_no_limit_of_tokens() -> None:
    said = decode_count(json.dumps({"model": "tiny", "messages": HELLO, "tools": [TOOL]}).encode())
    assert said.conversation.use == "count"
    assert said.conversation.tools


# what is wrong


@pytest.mark.parametrize(
    ("fields", "message", "field"),
    [
        ({"max_tokens": None}, "max_tokens: expected a whole number, got null; write", "max_tokens"),
        ({"max_tokens": 0}, "max_tokens: expected 1 or more", "max_tokens"),
        ({"max_tokens": "9"}, "max_tokens: expected a whole number, got '9'", "max_tokens"),
        ({"messages": []}, "messages: expected at least 1 item", "messages"),
        ({"messages": "Hello"}, "messages: expected a list, got 'Hello'", "messages"),
        ({"messages": ["Hello"]}, "messages[0]: expected an object, got text", "messages[0]"),
        ({"messages": [{"role": "user"}]}, "messages[0]: 'content' is missing", "messages[0].content"),
        ({"messages": [{"role": "user", "content": 5}]}, "messages[0]: content: expected text, or a list of blocks, got an integer", "messages[0].content"),
        ({"messages": [{"role": "usr", "content": ""}]}, "messages[0]: there is no role 'usr'; did you mean 'user'?", "messages[0].role"),
        ({"messages": [user(5)]}, "messages[0].content[0]: expected a block", "messages[0].content[0]"),
        ({"messages": [user({"text": "x"})]}, "messages[0].content[0]: 'type' is missing", "messages[0].content[0].type"),
        ({"messages": [user(text("x"), {"type": "text"})]}, "messages[0].content[1]: 'text' is missing", "messages[0].content[1].text"),
        ({"messages": [user(CALL)]}, "messages[0].content[0]: a message of the user can't hold a block of type 'tool_use'", "messages[0].content[0].type"),
        ({"messages": [*HELLO, assistant({"type": "server_tool_use"})]}, "can't hold a block of type 'server_tool_use' here", "messages[1].content[0].type"),
        ({"messages": [*HELLO, user({**RESULT, "content": "wet"})]}, "messages[1].content[0]: there is no tool_use 'toolu_1' before this result", "messages[1].content[0].tool_use_id"),
        ({"messages": [*HELLO, assistant({**CALL, "input": "x"})]}, "messages[1].content[0]: input: expected", "messages[1].content[0].input"),
        ({"messages": [user({"type": "image", "source": {"type": "file", "file_id": "f"}})]}, "messages[0].content[0].source: no files are kept here", "messages[0].content[0].source.type"),
        ({"messages": [user({"type": "image", "source": {"type": "base64"}})]}, "messages[0].content[0].source.data: it is missing", "messages[0].content[0].source.data"),
        ({"messages": [user({"type": "document", "source": {"type": "url"}})]}, "messages[0].content[0].source.url: it is missing", "messages[0].content[0].source.url"),
        ({"system": 5}, "system: expected text, or a list of blocks, got an integer", "system"),
        ({"system": [{"type": "image", "source": PNG}]}, "system[0]: a message of the system can't hold a block of type 'image'", "system[0].type"),
        ({"stream": "yes"}, "stream: expected true or false, got 'yes'", "stream"),
        ({"temperature": 1.5}, "temperature: expected at most 1", "temperature"),
        ({"top_p": 1.1}, "top_p: expected at most 1, got 1.1", "top_p"),
        ({"top_k": 1.5}, "top_k: expected a whole number", "top_k"),
        ({"stop_sequences": "###"}, "stop_sequences: expected a list, got '###'", "stop_sequences"),
        ({"stop_sequences": [""]}, "stop_sequences[0]: expected text that isn't empty", "stop_sequences[0]"),
        ({"tools": [5]}, "tools[0]: expected an object, got an integer", "tools[0]"),
        ({"tools": [TOOL, {"name": "x"}]}, "tools[1]: 'input_schema' is missing", "tools[1].input_schema"),
        ({"tools": [{"type": "web_search_20250305", "name": "web_search"}]}, "tools[0]: 'web_search_20250305' is a tool that Anthropic defines", "tools[0].type"),
        ({"tool_choice": {"type": "required"}}, "tool_choice.type: expected one of 'auto', 'any', 'tool' or 'none', got 'required'", "tool_choice.type"),
        ({"tool_choice": {"type": "tool"}}, "tool_choice.name is missing", "tool_choice.name"),
        ({"tool_choice": {"type": "any", "disable_parallel_tool_use": 1}}, "tool_choice.disable_parallel_tool_use: expected true or false", "tool_choice.disable_parallel_tool_use"),
        ({"thinking": {"type": "on"}}, "thinking.type: expected one of 'enabled', 'adaptive' or 'disabled'", "thinking.type"),
        ({"thinking": {}}, "thinking.type is missing", "thinking.type"),
        ({"thinking": {"type": "enabled", "display": "full"}}, "thinking.display: expected one of", "thinking.display"),
        ({"output_config": {"effort": "hi"}}, "output_config.effort: expected one of", "output_config.effort"),
        ({"output_config": {"format": {"type": "json"}}}, "output_config.format.type: expected one of 'json_schema'", "output_config.format.type"),
        ({"metadata": {"input": "x"}}, "metadata.input: expected an object of fields", "metadata.input"),
        ({"input": "x"}, "input: expected", "input"),
    ],
)  # fmt: skip
def test_what_is_wrong_is_named_by_its_place(fields: Any, message: str, field: str) -> None:
    said, named = refusal(**fields)
    assert message in said
    assert named == field


@pytest.mark.parametrize("body", [b"", b"{", b"[]", b'{"model": "\xff"}'])
def test_a_body_that_is_no_json_object_is_refused(body: bytes) -> None:
    with pytest.raises(BadRequest):
        decode(body)


def named(fate: type) -> list[str]:
    return [name for name, each in fates(MessagesBody).items() if isinstance(each, fate)]


@pytest.mark.parametrize("name", named(Refused))
def test_a_model_refuses_by_name_what_it_cant_do(name: str) -> None:
    with pytest.raises(InvalidInput, match=rf"^{name}: .*; leave it out"):
        asking(**{name: {"x": 1}}).check_for_component()
    asking(**{name: None}).check_for_component()


def test_a_model_takes_what_is_known() -> None:
    asking(**dict.fromkeys(named(Unread), "x"), metadata={"user_id": "u1"}).check_for_component()
    asking(tool_choice={"type": "auto", "disable_parallel_tool_use": True}).check_for_component()


@pytest.mark.parametrize("name", named(Honoured))
def test_the_example_of_a_parameter_is_one(name: str) -> None:
    fate = fates(MessagesBody)[name]
    if fate.example is not None:
        asking(**{name: fate.example})


def test_a_model_says_what_was_probably_meant() -> None:
    with pytest.raises(InvalidInput, match=r"unknown parameter 'stop_sequence'; did you mean 'stop_sequences'\?"):
        asking(stop_sequence=["x"]).check_for_component()


def test_a_model_doesnt_continue_what_was_begun_for_it() -> None:
    with pytest.raises(InvalidInput, match=r"^messages: the last message is the assistant's"):
        asking(messages=[*HELLO, assistant(text("The"))]).check_for_component()


def test_each_message_knows_its_place_in_the_request() -> None:
    turns = [*HELLO, assistant(CALL), user({**RESULT, "content": "wet"}, text("And now?"))]
    places = asking(system="Be brief.", messages=turns).places
    assert places == ["system", "messages[0]", "messages[1]", "messages[2].content[0]", "messages[2]"]
