"""The bodies of requests to `/llm`: checked, and made a Conversation."""

from __future__ import annotations

from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from deployments.asgi.json_values import parse_object, validated
from deployments.conversations.request import Conversation, Sampling, check_turns
from deployments.store.rows import OnBusy
from deployments.transports.leaving import Leaving
from graphs.errors import InvalidInput
from graphs.language import kind_of

DEFAULT = "default"
"""What clients call the model that the document answers with."""
OF_HISTORY = frozenset({"run_id", "state", "at"})
"""What the history says of a message, beside what was said; it may come back with it."""
OWN = frozenset(
    {"messages", "message", "tools", "tool_choice", "model", "input", "on_busy", "on_disconnect", "progress"}
)
"""Fields that a workflow doesn't read as they are."""


class Message(BaseModel):
    """What somebody said."""

    model_config = ConfigDict(extra="forbid", strict=True)

    role: Literal["system", "developer", "user", "assistant", "tool"]
    content: Any = None
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None
    reasoning_content: str | None = None
    refusal: str | None = None


def _as_said(value: Any) -> Any:
    """Take a message of the history as what was said."""
    if not isinstance(value, dict):
        return value
    fields = {key: each for key, each in cast("dict[str, Any]", value).items() if key not in OF_HISTORY}
    if fields.get("content") is None and not fields.get("tool_calls"):
        raise ValueError("expected a message with a role and a content; write {role: user, content: …}")
    return fields


Said = Annotated[Message, BeforeValidator(_as_said, json_schema_input_type=Message)]


def _as_messages(value: Any) -> Any:
    """Take a text as what the user says, and one message as a list of it."""
    match value:
        case str() if not value.strip():
            raise ValueError("it is empty; write what the user says")
        case str():
            return [{"role": "user", "content": value}]
        case dict():
            return [value]
        case list() if value:
            return value
        case _:
            raise ValueError(f"expected a text, a message or a list of messages, got {kind_of(value)}")


class Asking(BaseModel):
    """How to answer."""

    model_config = ConfigDict(extra="forbid", strict=True)

    temperature: float | None = Field(default=None, ge=0, le=2, description="0 takes the likeliest token every time")
    top_p: float | None = Field(default=None, gt=0, le=1)
    max_tokens: int | None = Field(default=None, ge=1)
    model: str = Field(default=DEFAULT, description="a workflow or a model, as /v1/models lists them")
    tools: list[dict[str, Any]] | None = Field(default=None, description="functions that the model may call")
    tool_choice: str | dict[str, Any] | None = None
    input: dict[str, Any] | None = Field(default=None, description="goes into the input of a workflow as it is")
    progress: bool = Field(default=False, description="tell in a stream how far the answer is")


class ChatRequest(Asking):
    """A conversation to be answered."""

    messages: list[Said] = Field(min_length=1)


class SessionRequest(Asking):
    """A message in a session."""

    session_id: str | None = Field(default=None, description="chosen by the client; without it a new session begins")
    message: Annotated[
        list[Said], BeforeValidator(_as_messages, json_schema_input_type=str | Message | list[Message])
    ] = Field(description="what the user says; or the results of tools that the last answer called")
    system_prompt: str | None = Field(default=None, description="from this message on; without it the one before stays")
    on_busy: OnBusy = Field(
        default="enqueue",
        description="while the session is answering another message: `enqueue` waits for that, `reject` answers 409, "
        "`interrupt` stops the other",
    )
    on_disconnect: Leaving = None


def chat(body: bytes, *, stream: bool) -> tuple[ChatRequest, Conversation]:
    """Return what a body asks for."""
    fields = parse_object(body)
    request = validated(ChatRequest, fields)
    conversation = _conversation(request, request.messages, fields, stream=stream)
    check_turns(conversation.messages)
    return request, conversation


def turn(body: bytes, *, stream: bool) -> tuple[SessionRequest, Conversation]:
    """Return what a body asks for in a session."""
    fields = parse_object(body)
    request = validated(SessionRequest, fields)
    for index, message in enumerate(request.message):
        if message.role not in ("user", "tool"):
            raise InvalidInput(
                f"message[{index}].role: expected user or tool, got '{message.role}'; the session remembers the answers, and "
                "system_prompt says what the system does",
                field=f"message[{index}].role",
            )
    return request, _conversation(request, request.message, fields, stream=stream)


def _conversation(asking: Asking, messages: list[Message], fields: dict[str, Any], *, stream: bool) -> Conversation:
    return Conversation(
        use="chat",
        model=None if asking.model == DEFAULT else asking.model,
        stream=stream,
        messages=[message.model_dump(exclude_none=True) for message in messages],
        tools=asking.tools or [],
        tool_choice=asking.tool_choice if asking.tools else None,
        sampling=Sampling(temperature=asking.temperature, top_p=asking.top_p, max_tokens=asking.max_tokens),
        fields={name: value for name, value in fields.items() if name not in OWN},
        extra=asking.input or {},
    )
