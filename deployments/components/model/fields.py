"""The fields of a model component and of its actions, as documents write them."""

from __future__ import annotations

import re
from typing import Annotated, Any, Literal, cast, get_args

from pydantic import AfterValidator, BaseModel, BeforeValidator, ConfigDict, Field

from graphs.component import ActionInput, ComponentConfig, LocalFolder, Streamable, Truth, Unknown

Task = Literal[
    "text-generation", "chat-completion", "translation", "summarization", "text-embedding", "text-classification"
]  # fmt: skip
Driver = Literal["huggingface", "vllm"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]

Role = Literal["system", "developer", "user", "assistant", "tool"]
ROLES: tuple[Role, ...] = get_args(Role)
TEMPLATES_OWN = frozenset({
    "messages", "conversation", "tools", "chat_template", "add_generation_prompt", "continue_final_message", "tokenize",
    "sanitize_control_tokens", "padding", "truncation", "max_length", "return_tensors", "return_dict",
    "return_assistant_tokens_mask", "tokenizer_kwargs",
})  # fmt: skip
"""What an engine says to `apply_chat_template` itself, or leaves as it is."""
TOLD_OF_ANSWERS = ("usage", "finish_reason", "stop_sequence", "refusal", "annotations", "parsed")
"""What answers carry, ours and OpenAI's, beside what was said: a model doesn't read it…"""
EMPTY = ("audio", "function_call", "reasoning_content")
"""…and what it may not hold, but is often there, empty."""
DEVICE = re.compile(r"cpu|cuda(:\d+)?|mps")
"""What a document may write. GPUs are counted within the replica: its first is cuda:0, whichever the node's is."""
MODEL_FOLDER = LocalFolder(holding="config.json")


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """Let one text or a list of texts through."""
    parts = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not all(isinstance(part, str | Unknown) for part in parts):
        raise ValueError("expected text or a list of texts; write `text: ${input.text as text}`")
    return value


def _messages(value: Any) -> Any:
    """Take a text as what the user says first."""
    return [{"role": "user", "content": value}] if isinstance(value, str) else value


def _message(value: Any) -> Any:
    """Check a message where its author can be told what to write."""
    if isinstance(value, Unknown | BaseModel):
        return value
    fields = _as_said(value) if isinstance(value, dict) else {}
    role = fields.get("role")
    if role is None or (fields.get("content") is None and fields.get("tool_calls") is None):
        raise ValueError("expected a message with a role and a content; write {role: user, content: …}")
    if not isinstance(role, Unknown) and role not in ROLES:
        raise ValueError(f"expected a role, one of {', '.join(ROLES)}, got {role!r}; write {{role: user, content: …}}")
    return fields


def _as_said(fields: dict[str, Any]) -> dict[str, Any]:
    """Take an answer back as what the assistant said."""
    if fields.get("role") != "assistant":
        return fields
    said = {key: value for key, value in fields.items() if key not in TOLD_OF_ANSWERS}
    if said.get("content") is None and isinstance(fields.get("refusal"), str):
        said["content"] = fields["refusal"]
    return {key: value for key, value in said.items() if value is not None or key not in EMPTY}


def _template_kwargs(value: dict[str, Any]) -> dict[str, Any]:
    if taken := sorted(TEMPLATES_OWN & value.keys()):
        raise ValueError(f"'{taken[0]}' can't be said to a chat template here; leave it out")
    return value


def _as_templates_say(role: Role) -> Role:
    """Return what chat templates call a role: OpenAI's newer name for the system is known to few of them."""
    return "system" if role == "developer" else role


def _device(value: Any) -> Any:
    if isinstance(value, str) and not DEVICE.fullmatch(value):
        raise ValueError(f"expected cpu, cuda, cuda:1… or mps, got {value!r}; leave it out to take what a replica has")
    return value


