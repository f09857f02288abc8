"""What OpenAI's chat completions, completions and embeddings may be asked, and what becomes of each parameter."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, WithJsonSchema

from deployments.conversations.parameters import Body, Honoured, Refused, Unread, Whole, shown
from deployments.transports.openai.messages import MESSAGES, TOOLS, check_messages, check_tools

OF_TEXTS = {"anyOf": [{"type": "string"}, {"type": "array", "items": {"type": "string"}, "minItems": 1}]}
MOST_TEXTS = 2048
NO_TOKENS = "token ids mean something else to each model"


def _texts(value: Any) -> Any:
    """Let one text or a list of texts through."""
    texts = value if isinstance(value, list) else [value]
    if not texts or len(texts) > MOST_TEXTS:
        raise ValueError(f"expected 1 to {MOST_TEXTS} texts, got {len(texts)}")
    if any(isinstance(text, int) for text in texts) or any(isinstance(text, list) for text in texts):
        raise ValueError(
            f"expected text or a list of texts, got token ids; send the texts themselves, for {NO_TOKENS} "
            "(langchain: check_embedding_ctx_length=False)"
        )
    for text in texts:
        if not isinstance(text, str):
            raise ValueError(f'expected text or a list of texts, got {shown(text)}; write "Once upon a time"')
    return value


def _no_empty_texts(value: Any) -> Any:
    texts = value if isinstance(value, list) else [value]
    for index, text in enumerate(texts):
        if text == "":
            where = f"text {index} of the list is" if isinstance(value, list) else "the text is"
            raise ValueError(f"{where} empty; send what the model should read")
    return value


def _stops(value: Any) -> Any:
    stops = value if isinstance(value, list) else [] if value is None else [value]
    for stop in stops:
        if not isinstance(stop, str):
            raise ValueError(f'expected text or a list of texts, got {shown(stop)}; write ["\\n"]')
    return value


def _choice(value: Any) -> Any:
    if value is not None and not isinstance(value, str | dict):
        raise ValueError(
            f'expected none, auto, required or an object, got {shown(value)}; write {{"type": "function", "function": {{"name": …}}}}'
        )
    return value


def _format(value: Any) -> Any:
    if value is not None and (not isinstance(value, dict) or not isinstance(value.get("type"), str)):
        raise ValueError(f'expected an object with a type, got {shown(value)}; write {{"type": "json_object"}}')
    return value


Stops = Annotated[Any, AfterValidator(_stops), WithJsonSchema({"anyOf": [*OF_TEXTS["anyOf"], {"type": "null"}]})]
Texts = Annotated[Any, AfterValidator(_texts), WithJsonSchema(OF_TEXTS)]
Rate = Annotated[float | None, Field(ge=-2, le=2)]
NO_PENALTIES = "only repetition_penalty keeps a model here from repeating itself"
NO_BIAS = "single tokens can't be made more or less likely"


class StreamOptions(BaseModel):
    """How a stream is written."""

    model_config = ConfigDict(strict=True, extra="forbid", frozen=True)

    include_usage: bool | None = Field(default=None, description="a last chunk has the usage of all")
    include_obfuscation: bool | None = Field(default=None, description="no effect: chunks are never padded")
    continuous_usage_stats: Literal[False] | None = Field(
        default=None, description="usage stands in the last chunk alone"
    )


class Named(Body):
    """What every request has."""

    model: Annotated[
        str | None,
        Honoured(
            "a workflow, a model component, its model's name, or an alias; without it the default workflow",
            "chat",
            True,
        ),
    ] = None
    user: Annotated[str | None, Unread()] = None
    safety_identifier: Annotated[str | None, Unread()] = None
    metadata: Annotated[
        dict[str, Any] | None,
        Honoured(
            "its `input`, an object or that as JSON text, goes into the input of a workflow; the rest has no effect"
        ),
    ] = None


class Generation(Named):
    """What chat completions and completions have in common."""

    stream: Annotated[bool | None, Honoured("chunks as they come, as server-sent events", True, True)] = None
    stream_options: Annotated[StreamOptions | None, Honoured("`include_usage`", {"include_usage": True}, True)] = None
    n: Annotated[
        Annotated[Whole, Field(ge=1, le=16)] | None,
        Honoured("so many runs, side by side; with a `seed`, choice i has seed + i", 2, True),
    ] = None
    max_tokens: Annotated[Annotated[Whole, Field(ge=1)] | None, Honoured("", 256)] = None
    min_tokens: Annotated[Annotated[Whole, Field(ge=0)] | None, Honoured("no end before so many tokens", 1)] = None
    temperature: Annotated[float | None, Field(ge=0, le=2), Honoured("0 takes the likeliest token every time", 0.7)] = (
        None
    )
    top_p: Annotated[float | None, Field(ge=0, le=1), Honoured("", 0.9)] = None
    top_k: Annotated[
        Annotated[Whole, Field(ge=-1, le=2**31 - 1)] | None, Honoured("0 and -1 consider every token", 40)
    ] = None
    repetition_penalty: Annotated[float | None, Field(ge=0.01, le=100), Honoured("", 1.1)] = None
    seed: Annotated[
        Annotated[Whole, Field(ge=-(2**63), le=2**63 - 1)] | None, Honoured("the same seed gives the same text", 7)
    ] = None
    stop: Annotated[Stops, Honoured("a text or a list of texts: the answer ends before any of them", ["\n"])] = None
    frequency_penalty: Annotated[Rate, Refused(NO_PENALTIES, harmless=(0,))] = None
    presence_penalty: Annotated[Rate, Refused(NO_PENALTIES, harmless=(0,))] = None
    logit_bias: Annotated[dict[str, float] | None, Refused(NO_BIAS, harmless=({},))] = None
    store: Annotated[bool | None, Honoured("true keeps the run, as /tasks shows it", True, True)] = None


class ChatBody(Generation):
    """A request of `POST /v1/chat/completions`."""

    messages: Annotated[
        Any, AfterValidator(check_messages), WithJsonSchema(MESSAGES),
        Honoured("the conversation", [{"role": "user", "content": "Hello"}], True),
    ]  # fmt: skip
    max_completion_tokens: Annotated[
        Annotated[Whole, Field(ge=1)] | None, Honoured("the newer name of `max_tokens`; it wins", 256)
    ] = None
    tools: Annotated[
        Any, AfterValidator(check_tools), WithJsonSchema(TOOLS), Honoured("functions that the model may call")
    ] = None
    tool_choice: Annotated[
        Any, AfterValidator(_choice), WithJsonSchema({"type": ["string", "object", "null"]}),
        Honoured("`none`, `auto`, `required`, or a function by its name", "auto"),
    ] = None  # fmt: skip
    parallel_tool_calls: Annotated[bool | None, Honoured("false: only the first call comes back", False, True)] = None
    response_format: Annotated[
        Any, AfterValidator(_format), WithJsonSchema({"type": ["object", "null"]}),
        Honoured("`text`, `json_object`, `json_schema`", {"type": "json_object"}),
    ] = None  # fmt: skip
    reasoning_effort: Annotated[
        Literal["none", "minimal", "low", "medium", "high", "xhigh", "max"] | None,
        Honoured("told to the chat template; `none` as `enable_thinking: false` too", "low"),
    ] = None
    chat_template_kwargs: Annotated[
        dict[str, Any] | None,
        Honoured("told to the chat template; wins over `reasoning_effort`", {"enable_thinking": False}),
    ] = None
    logprobs: Annotated[bool | None, Honoured("each token that was drawn, and how likely it was", True)] = None
    top_logprobs: Annotated[
        Annotated[Whole, Field(ge=0, le=20)] | None,
        Honoured("so many of the likeliest too; beside `logprobs: true`", 5),
    ] = None
    audio: Annotated[dict[str, Any] | None, Refused("models here answer in text")] = None
    modalities: Annotated[list[str] | None, Refused("models here answer in text", harmless=(["text"],))] = None
    prediction: Annotated[dict[str, Any] | None, Refused("no engine here makes use of it")] = None
    verbosity: Annotated[
        Literal["low", "medium", "high"] | None,
        Refused("no model here can be told so; say it in a message", harmless=("medium",)),
    ] = None
    web_search_options: Annotated[dict[str, Any] | None, Refused("models here don't search the web")] = None
    functions: Annotated[Any, Refused("`tools` took its place", everywhere=True)] = None
    function_call: Annotated[Any, Refused("`tool_choice` took its place", everywhere=True)] = None
    moderation: Annotated[Any, Refused("answers aren't moderated")] = None
    prompt_cache_key: Annotated[str | None, Unread()] = None
    prompt_cache_options: Annotated[Any, Unread()] = None
    prompt_cache_retention: Annotated[str | None, Unread()] = None
    service_tier: Annotated[str | None, Unread("there is one tier")] = None


class CompletionBody(Generation):
    """A request of `POST /v1/completions`."""

    prompt: Annotated[
        Texts,
        AfterValidator(_no_empty_texts),
        Honoured("a text, or a list: each gets choices of its own", "Once upon a time", True),
    ]
    echo: Annotated[bool | None, Honoured("the prompt stands before the answer", False, True)] = None
    suffix: Annotated[str | None, Refused("text can't be put in between", harmless=("",))] = None
    best_of: Annotated[
        Annotated[Whole, Field(ge=0, le=20)] | None, Refused("answers aren't compared with each other", harmless=(1,))
    ] = None
    logprobs: Annotated[
        Annotated[Whole, Field(ge=0, le=5)] | None,
        Honoured("each token that was drawn, and so many of the likeliest; not beside `echo`", 1),
    ] = None


class EmbeddingBody(Named):
    """A request of `POST /v1/embeddings`."""

    input: Annotated[
        Texts,
        AfterValidator(_no_empty_texts),
        Honoured(f"a text, or a list of up to {MOST_TEXTS}", ["one", "two"], True),
    ]
    encoding_format: Annotated[
        Literal["float", "base64"] | None, Honoured("`base64`: float32, little-endian", "float", True)
    ] = None
    dimensions: Annotated[
        Annotated[Whole, Field(ge=1)] | None,
        Honoured("refused, unless the vectors have so many numbers anyway", 384, True),
    ] = None
