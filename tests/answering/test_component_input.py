"""An action's input template and what a job sends -> the component's Input, or what to send instead."""

from typing import Any, Literal

import pytest
from pydantic import BaseModel, Field

from deployments.answering.component_input import ComponentInput
from graphs.component import ActionInput, Stream, Streamable
from graphs.errors import InvalidInput, UpstreamFailed
from graphs.language import parse
from graphs.language.nodes import Constant, MappingTemplate, Template
from graphs.plan import ActionPlan


class Turn(BaseModel):
    role: str
    content: Any


class Chat(ActionInput):
    text: Streamable[str]
    prompt: str = "none"
    turns: list[Turn] = Field(default_factory=list)
    temperature: float = Field(default=0.7, ge=0, le=2)
    limit: int | None = 5
    mode: Literal["fast", "slow"] = "fast"


async def given(sent: Any, **templates: Template | str) -> Chat:
    fields = {"text": Constant("t"), **templates}
    items = tuple((name, parse(field) if isinstance(field, str) else field) for name, field in fields.items())
    names = {"input": sent, "run": {"id": "r"}, "session": {"id": None}}
    return await ComponentInput(ActionPlan("go", MappingTemplate(items), None), Chat, "chat").render(names)


def stream(*chunks: Any) -> Stream:
    async def batches():
        yield list(chunks)

    return Stream(batches())


async def refused(sent: Any, **templates: Template | str) -> InvalidInput:
    with pytest.raises(InvalidInput) as caught:
        await given(sent, **templates)
    return caught.value


async def test_bindings_are_evaluated_and_validated():
    chat = await given({"p": "hi", "t": "1.5"}, prompt="${input.p} in ${run.id}", temperature="${input.t as number}")
    assert (chat.prompt, chat.temperature) == ("hi in r", 1.5)


async def test_a_stream_stays_one_where_the_field_takes_one_and_is_joined_elsewhere():
    flowing = stream("a", "b")
    chat = await given({"s": flowing, "p": stream("c", "d")}, text="${input.s}", prompt="${input.p}")
    assert chat.text is flowing
    assert chat.prompt == "cd"


async def test_a_stream_inside_a_value_is_joined():
    turns = [{"role": "user", "content": stream("a", "b")}]
    assert (await given({"turns": turns}, turns="${input.turns}")).turns == [Turn(role="user", content="ab")]


async def test_a_stream_that_fails_while_it_is_joined_is_the_error():
    async def batches():
        yield ["a"]
        raise UpstreamFailed("dry")

    with pytest.raises(UpstreamFailed, match="dry"):
        await given({"p": Stream(batches())}, prompt="${input.p}")


async def test_a_null_for_a_field_with_a_default_is_the_default():
    chat = await given({}, prompt="${input.p}", temperature="${input.t as number}")
    assert (chat.prompt, chat.temperature) == ("none", 0.7)


async def test_a_null_is_kept_where_the_field_takes_one():
    assert (await given({}, limit="${input.limit}")).limit is None


async def test_what_is_missing_is_named_as_the_caller_must_send_it():
    error = await refused({"promt": "hi"}, text="${input.prompt as text}")
    assert error.message == (
        "input.prompt is missing; component 'chat' needs it as 'text' (expected text); did you send it as 'promt'?"
    )
    assert error.details["field"] == "prompt"


async def test_nothing_near_is_no_suggestion():
    error = await refused({"question": "hi"}, text="${input.prompt}")
    assert error.message == "input.prompt is missing; component 'chat' needs it as 'text' (expected text)"


async def test_a_value_of_the_wrong_kind_says_what_came():
    error = await refused({"t": [1]}, temperature="${input.t}")
    assert error.message == "input.t: expected a number, got a list; component 'chat' takes it as 'temperature'"
    assert error.details == {"field": "t", "component": "chat"}


async def test_a_value_that_no_input_gave_is_named_by_its_field():
    error = await refused({}, temperature=Constant(9))
    assert error.message == "field 'temperature': expected at most 2, got an integer; component 'chat' takes it"
    assert error.details["field"] == "temperature"


async def test_a_place_inside_a_value_is_shown():
    error = await refused({"turns": [{"role": "user", "content": ""}, {"content": ""}]}, turns="${input.turns}")
    assert error.message.startswith("input.turns[1].role is missing")
    assert error.details["field"] == "turns[1].role"


async def test_every_wrong_field_is_told():
    error = await refused({"t": "x", "m": "medium"}, temperature="${input.t}", mode="${input.m}")
    assert "input.t: expected a number, got text" in error.message
    assert "input.m: expected one of 'fast' or 'slow', got text" in error.message


async def test_an_input_that_is_no_mapping_says_which_fields_there_are():
    action = ActionPlan("go", parse("${input}"), None)
    with pytest.raises(InvalidInput, match="to be a mapping, got text; send its fields: text, prompt, turns"):
        await ComponentInput(action, Chat, "chat").render({"input": "hi"})
