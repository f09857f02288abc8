"""The body of a request to `/v1/messages` -> the Conversation that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Literal, NamedTuple

from deployments.asgi.json_values import parse_object
from deployments.conversations.parameters import check_for_component, decoded
from deployments.conversations.request import Conversation, Sampling, for_workflows
from deployments.transports.anthropic.parameters import MessagesBody, PromptBody, Thinking, Tool, ToolChoice
from deployments.transports.anthropic.turns import checked, messages_of, system_message
from graphs.component import Use
from graphs.errors import InvalidInput

Shown = Literal["text", "place"]
"""What an answer has of the reasoning: its text, or only the place where it stood."""
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
"""Anthropic's choices of a tool -> OpenAI's."""
EFFORTS = {"xhigh": "high", "max": "high"}
"""Levels of `effort` that few chat templates know."""


class Asking(NamedTuple):
    """What a request asks for."""

    conversation: Conversation
    shown: Shown | None
    """None: reasoning isn't part of the answer."""
    places: Sequence[str]
    """Where in the request each message of the conversation stands."""
    body: type[PromptBody]
    said: Mapping[str, Any]

    def check_for_component(self) -> None:
        """Refuse what no model component can do."""
        check_for_component(self.body, self.said)
        if self.conversation.messages[-1]["role"] == "assistant":
            raise InvalidInput(
                "messages: the last message is the assistant's, and models here don't continue what was begun for them; end "
                "with a message of the user, and ask there for the form of the answer, or set output_config.format",
                field="messages",
            )


def decode(body: bytes) -> Asking:
    """Return what a request for an answer asks for."""
    said = parse_object(body)
    asked = decoded(MessagesBody, said)
    sampling = Sampling(
        max_tokens=asked.max_tokens,
        temperature=asked.temperature,
        top_p=asked.top_p,
        top_k=asked.top_k,
        stop=tuple(asked.stop_sequences or ()),
    )
    return _asking("chat", asked, said, sampling, stream=bool(asked.stream))


def decode_count(body: bytes) -> Asking:
    """Return the conversation whose tokens a request asks to count."""
    said = parse_object(body)
    return _asking("count", decoded(PromptBody, said), said, Sampling())


def _asking(use: Use, body: PromptBody, said: Mapping[str, Any], sampling: Sampling, *, stream: bool = False) -> Asking:
    placed = [*system_message(body.system), *messages_of(body.messages)]
    alone = body.tool_choice is not None and bool(body.tool_choice.disable_parallel_tool_use)
    fields, extra = for_workflows(said)
    if alone:
        fields["parallel_tool_calls"] = False
    if body.metadata is not None and body.metadata.user_id is not None:
        fields["user"] = body.metadata.user_id
    thinking = body.thinking
    effort = None if body.output_config is None else body.output_config.effort
    conversation = Conversation(
        use=use,
        model=body.model,
        stream=stream,
        messages=[message for message, _ in placed],
        tools=list(_tools(body.tools or [])),
        tool_choice=_tool_choice(body.tool_choice),
        parallel_tool_calls=not alone,
        response_format=_response_format(body),
        sampling=sampling,
        chat_template_kwargs=None if thinking is None else {"enable_thinking": thinking.type != "disabled"},
        reasoning_effort=None if effort is None else EFFORTS.get(effort, effort),
        fields=fields,
        extra=extra,
    )
    return Asking(conversation, _shown(thinking), [place for _, place in placed], type(body), said)


def _shown(thinking: Thinking | None) -> Shown | None:
    if thinking is None or thinking.type == "disabled":
        return None
    return "place" if thinking.display == "omitted" else "text"


def _response_format(body: PromptBody) -> dict[str, Any] | None:
    format = body.output_format if body.output_config is None else body.output_config.format or body.output_format
    if format is None:
        return None
    return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": format.json_schema}}


def _tools(tools: list[Any]) -> Iterator[dict[str, Any]]:
    for index, tool in enumerate(tools):
        match tool:
            case {"type": str(kind)} if kind != "custom":
                raise InvalidInput(
                    f"tools[{index}]: '{kind}' is a tool that Anthropic defines, and there is none here; write one of your own: "
                    "{name, description, input_schema}",
                    field=f"tools[{index}].type",
                )
            case _:
                said = checked(Tool, tool, f"tools[{index}]")
        function: dict[str, Any] = {"name": said.name, "parameters": said.input_schema}
        function |= {} if said.description is None else {"description": said.description}
        function |= {} if said.strict is None else {"strict": said.strict}
        yield {"type": "function", "function": function}


def _tool_choice(choice: ToolChoice | None) -> Any:
    if choice is None:
        return None
    if choice.type != "tool":
        return CHOICES[choice.type]
    if choice.name is None:
        raise InvalidInput("tool_choice.name is missing; write the name of a tool", field="tool_choice.name")
    return {"type": "function", "function": {"name": choice.name}}
