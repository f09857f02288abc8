"""The items of an input: checked, given ids, and as the messages that models read."""

from __future__ import annotations

from typing import Any

import pytest

from deployments.transports.openai.responses.items import check_calls, checked, messages_of, with_ids
from graphs.errors import InvalidInput

CALL = {"type": "function_call", "call_id": "c1", "name": "look_up", "arguments": '{"city": "Seoul"}'}
OUTPUT = {"type": "function_call_output", "call_id": "c1", "output": "4 °C"}
THOUGHT = {"type": "reasoning", "id": "rs_1", "summary": [], "content": [{"type": "reasoning_text", "text": "Hm."}]}
CALLED = {"id": "c1", "type": "function", "function": {"name": "look_up", "arguments": '{"city": "Seoul"}'}}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str, **more: Any) -> dict[str, Any]:
    return {"role": "assistant", "content": text, **more}


@pytest.mark.parametrize(
    ("input", "messages"),
    [
        ("Hello", [user("Hello")]),
        ([user("Hello")], [user("Hello")]),
        ([{**user("Hello"), "type": "message"}], [user("Hello")]),
        ([{"role": "developer", "content": "Be brief."}], [{"role": "developer", "content": "Be brief."}]),
        ([{"role": "user", "content": [{"type": "input_text", "text": "Hello"}]}], [user("Hello")]),
        (
            [{"role": "user", "content": [{"type": "input_text", "text": "What is"}, {"type": "input_image", "image_url": "data:x"}]}],
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "text", "text": "What is"},
                        {"type": "image_url", "image_url": {"url": "data:x", "detail": "auto"}},
                    ],
                }
            ],
        ),
        (
            [{"role": "user", "content": [{"type": "input_file", "file_data": "data:y", "filename": "a.pdf"}, {"type": "input_audio", "input_audio": {"data": "z", "format": "wav"}}]}],
            [
                {
                    "role": "user",
                    "content": [
                        {"type": "file", "file": {"filename": "a.pdf", "file_data": "data:y"}},
                        {"type": "input_audio", "input_audio": {"data": "z", "format": "wav"}},
                    ],
                }
            ],
        ),
        (
            [{"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Hi"}, {"type": "refusal", "refusal": "No"}]}],
            [assistant("HiNo")],
        ),
        ([assistant("a"), assistant("b")], [assistant("a"), assistant("b")]),
        ([CALL, OUTPUT], [assistant("", tool_calls=[CALLED]), {"role": "tool", "tool_call_id": "c1", "content": "4 °C"}]),
        (
            [CALL, {**OUTPUT, "output": [{"type": "input_text", "text": "cold"}]}],
            [assistant("", tool_calls=[CALLED]), {"role": "tool", "tool_call_id": "c1", "content": "cold"}],
        ),
        ([CALL, {**CALL, "call_id": "c2"}], [assistant("", tool_calls=[CALLED, {**CALLED, "id": "c2"}])]),
        ([THOUGHT, assistant("It is"), CALL], [assistant("It is", reasoning_content="Hm.", tool_calls=[CALLED])]),
        ([CALL, assistant("so")], [assistant("so", tool_calls=[CALLED])]),
        ([THOUGHT, CALL, THOUGHT, {**CALL, "call_id": "c2"}], [assistant("", reasoning_content="Hm.Hm.", tool_calls=[CALLED, {**CALLED, "id": "c2"}])]),
        ([assistant("a"), THOUGHT, assistant("b")], [assistant("a"), assistant("b", reasoning_content="Hm.")]),
        ([THOUGHT, user("Go on")], [assistant("", reasoning_content="Hm."), user("Go on")]),
        ([{"type": "reasoning", "summary": [{"type": "summary_text", "text": "S"}]}, assistant("a")], [assistant("a", reasoning_content="S")]),
        ([{"type": "reasoning", "summary": [], "encrypted_content": "…"}, assistant("a")], [assistant("a")]),
    ],
)  # fmt: skip
def test_an_input_is_the_messages_of_a_chat(input: Any, messages: list[dict[str, Any]]) -> None:
    assert [message for _, message in messages_of(checked(input))] == messages


