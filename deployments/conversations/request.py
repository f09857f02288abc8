"""What a request to a vendor's API asks, as one typed Conversation; and the input of the run that answers it."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, cast

from deployments.conversations.parameters import Body
from graphs.component import Use
from graphs.errors import InvalidInput
from graphs.stream import Value

Message = Mapping[str, Any]
"""A turn as OpenAI's chat completions write it: role, content, tool_calls, tool_call_id, reasoning_content."""

QUESTION = ("prompt", "text", "message", "question", "query")
"""What workflows call the text of the last user message."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Sampling:
    """How to generate; what is None is as the document or the model says."""

    max_tokens: int | None = None
    min_tokens: int | None = None
    temperature: float | None = None
    top_p: float | None = None
    top_k: int | None = None
    repetition_penalty: float | None = None
    seed: int | None = None
    stop: tuple[str, ...] = ()

    def fields(self) -> dict[str, Value]:
        """Return what is said, by the names that workflows and components read."""
        said: dict[str, Value] = {name: getattr(self, name) for name in self.__slots__}
        said["stop"] = list(self.stop) or None
        return {name: value for name, value in said.items() if value is not None}


@dataclass(frozen=True, slots=True, kw_only=True)
class Conversation:
    """A request, whichever vendor's words it came in."""

    use: Use
    model: str | None
    stream: bool = False
    messages: Sequence[Message] = ()
    prompt: str | None = None
    """A text to continue, in place of messages."""
    texts: str | Sequence[str] | None = None
    """What to embed."""
    tools: Sequence[Mapping[str, Any]] = ()
    tool_choice: Any = None
    """As OpenAI's chat completions write both."""
    parallel_tool_calls: bool = True
    """False: the answer calls one tool at most."""
    response_format: Mapping[str, Any] | None = None
    sampling: Sampling = field(default_factory=Sampling)
    chat_template_kwargs: Mapping[str, Any] | None = None
    reasoning_effort: str | None = None
    """As OpenAI says it; a model's chat template is told, unless `chat_template_kwargs` say it."""
    truncation: str | None = None
    """`auto`: a model leaves the oldest turns out where all of them are too long for it."""
    logprobs: int | None = None
    """How many likely tokens to tell beside each that was drawn; None tells nothing."""
    fields: Mapping[str, Value] = field(default_factory=dict[str, Value])
    """The request by its own names, for workflows to read."""
    body: type[Body] | None = None
    """Declares which of `fields` a model component can be asked."""
    extra: Mapping[str, Value] = field(default_factory=dict[str, Value])
    """The `input` of its metadata or of its own: goes into a workflow's input as it is, and wins."""

    def for_component(self) -> dict[str, Value]:
        """Return the input of the run that calls a component as a model."""
        said = {**self._said(), "prompt": self._question(), "input": self.texts, "stream": self.stream}
        said |= {"chat_template_kwargs": self._told_to_template(), "logprobs": self.logprobs}
        if self.sampling.temperature is not None:
            # The document's own `do_sample` would win over what the request asks for.
            said["do_sample"] = self.sampling.temperature > 0
        if self.sampling.top_p == 0:
            # No token is likely enough but the likeliest: models take only what is above 0.
            said |= {"do_sample": False, "top_p": None}
        return {name: value for name, value in said.items() if value is not None}

    def for_workflow(self) -> dict[str, Value]:
        """Return the input of a workflow: the fields of the request, and the last user message under the names that workflows
        know a question by."""
        question = self._question() if self.texts is None else self.texts
        asked = dict.fromkeys(QUESTION, question) if question is not None else {}
        texts = {} if self.texts is None else {"input": self.texts}
        return {
            **self.fields,
            **self._said(),
            **asked,
            **texts,
            "model": self.model,
            "stream": self.stream,
            **self.extra,
        }

    def _told_to_template(self) -> dict[str, Value] | None:
        """Return what a model's chat template is told. Templates pass over what they don't know: each reads its own of these."""
        effort = {} if self.reasoning_effort is None else {"reasoning_effort": self.reasoning_effort}
        thinking = {"enable_thinking": False} if self.reasoning_effort == "none" else {}
        return {**effort, **thinking, **(self.chat_template_kwargs or {})} or None

    def _said(self) -> dict[str, Value]:
        said: dict[str, Value] = {
            "messages": [dict(message) for message in self.messages] or None,
            "tools": [dict(tool) for tool in self.tools] or None,
            "tool_choice": self.tool_choice,
            "response_format": self.response_format,
            "chat_template_kwargs": self.chat_template_kwargs,
            "reasoning_effort": self.reasoning_effort,
            "truncation": self.truncation,
            **self.sampling.fields(),
        }
        return {name: value for name, value in said.items() if value is not None}

    def _question(self) -> str | None:
        return last_question(self.messages) if self.prompt is None else self.prompt


def last_question(messages: Sequence[Message]) -> str | None:
    """Return the text of the last user message; None where no user has said anything."""
    said = (message.get("content") for message in reversed(messages) if message.get("role") == "user")
    content = next(said, None)
    return None if content is None else text_of(content)


def text_of(content: Any) -> str:
    """Return the text in a message's content, its parts of text joined."""
    if not isinstance(content, list):
        return str(content)
    parts = (part if isinstance(part, str) else _text_of_part(part) for part in cast("list[Any]", content))
    return "\n".join(part for part in parts if part)


def _text_of_part(part: Any) -> str:
    return part["text"] if isinstance(part, Mapping) and isinstance(part.get("text"), str) else ""


def check_turns(messages: Sequence[Message], name: str = "messages") -> None:
    """Refuse a tool's result without the call that it answers. `name` is what the request calls its turns."""
    called: set[str] = set()
    for index, message in enumerate(messages):
        for call in message.get("tool_calls") or ():
            called.add(str(call.get("id")))
        if message.get("role") == "tool" and (id := message.get("tool_call_id")) not in called:
            raise InvalidInput(
                f"{name}[{index}]: there is no call '{id}' before this result of a tool; send the assistant's message with that "
                "call in its tool_calls first",
                field=f"{name}[{index}].tool_call_id",
            )


def for_workflows(said: Mapping[str, Any], *, own: str | None = "input") -> tuple[dict[str, Value], dict[str, Value]]:
    """Return the fields of a request as workflows read them, and what wins over them: its `input` and that of its metadata.

    `n` is left out: each choice is a run of its own. `own` names the field whose content is meant for a workflow alone.
    """
    fields = {name: value for name, value in said.items() if name not in ("n", own)}
    metadata = said.get("metadata")
    inside = metadata.get("input") if isinstance(metadata, Mapping) else None
    more = {} if own is None else _input(said.get(own), own)
    return fields, {**_input(inside, "metadata.input"), **more}


def _input(said: Any, place: str) -> dict[str, Value]:
    """Return fields of a workflow's input: an object, or one as JSON text, for OpenAI's own metadata hold text alone."""
    if said is None:
        return {}
    value = said
    if isinstance(said, str):
        try:
            value = json.loads(said)
        except ValueError:
            value = None
    if not isinstance(value, dict):
        raise InvalidInput(
            f'{place}: expected an object of fields for the workflow; write {{"topic": "rivers"}}', field=place
        )
    return value
