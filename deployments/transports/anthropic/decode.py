"""The body of a request to `/v1/messages` -> the Conversation that it asks for."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import BaseModel, ConfigDict, Field

from deployments.asgi.json_values import parse_object, validated
from deployments.conversations.request import Conversation, Sampling
from deployments.transports.anthropic.parameters import check_fields
from deployments.transports.anthropic.turns import TextOrBlocks, messages_of, system_message
from graphs.component import Use
from graphs.errors import InvalidInput
from graphs.language import kind_of
from graphs.suggest import did_you_mean

Thinking = Literal["shown", "omitted"]
"""Whether the answer has the text of the reasoning, or only says where it stood."""
CHOICES = {"auto": "auto", "any": "required", "none": "none"}
EFFORTS = {"low": "low", "medium": "medium", "high": "high", "xhigh": "high", "max": "high"}
"""What chat templates know of `effort`."""
THINKS = {"enabled": True, "adaptive": True, "disabled": False}


class Asking(NamedTuple):
    """What a request asks for."""

    conversation: Conversation
    thinking: Thinking | None
    """None: reasoning isn't part of the answer."""
    places: Sequence[str]
    """Where in the request each message of the conversation stands."""


class _Fields(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)

    model: str | None = None
    messages: Annotated[list[Any], Field(min_length=1)]
    max_tokens: Annotated[int, Field(ge=1)] | None = None
    system: TextOrBlocks | None = None
    stream: bool | None = None
    temperature: Annotated[float, Field(ge=0, le=1)] | None = None
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0)] | None = None
    stop_sequences: list[Annotated[str, Field(min_length=1)]] | None = None
    tools: list[Any] | None = None
    tool_choice: dict[str, Any] | None = None
    thinking: dict[str, Any] | None = None
    output_config: dict[str, Any] | None = None
    output_format: dict[str, Any] | None = None
    metadata: dict[str, Any] | None = None
    input: dict[str, Any] | None = None


class _Tool(BaseModel):
    model_config = ConfigDict(extra="ignore", strict=True, defer_build=True)

    name: str
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None


def decode(body: bytes, use: Use = "chat") -> Asking:
    """Return what a request asks for: an answer, or with `use="count"` how long its prompt is."""
    fields = parse_object(body)
    said = validated(_Fields, fields)
    if use == "chat" and said.max_tokens is None:
        raise InvalidInput("'max_tokens' is missing; write how many tokens the answer may have", field="max_tokens")
    thinks, thinking = _thinking(said.thinking)
    choice, parallel = _tool_choice(said.tool_choice)
    metadata = said.metadata or {}
    more: dict[str, Any] = {} if parallel else {"parallel_tool_calls": False}
    if (user := metadata.get("user_id")) is not None:
        more["user"] = user
    placed = [*system_message(said.system), *messages_of(said.messages)]
    conversation = Conversation(
        use=use,
        model=said.model,
        stream=bool(said.stream),
        messages=[message for message, _ in placed],
        tools=list(_tools(said.tools or [])),
        tool_choice=choice,
        parallel_tool_calls=parallel,
        response_format=_response_format(said),
        sampling=Sampling(
            max_tokens=said.max_tokens,
            temperature=said.temperature,
            top_p=said.top_p,
            top_k=said.top_k,
            stop=tuple(said.stop_sequences or ()),
        ),
        chat_template_kwargs=_template_kwargs(thinks, said.output_config or {}),
        fields={**fields, **more},
        extra={**_input_of(metadata), **(said.input or {})},
    )
    return Asking(conversation, thinking, [place for _, place in placed])


def check_for_component(conversation: Conversation) -> None:
    """Refuse what a request asks of a model component that none can do."""
    check_fields(conversation.fields)
    if conversation.messages[-1]["role"] == "assistant":
        raise InvalidInput(
            "messages: the last message is the assistant's, and models here don't continue what was begun for them; end with a "
            "message of the user, and ask there for the form of the answer, or set output_config.format",
            field="messages",
        )