class Message(BaseModel):
    """One turn of a conversation, as OpenAI writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    role: Annotated[Role, AfterValidator(_as_templates_say)]
    content: Any = Field(default=None, description="Text, or a list of parts like {type: text, text: …}.")
    reasoning_content: str | None = Field(default=None, description="What the assistant thought, as answers have it.")
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


Turns = list[Annotated[Message, BeforeValidator(_message)]]
Messages = Annotated[Turns, Field(min_length=1), BeforeValidator(_messages, json_schema_input_type=str | Turns)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Penalty = Annotated[float, Field(ge=0.01, le=100)]
"""Beyond it scores of tokens leave what floats can hold."""
Seed = Annotated[int, Field(ge=-(2**63), le=2**63 - 1)]
Stops = Annotated[list[str], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])]


class Params(BaseModel):
    """How the model generates; what is left out is as the model's own configuration says."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    max_output_length: Positive | None = Field(default=None, description="The most tokens to generate.")
    fit_output: bool | None = Field(
        default=None, description="The answer may be shorter than that, where the context has no room for it."
    )
    min_output_length: Count | None = Field(default=None, description="No end before so many tokens.")
    do_sample: bool | None = Field(default=None, description="False takes the likeliest token every time.")
    temperature: Annotated[float, Field(ge=0, le=2)] | None = Field(
        default=None, description="0 is as do_sample: false."
    )
    top_p: Annotated[float, Field(gt=0, le=1)] | None = None
    top_k: Annotated[int, Field(ge=0, le=2**31 - 1)] | None = Field(
        default=None, description="0 considers every token."
    )
    num_beams: Annotated[int, Field(ge=1, le=64)] | None = Field(default=None, description="A stream allows 1 only.")
    repetition_penalty: Penalty | None = None
    seed: Seed | None = Field(
        default=None,
        description="The same seed gives the same text; in half precision only where nobody else is served.",
    )
    stop: Stops | None = Field(default=None, description="Generation ends before any of these.")


class ModelConfig(ComponentConfig):
    task: Task
    driver: Driver = "huggingface"
    model: Annotated[str | None, MODEL_FOLDER] = Field(
        default=None, min_length=1, description="A hub id, or a folder: `./…` stands beside the document."
    )
    models: Annotated[list[str] | None, MODEL_FOLDER] = Field(
        default=None, min_length=1, description="Several that share the replicas; an action names its `model`."
    )
    max_models: Positive | None = Field(
        default=None, description="How many of `models` are loaded at a time; else all. The longest unused one goes."
    )
    device: Annotated[str | None, BeforeValidator(_device)] = Field(
        default=None, description="cpu, cuda, cuda:1…; else what the replica has."
    )
    precision: Precision = "auto"
    options: dict[str, Any] = Field(default={}, description="Passed to the engine as they are.")


class ModelInput(ActionInput):
    text: Streamable[Annotated[Any, BeforeValidator(_text)]] = Field(
        default=None, description="What the model reads; a list of texts when it doesn't stream."
    )
    messages: Messages | None = Field(
        default=None, description="A conversation, for chat-completion; a text is what the user says."
    )
    model: str | None = Field(default=None, description="Which of the component's `models`.")
    streaming: Truth = Field(default=False, description="Answer as it is generated.")
    batch_size: Positive = Field(default=1, description="How many texts of a list go through the model at once.")
    max_input_length: Positive | None = Field(default=None, description="Longer input is cut to so many tokens.")
    truncation: Literal["auto", "disabled"] = Field(
        default="disabled",
        description="auto: of a conversation that is too long for the model the oldest turns are left out.",
    )
    stop: Stops | None = Field(default=None, description="Generation ends before any of these.")
    params: Params = Params()
    logprobs: Annotated[int, Field(ge=0, le=20)] | None = Field(
        default=None, description="Note the log-probability of each token, and of so many of the likeliest."
    )
    tools: list[dict[str, Any]] | None = Field(default=None, description="Functions the model may call.")
    tool_choice: Any = Field(default=None, description="none, auto, required, or {function: {name: …}}.")
    response_format: dict[str, Any] | None = Field(default=None, description="{type: json_schema, json_schema: …}.")
    chat_template_kwargs: Annotated[dict[str, Any], AfterValidator(_template_kwargs)] | None = Field(
        default=None, description="Told to the model's chat template: {enable_thinking: false}."
    )
    answer: Literal["text", "message", "count"] = Field(
        default="text",
        description="`message` gives chunks and answers as OpenAI's messages, calls of tools among them; `count` the number "
        "of the prompt's tokens alone, {input_tokens: …}.",
    )
