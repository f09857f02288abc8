"""Text or messages go to a language model; what it generates comes back. Declared and checked here, token by token or whole."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from typing import Annotated, Any, Literal, cast

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field

from graphs.component import ActionInput, Chunk, Component, ComponentConfig, Streamable, Truth, Unknown, truth
from graphs.errors import ComponentFailed

Task = Literal[
    "text-generation", "chat-completion", "translation", "summarization", "text-embedding", "text-classification"
]  # fmt: skip
Driver = Literal["huggingface", "vllm"]
Precision = Literal["auto", "float32", "float16", "bfloat16"]

ROLES = ("system", "user", "assistant", "tool")
CHAT_ONLY = ("tools", "tool_choice", "response_format")
AT_ONCE = ("text-embedding", "text-classification")
"""Tasks whose answer has no parts to stream."""


def _one_or_more(value: Any) -> Any:
    return [value] if isinstance(value, str) else value


def _text(value: Any) -> Any:
    """Let one text or a list of texts through."""
    parts = cast("list[Any]", value) if isinstance(value, list) else [value]
    if not all(isinstance(part, str | Unknown) for part in parts):
        raise ValueError("expected text or a list of texts; write `text: ${input.text as text}`")
    return value


def _message(value: Any) -> Any:
    """Check a message where its author can be told what to write."""
    if isinstance(value, Unknown | BaseModel):
        return value
    fields: dict[str, Any] = value if isinstance(value, dict) else {}
    role = fields.get("role")
    if role is None or (fields.get("content") is None and fields.get("tool_calls") is None):
        raise ValueError("expected a message with a role and a content; write {role: user, content: …}")
    if not isinstance(role, Unknown) and role not in ROLES:
        raise ValueError(f"expected a role, one of {', '.join(ROLES)}, got {role!r}; write {{role: user, content: …}}")
    return fields


class Message(BaseModel):
    """One turn of a conversation, as OpenAI writes it."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    role: Literal["system", "user", "assistant", "tool"]
    content: Any = Field(default=None, description="Text, or a list of parts like {type: text, text: …}.")
    name: str | None = None
    tool_calls: list[dict[str, Any]] | None = None
    tool_call_id: str | None = None


Messages = Annotated[list[Annotated[Message, BeforeValidator(_message)]], Field(min_length=1)]
Positive = Annotated[int, Field(ge=1)]
Count = Annotated[int, Field(ge=0)]
Share = Annotated[float, Field(gt=0, le=1)]
Stops = Annotated[list[str], BeforeValidator(_one_or_more, json_schema_input_type=str | list[str])]


class Params(BaseModel):
    """How the model generates; what is left out is as the model's own configuration says."""

    model_config = ConfigDict(extra="forbid", frozen=True, defer_build=True)

    max_output_length: Positive | None = Field(default=None, description="The most tokens to generate.")
    min_output_length: Count | None = Field(default=None, description="No end before so many tokens.")
    do_sample: bool | None = Field(default=None, description="False takes the likeliest token every time.")
    temperature: Annotated[float, Field(ge=0)] | None = Field(default=None, description="0 is as do_sample: false.")
    top_p: Share | None = None
    top_k: Count | None = Field(default=None, description="0 considers every token.")
    num_beams: Positive | None = Field(default=None, description="A stream allows 1 only.")
    repetition_penalty: Annotated[float, Field(gt=0)] | None = None
    seed: int | None = Field(default=None, description="The same seed gives the same text.")
    stop: Stops | None = Field(default=None, description="Generation ends before any of these.")


class ModelConfig(ComponentConfig):
    task: Task
    driver: Driver = "huggingface"
    model: str | None = Field(default=None, min_length=1, description="A hub id or a local folder.")
    models: Annotated[list[str], Field(min_length=1)] | None = Field(
        default=None, description="Several that share the replicas; an action names its `model`."
    )
    device: str | None = Field(default=None, description="cpu, cuda, cuda:1…; else what the replica has.")
    precision: Precision = "auto"
    options: dict[str, Any] = Field(default={}, description="Passed to the engine as they are.")