def _thinking(thinking: Mapping[str, Any] | None) -> tuple[bool | None, Thinking | None]:
    """Return whether the model shall think, and what the answer shows of it."""
    if thinking is None:
        return None, None
    thinks = THINKS[_known(thinking.get("type"), THINKS, "thinking.type")]
    display = thinking.get("display")
    if display is not None:
        _known(display, ("summarized", "omitted"), "thinking.display")
    return thinks, None if not thinks else "omitted" if display == "omitted" else "shown"


def _template_kwargs(thinks: bool | None, output: Mapping[str, Any]) -> dict[str, Any] | None:
    told: dict[str, Any] = {} if thinks is None else {"enable_thinking": thinks}
    if (effort := output.get("effort")) is not None:
        told["reasoning_effort"] = EFFORTS[_known(effort, EFFORTS, "output_config.effort")]
    return told or None


def _response_format(said: _Fields) -> dict[str, Any] | None:
    named = {"output_config.format": (said.output_config or {}).get("format"), "output_format": said.output_format}
    for where, format in named.items():
        match format:
            case None:
                continue
            case {"type": "json_schema", "schema": dict(schema)}:
                return {"type": "json_schema", "json_schema": {"name": "answer", "strict": True, "schema": schema}}
            case _:
                raise InvalidInput(f"{where}: expected {{type: json_schema, schema: {{…}}}}", field=where)
    return None


def _tools(tools: list[Any]) -> Iterator[dict[str, Any]]:
    for index, tool in enumerate(tools):
        where = f"tools[{index}]"
        if not isinstance(tool, dict):
            raise InvalidInput(f"{where}: expected an object, got {kind_of(tool)}", field=where)
        kind: Any = tool.get("type")  # pyright: ignore[reportUnknownMemberType]
        if kind not in (None, "custom"):
            raise InvalidInput(
                f"{where}: '{kind}' is a tool that Anthropic defines, and there is none here; write one of your own: "
                "{name, description, input_schema}",
                field=f"{where}.type",
            )
        try:
            said = validated(_Tool, tool)  # pyright: ignore[reportUnknownArgumentType]
        except InvalidInput as wrong:
            raise InvalidInput(f"{where}: {wrong.message}", field=f"{where}.{wrong.details['field']}") from None
        function: dict[str, Any] = {"name": said.name, "parameters": said.input_schema}
        function |= {} if said.description is None else {"description": said.description}
        function |= {} if said.strict is None else {"strict": said.strict}
        yield {"type": "function", "function": function}


def _tool_choice(choice: Mapping[str, Any] | None) -> tuple[Any, bool]:
    """Return the choice as OpenAI writes it, and whether one answer may call several tools."""
    if choice is None:
        return None, True
    kind = _known(choice.get("type"), (*CHOICES, "tool"), "tool_choice.type")
    alone = choice.get("disable_parallel_tool_use")
    if alone is not None and not isinstance(alone, bool):
        where = "tool_choice.disable_parallel_tool_use"
        raise InvalidInput(f"{where}: expected true or false, got {kind_of(alone)}", field=where)
    if kind != "tool":
        return CHOICES[kind], not alone
    if not isinstance(name := choice.get("name"), str):
        raise InvalidInput("tool_choice.name: expected the name of a tool", field="tool_choice.name")
    return {"type": "function", "function": {"name": name}}, not alone


def _input_of(metadata: Mapping[str, Any]) -> Mapping[str, Any]:
    given = metadata.get("input")
    if given is None:
        return {}
    if not isinstance(given, dict):
        raise InvalidInput(f"metadata.input: expected an object, got {kind_of(given)}", field="metadata.input")
    return given  # pyright: ignore[reportUnknownVariableType]


def _known(word: Any, known: Mapping[str, Any] | tuple[str, ...], where: str) -> str:
    if isinstance(word, str) and word in known:
        return word
    listed = f"write one of {', '.join(known)}"
    if not isinstance(word, str):
        raise InvalidInput(f"{where}: {listed}", field=where)
    raise InvalidInput(f"{where}: there is no '{word}' here; {did_you_mean(word, known, listed)}", field=where)