def test_items_are_shown_in_full_each_with_the_clients_id_or_one_of_its_own() -> None:
    items = with_ids(checked([user("Hello"), {**assistant("Hi"), "id": "msg_9"}, CALL, OUTPUT]), "run_7")
    assert items == [
        {
            "type": "message", "status": "completed", "role": "user", "content": [{"type": "input_text", "text": "Hello"}],
            "id": "msg_7_in0",
        },
        {
            "id": "msg_9", "type": "message", "status": "completed", "role": "assistant",
            "content": [{"type": "output_text", "text": "Hi", "annotations": []}],
        },
        {**CALL, "status": "completed", "id": "fc_7_in2"},
        {**OUTPUT, "status": "completed", "id": "fco_7_in3"},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("input", "field", "said"),
    [
        (5, "input", "expected text or a list of items, got 5"),
        (["Hello"], "input[0]", "expected an object, got 'Hello'"),
        ([user("a"), {"content": "b"}], "input[1].type", "got nothing"),
        ([{"type": 5}], "input[0].type", "expected text, got 5"),
        ([{"type": "web_search_call", "id": "x"}], "input[0].type", "reads no items of the type 'web_search_call'"),
        ([{"role": "robot", "content": "a"}], "input[0].role", "expected one of user, assistant, system, developer, got 'robot'"),
        ([{"type": "message", "content": "a"}], "input[0].role", "got nothing"),
        ([{"role": "user"}], "input[0].content", "expected text or a list of parts"),
        ([{"role": "user", "content": [{"type": "text"}]}], "input[0].content[0].text", "expected text, got nothing"),
        ([{"role": "user", "content": ["a"]}], "input[0].content[0]", "expected an object, got 'a'"),
        ([{"role": "user", "content": [{"type": "x"}]}], "input[0].content[0].type", "input_image"),
        ([{"role": "user", "content": [{"type": "input_image", "file_id": "f"}]}], "input[0].content[0].file_id", "keeps no files"),
        ([{"role": "user", "content": [{"type": "input_file", "file_url": "u"}]}], "input[0].content[0].file_url", "as file_data"),
        ([{"role": "assistant", "content": [{"type": "input_image", "image_url": "u"}]}], "input[0].content[0].type", "the assistant says text"),
        ([{**CALL, "arguments": {}}], "input[0].arguments", "expected text, got a mapping"),
        ([{**CALL, "call_id": None}], "input[0].call_id", "expected text"),
        ([CALL, {**OUTPUT, "output": 4}], "input[1].output", "expected text or a list of parts, got 4"),
        ([{"type": "reasoning", "summary": "s"}], "input[0].summary", "expected a list"),
        ([{"type": "reasoning", "content": [{"type": "reasoning_text"}]}], "input[0].content[0].text", "expected text, got nothing"),
        ([{"type": "item_reference"}], "input[0].id", "expected text, got nothing"),
        ([{**user("a"), "id": 5}], "input[0].id", "expected text, got 5"),
    ],
)  # fmt: skip
def test_what_is_wrong_with_an_input_is_named(input: Any, field: str, said: str) -> None:
    with pytest.raises(InvalidInput) as caught:
        checked(input)
    assert caught.value.details["field"] == field
    assert caught.value.message.startswith(f"{field}: ") or field.endswith(".type")
    assert said in caught.value.message


def test_the_output_of_a_function_comes_after_its_call() -> None:
    check_calls([], checked([CALL, OUTPUT]))
    check_calls(checked([CALL]), checked([OUTPUT]))
    for items in ([user("a"), OUTPUT, CALL], [user("a"), {**OUTPUT, "call_id": "c2"}]):
        with pytest.raises(InvalidInput, match=r"input\[1\]: there is no call 'c\d' before this output") as caught:
            check_calls([], checked(items))
        assert caught.value.details["field"] == "input[1].call_id"