class ModelInput(ActionInput):
    text: Streamable[Annotated[Any, BeforeValidator(_text)]] = Field(
        default=None, description="What the model reads; a list of texts when it doesn't stream."
    )
    messages: Messages | None = Field(default=None, description="A conversation, for chat-completion.")
    model: str | None = Field(default=None, description="Which of the component's `models`.")
    streaming: Truth = Field(default=False, description="Answer as it is generated.")
    batch_size: Positive = Field(default=1, description="How many texts of a list go through the model at once.")
    max_input_length: Positive | None = Field(default=None, description="Longer input is cut to so many tokens.")
    stop: Stops | None = Field(default=None, description="Generation ends before any of these.")
    params: Params = Params()
    tools: list[dict[str, Any]] | None = Field(default=None, description="Functions the model may call.")
    tool_choice: Any = None
    response_format: dict[str, Any] | None = Field(default=None, description="{type: json_schema, json_schema: …}.")


class Model(Component[ModelConfig, ModelInput]):
    """Runs a language model in its replicas: generation, chat, translation, summaries, embeddings, classification."""

    type = "model"
    Config = ModelConfig
    Input = ModelInput
    runnable = False

    @classmethod
    def check(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        yield from _check_models(config, action)
        yield from _check_task(str(config.get("task")), action)
        yield from _check_streaming(str(config.get("task")), action)
        yield from _check_lengths(_params(action))

    def run(self, input: ModelInput) -> AsyncIterator[Chunk]:
        del input
        raise ComponentFailed(f"component {self.id!r}: the type 'model' can be checked, but not run yet")


def _check_models(config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    model, models, chosen = config.get("model"), config.get("models"), action.get("model")
    if model is not None and models is not None:
        yield "models", "'model' and 'models' exclude each other; keep one of them"
    elif model is None and models is None:
        yield "model", "a model component needs a model; write `model:` with a hub id or a folder"
    elif models is not None and chosen is None:
        yield "models", "an action must say which of the models it calls; write `model:` on the action"
    elif isinstance(chosen, str) and chosen not in (known := models or [model]):
        yield "model", f"the component has no model '{chosen}'; write one of {', '.join(map(str, known))}"


def _check_task(task: str, action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    wanted, other = ("messages", "text") if task == "chat-completion" else ("text", "messages")
    example = "- {role: user, content: …}" if wanted == "messages" else "${input.text as text}"
    if action.get(wanted) is None:
        yield other, f"the task {task} needs '{wanted}'; write `{wanted}: {example}`"
    elif action.get(other) is not None:
        yield other, f"the task {task} reads '{wanted}', not '{other}'; leave '{other}' out"
    if wanted == "text":
        for name in CHAT_ONLY:
            if action.get(name) is not None:
                yield name, f"'{name}' is for the task chat-completion; leave it out, or change the task"


def _check_streaming(task: str, action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    streaming = action.get("streaming")
    if isinstance(streaming, Unknown) or not truth(streaming):
        return
    if task in AT_ONCE:
        yield "streaming", f"the task {task} answers all at once and can't stream; leave 'streaming' out"
    if _above_one(action.get("batch_size")):
        yield "batch_size", "a stream carries one answer, so batch_size must be 1; write `batch_size: 1`"
    if _above_one(_params(action).get("num_beams")):
        yield "params.num_beams", "beam search knows its text only at the end and can't stream; write `num_beams: 1`"
    if isinstance(action.get("text"), list):
        yield "text", "a stream carries one answer, so text can't be a list; write one text, or `streaming: false`"


def _check_lengths(params: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
    least, most = params.get("min_output_length"), params.get("max_output_length")
    if isinstance(least, int) and isinstance(most, int) and least > most:
        yield "params.min_output_length", f"min_output_length {least} is above max_output_length {most}; lower it"


def _params(action: Mapping[str, Any]) -> Mapping[str, Any]:
    params = action.get("params")
    return cast("Mapping[str, Any]", params) if isinstance(params, Mapping) else {}


def _above_one(value: Any) -> bool:
    return isinstance(value, int) and value > 1
