"""What Anthropic's messages may be asked, and what becomes of each parameter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from deployments.conversations.parameters import Body, Honoured, Refused, Unread, Whole
from deployments.transports.anthropic.turns import TextOrBlocks

Anything = Any | None


class _Within(BaseModel):
    """An object within a request. Keys that say nothing here (`cache_control`, …) are passed over."""

    model_config = ConfigDict(strict=True, extra="ignore", frozen=True)


class Tool(_Within):
    name: str
    description: str | None = None
    input_schema: dict[str, Any]
    strict: bool | None = None


class ToolChoice(_Within):
    type: Literal["auto", "any", "tool", "none"]
    name: str | None = None
    disable_parallel_tool_use: bool | None = None


class Thinking(_Within):
    type: Literal["enabled", "adaptive", "disabled"]
    budget_tokens: Whole | None = None
    display: Literal["summarized", "omitted"] | None = None


class Format(_Within):
    type: Literal["json_schema"]
    json_schema: Annotated[dict[str, Any], Field(alias="schema")]


class OutputConfig(_Within):
    effort: Literal["low", "medium", "high", "xhigh", "max"] | None = None
    format: Format | None = None


class Metadata(_Within):
    user_id: str | None = None


class PromptBody(Body):
    """What counting tokens and answering have in common: all that the model reads."""

    model: Annotated[
        str | None,
        Honoured("a workflow, a model component, its model's name, or an alias; without it the default workflow", "chat", True),
    ] = None  # fmt: skip
    messages: Annotated[
        Annotated[list[Any], Field(min_length=1)],
        Honoured(
            "text, calls of tools and their results, thinking; images and documents where the model reads them",
            [{"role": "user", "content": "Hello"}],
        ),
    ]
    system: Annotated[TextOrBlocks | None, Honoured("", "Be brief.")] = None
    tools: Annotated[
        list[Any] | None, Honoured("tools of your own; those that Anthropic defines or runs are refused", [])
    ] = None
    tool_choice: Annotated[
        ToolChoice | None,
        Honoured("with `disable_parallel_tool_use`, the first of several calls is given", {"type": "auto"}),
    ] = None
    thinking: Annotated[
        Thinking | None,
        Honoured(
            "the chat template is told `enable_thinking`: true for `enabled` and `adaptive`, false for `disabled`; "
            "`budget_tokens` has no effect, for `max_tokens` alone ends what a model thinks",
            {"type": "adaptive"},
        ),
    ] = None
    output_config: Annotated[
        OutputConfig | None,
        Honoured(
            "`format`: the answer keeps to the schema; `effort`: the chat template is told `reasoning_effort`, `high` for "
            "`xhigh` and `max`",
            {"effort": "low"},
        ),
    ] = None
    output_format: Annotated[Format | None, Honoured("as `output_config.format`")] = None
    metadata: Annotated[
        Metadata | None,
        Honoured("workflows read `user_id` as `input.user`, and its `input` goes into theirs; no effect otherwise"),
    ] = None
    input: Annotated[
        dict[str, Any] | str | None, Honoured("ours: goes into a workflow's input as it is; refused for a model", {"topic": "rivers"}, True)
    ] = None  # fmt: skip

    cache_control: Annotated[Anything, Unread("nothing is billed by what was cached")] = None
    context_management: Annotated[
        Anything, Unread("nothing is taken out of the conversation; one that is too long is refused")
    ] = None
    speed: Annotated[Anything, Unread("there is one")] = None
    user_profile_id: Annotated[Anything, Unread("it names a profile at Anthropic")] = None

    mcp_servers: Annotated[
        Anything, Refused("the server calls no tools; call them yourself, and send their results", harmless=([],))
    ] = None
    thread: Annotated[Anything, Refused("no threads are kept; send the whole conversation")] = None


class MessagesBody(PromptBody):
    """A request for an answer."""

    max_tokens: Annotated[Annotated[Whole, Field(ge=1)], Honoured("required", 1024)]
    stream: Annotated[bool | None, Honoured("events as they come, as server-sent events", True, True)] = None
    temperature: Annotated[
        Annotated[float, Field(ge=0, le=1)] | None, Honoured("0 takes the likeliest token every time", 0.7)
    ] = None
    top_p: Annotated[Annotated[float, Field(ge=0, le=1)] | None, Honoured("", 0.9)] = None
    top_k: Annotated[
        Annotated[Whole, Field(ge=0, le=2**31 - 1)] | None, Honoured("0 considers every token", 40)
    ] = None  # fmt: skip
    stop_sequences: Annotated[
        list[Annotated[str, Field(min_length=1)]] | None,
        Honoured("the answer's `stop_sequence` names the one that ended it, where the model's component notes it", ["###"]),
    ] = None  # fmt: skip

    billing_policy: Annotated[Anything, Unread("nothing is billed")] = None
    diagnostics: Annotated[Anything, Unread("they are about Anthropic's cache")] = None
    inference_geo: Annotated[Anything, Unread("the model runs where its server does")] = None
    service_tier: Annotated[Anything, Unread("there is one")] = None

    compaction: Annotated[Anything, Refused("nothing is summarized here; shorten the conversation yourself")] = None
    container: Annotated[Anything, Refused("there are no containers to run code in")] = None
    fallback_credit_token: Annotated[Anything, Refused("it is one of Anthropic's")] = None
    fallbacks: Annotated[
        Anything, Refused("one model answers; name another in a request of its own", harmless=([],))
    ] = None
