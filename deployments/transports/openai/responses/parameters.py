"""What `POST /v1/responses` may be asked, and what becomes of each parameter."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from deployments.conversations.parameters import Honoured, Refused, Unread, Whole, shown
from deployments.transports.openai.parameters import Named
from deployments.transports.openai.responses.items import INPUT, checked
from graphs.errors import InvalidInput

TOOL = '{"type": "function", "name": "look_up", "parameters": {…}}'
CHOICES = ("none", "auto", "required")
LOGPROBS = "message.output_text.logprobs"
MOST_METADATA, LONGEST_KEY, LONGEST_VALUE = 16, 64, 512

Includable = Literal[
    "file_search_call.results", "web_search_call.results", "web_search_call.action.sources", "message.input_image.image_url",
    "computer_call_output.output.image_url", "code_interpreter_call.outputs", "reasoning.encrypted_content",
    "message.output_text.logprobs",
]  # fmt: skip


class _Part(BaseModel):
    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)


class StreamOptions(_Part):
    """How a stream is written."""

    include_obfuscation: bool | None = Field(default=None, description="no effect: events are never padded")


class Reasoning(_Part):
    """How the model thinks, and what is told of it."""

    effort: Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None = None
    summary: Literal["auto", "concise", "detailed"] | None = Field(
        default=None, description="no effect: what the model thinks is told as it is"
    )
    generate_summary: Literal["auto", "concise", "detailed"] | None = None


class Text(_Part):
    """How the answer is written."""

    format: dict[str, Any] | None = None
    verbosity: Literal["low", "medium", "high"] | None = None


def _tools(said: Any) -> Any:
    """Return the tools in full."""
    return None if said is None else [_tool(tool, f"tools[{index}]") for index, tool in enumerate(said)]


def _tool(tool: Mapping[str, Any], place: str) -> dict[str, Any]:
    type, name = tool.get("type"), tool.get("name")
    if type != "function":
        kind = f"tools of the type {shown(type)} are run by OpenAI itself, or are its own" if type else "it has no type"
        raise InvalidInput(f"{place}: {kind}; this server calls functions, as {TOOL}", field=f"{place}.type")
    if not isinstance(name, str) or not name:
        raise InvalidInput(f"{place}.name: expected text, got {shown(name)}; write {TOOL}", field=f"{place}.name")
    for key, good in (("description", str), ("parameters", dict), ("strict", bool)):
        if not isinstance(tool.get(key), good | None):
            raise InvalidInput(f"{place}.{key}: got {shown(tool[key])}; write {TOOL}", field=f"{place}.{key}")
    told = {key: tool.get(key) for key in ("description", "parameters", "strict")}
    return {"type": "function", "name": name, **told}


def _choice(said: Any) -> Any:
    match said:
        case None | "none" | "auto" | "required":
            return said
        case {"type": "function", "name": str()}:
            return {"type": "function", "name": said["name"]}
        case {"type": "allowed_tools", "mode": "auto" | "required", "tools": [*tools]} if all(map(_is_named, tools)):
            named = [{"type": "function", "name": tool["name"]} for tool in tools]
            return {"type": "allowed_tools", "mode": said["mode"], "tools": named}
        case _:
            raise ValueError(
                f"expected {', '.join(CHOICES)}, a function or allowed_tools with functions alone, got {shown(said)}; "
                'write {"type": "function", "name": "look_up"}'
            )


def _is_named(tool: Any) -> bool:
    return isinstance(tool, dict) and tool.get("type") == "function" and isinstance(tool.get("name"), str)


def _format(text: Text | None) -> Text | None:
    match None if text is None else text.format:
        case None | {"type": "text" | "json_object"} | {"type": "json_schema", "name": str(), "schema": dict()}:
            return text
        case said:
            raise InvalidInput(
                f"text.format: expected text, json_object or json_schema, got {shown(cast('Any', said).get('type'))}; write "
                '{"type": "json_schema", "name": "answer", "schema": {…}}',
                field="text.format",
            )


def _metadata(said: dict[str, Any] | None) -> dict[str, Any] | None:
    if said is None:
        return None
    if len(said) > MOST_METADATA:
        raise ValueError(f"expected at most {MOST_METADATA} keys, got {len(said)}")
    for key, value in said.items():
        if len(key) > LONGEST_KEY:
            raise ValueError(f"expected keys of at most {LONGEST_KEY} characters, got one of {len(key)}")
        if key == "input":
            continue
        if not isinstance(value, str):
            raise ValueError(f'the value of "{key}": expected text, got {shown(value)}')
        if len(value) > LONGEST_VALUE:
            raise ValueError(f'the value of "{key}": expected at most {LONGEST_VALUE} characters, got {len(value)}')
    return said


Tokens = Annotated[Whole, Field(ge=1)]


class ResponseBody(Named):
    """A request of `POST /v1/responses`."""

    input: Annotated[
        Any, AfterValidator(checked), WithJsonSchema(INPUT),
        Honoured("a text, or a list of messages, function_call, function_call_output, reasoning and item_reference", "Hello", True),
    ] = None  # fmt: skip
    instructions: Annotated[
        str | None, Honoured("a system message before all others; the next response has its own", "Be brief.", True)
    ] = None
    previous_response_id: Annotated[
        str | None, Honoured("what was said up to that stored response comes before the input", everywhere=True)
    ] = None
    store: Annotated[
        bool | None,
        Honoured("false: the response can't be asked for again; else it is kept for as long as runs are", False, True),
    ] = None
    background: Annotated[
        bool | None, Honoured("the answer comes at once; the response goes on until it ends or is stopped", True, True)
    ] = None
    stream: Annotated[bool | None, Honoured("events as they come, as server-sent events", True, True)] = None
    stream_options: Annotated[StreamOptions | None, Unread("events are never padded")] = None
    metadata: Annotated[
        dict[str, Any] | None, AfterValidator(_metadata),
        Honoured("comes back with the response; its `input`, an object or that as JSON text, goes into the input of a workflow"),
    ] = None  # fmt: skip
    max_output_tokens: Annotated[Tokens | None, Honoured("a workflow reads it as `input.max_tokens`, too", 256)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2), Honoured("0 takes the likeliest token every time", 0.7)] = (
        None
    )
    top_p: Annotated[float | None, Field(ge=0, le=1), Honoured("", 0.9)] = None
    tools: Annotated[
        list[dict[str, Any]] | None,
        AfterValidator(_tools),
        Honoured("functions, and no others; a workflow reads them as chat completions write them"),
    ] = None
    tool_choice: Annotated[
        Any, AfterValidator(_choice), WithJsonSchema({"type": ["string", "object", "null"]}),
        Honoured("`none`, `auto`, `required`, a function by its name, or `allowed_tools`", "auto"),
    ] = None  # fmt: skip
    parallel_tool_calls: Annotated[bool | None, Honoured("false: only the first call comes back", False, True)] = None
    max_tool_calls: Annotated[
        Tokens | None, Unread("it counts calls of tools that OpenAI runs itself, of which there are none here")
    ] = None
    text: Annotated[
        Text | None, AfterValidator(_format),
        Honoured(
            "`format`: text, json_object or json_schema, which a workflow reads as `input.response_format`; a model refuses a "
            "`verbosity` other than medium",
            everywhere=True,
        ),
    ] = None  # fmt: skip
    reasoning: Annotated[
        Reasoning | None,
        Honoured(
            "`effort` is told to the chat template, and to a workflow as `input.reasoning_effort`, too; `summary` has no effect, "
            "for the reasoning itself is told"
        ),
    ] = None
    include: Annotated[
        list[Includable] | None,
        Honoured(f"`{LOGPROBS}`; the others have no effect: what they ask for is never there", [LOGPROBS]),
    ] = None
    top_logprobs: Annotated[
        Annotated[Whole, Field(ge=0, le=20)] | None, Honoured("each token, and so many of the likeliest", 5)
    ] = None
    truncation: Annotated[
        Literal["auto", "disabled"] | None,
        Honoured(
            "auto: the oldest turns are left out of a conversation that is too long; else that is an error", "auto"
        ),
    ] = None
    frequency_penalty: Annotated[
        float | None, Refused("the model can't be told to avoid what was said before", harmless=(0,))
    ] = None
    presence_penalty: Annotated[
        float | None, Refused("the model can't be told to avoid what was said before", harmless=(0,))
    ] = None
    conversation: Annotated[
        Any, Refused("there are no conversations; name the response before as `previous_response_id`", everywhere=True)
    ] = None
    prompt: Annotated[Any, Refused("there are no stored prompts; send `instructions` and `input`", everywhere=True)] = (
        None
    )
    context_management: Annotated[Any, Refused("conversations are never compacted", harmless=([],))] = None
    moderation: Annotated[Any, Refused("answers aren't moderated")] = None
    prompt_cache_key: Annotated[str | None, Unread()] = None
    prompt_cache_retention: Annotated[str | None, Unread()] = None
    prompt_cache_options: Annotated[
        Any, Refused("there is no cache that could be told what to keep", harmless=({},))
    ] = None
    service_tier: Annotated[str | None, Unread("there is one tier")] = None
    background_options: Annotated[Any, Refused("every response begins as soon as it can", harmless=({},))] = None
    access_programs: Annotated[Any, Unread()] = None
    image: Annotated[Any, Unread()] = None


def check_parts_for_model(body: ResponseBody) -> None:
    """Refuse what a model can't be asked inside its parameters."""
    if body.text is not None and body.text.verbosity not in (None, "medium"):
        message = "text.verbosity: no model here can be told so; say it in the instructions, and leave it out"
        raise InvalidInput(message, field="text.verbosity", code="unsupported_parameter")
