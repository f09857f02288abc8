"""Messages and tools -> the text a model reads: by its own chat template, else by a plain one.

Two plain templates, for models that come without one:

- for a model whose configuration says that it was trained on conversations (DialoGPT's `task_specific_params`): the
  turns one after another, each followed by the end token;
- for any other (gpt2): the system's words, then `User: …` and `Assistant: …` on lines of their own. The answer ends where
  the model would write the next `User:` itself.

An encoder-decoder without a template (T5) reads what the user says last, and nothing else.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from graphs.errors import InvalidInput

NAMES = {"user": "User", "assistant": "Assistant", "tool": "Tool"}
REASONING, THINKING = "reasoning_content", "thinking"
"""What most templates call what the assistant thought, and what gpt-oss's does."""
NEXT_TURN = "\nUser:"


@dataclass(frozen=True, slots=True)
class Conversation:
    """Messages as a template takes them, and the tokenizer whose template renders them."""

    messages: list[dict[str, Any]]
    tools: list[dict[str, Any]]
    tokenizer: Any
    trained: bool
    """Whether a model without a template was trained on conversations."""
    kwargs: Mapping[str, Any]
    """What the template is told beside."""

    @property
    def stop(self) -> tuple[str, ...]:
        """Return the text before which the answer of a model without an end of turn ends."""
        return () if self.tokenizer.chat_template or self.trained else (NEXT_TURN,)

    def starts(self) -> list[int]:
        """Return where a shorter conversation may begin: at each of the user's turns after the system's."""
        found = [index for index, message in enumerate(self.messages) if message["role"] == "user"]
        return found or [len(self.messages) - 1]

    def text(self, start: int = 0) -> str:
        """Return the conversation from one of the `starts` on, the system's words kept."""
        system = [message for message in self.messages[:start] if message["role"] == "system"]
        messages = [*system, *self.messages[start:]]
        if self.tokenizer.chat_template:
            rendered = self._templated(messages)
        elif self.trained:
            rendered = "".join(f"{message['content']}{self.tokenizer.eos_token}" for message in messages)
        else:
            rendered = _named(messages)
        refuse_unreadable(rendered, "messages")
        return rendered

    def _templated(self, messages: list[dict[str, Any]]) -> str:
        from jinja2 import TemplateError

        try:
            return self.tokenizer.apply_chat_template(
                messages, tools=self.tools or None, tokenize=False, add_generation_prompt=True, **self.kwargs
            )
        except (TemplateError, TypeError, ValueError) as refusal:
            words = " ".join(str(refusal).split()) or type(refusal).__name__
            raise InvalidInput(
                f"the model's chat template refuses the messages: {words}", field="messages"
            ) from refusal


def conversation(
    messages: Sequence[Mapping[str, Any]],
    tools: Sequence[Mapping[str, Any]],
    tokenizer: Any,
    config: Any,
    kwargs: Mapping[str, Any] = MappingProxyType({}),
) -> Conversation:
    """Return the conversation; refuse messages that can't be read, and tools that the template has no place for."""
    if tools and "tools" not in (template_of(tokenizer) or ""):
        why = "chat template has no tools section" if tokenizer.chat_template else "tokenizer has no chat template"
        raise InvalidInput(
            f"this model does not support tools: its {why}; leave 'tools' out, or use a model that was trained with them",
            field="tools",
        )
    trained = "conversational" in task_params(config) and bool(tokenizer.eos_token)
    turns = [_message(message, index) for index, message in enumerate(messages)]
    if f"message.{THINKING}" in (template_of(tokenizer) or ""):
        turns = [{**turn, THINKING: turn[REASONING]} if REASONING in turn else turn for turn in turns]
    return Conversation(turns, [dict(tool) for tool in tools], tokenizer, trained, kwargs)


def last_of_user(messages: Sequence[Mapping[str, Any]]) -> str:
    """Return what the user says last: all that a model reads which knows no conversations."""
    said = next((message["content"] for message in reversed(messages) if message["role"] == "user"), None)
    if said is None:
        raise InvalidInput(
            "this model reads what the user says last, and the user says nothing; add a message "
            "{role: user, content: …}",
            field="messages",
        )
    return said


def task_params(config: Any) -> Mapping[str, Any]:
    """Return what the model's config.json says of single tasks, by their names."""
    # getattr: a key of older config.json files, of which T5's and DialoGPT's matter here; other models have none.
    return getattr(config, "task_specific_params", None) or {}


def template_of(tokenizer: Any) -> str | None:
    """Return the text of the model's chat template; of all of them, where it has several."""
    # getattr: a tokenizer of vLLM's own, for Mistral's format, has no template.
    template: str | Mapping[str, str] | None = getattr(tokenizer, "chat_template", None)
    return "\n".join(template.values()) if isinstance(template, Mapping) else template


def refuse_unreadable(text: str, field: str) -> None:
    """Refuse text that tokenizers are not made for."""
    if (at := text.find("\0")) >= 0:
        raise InvalidInput(f"{field}: there is a NUL character (at {at}); remove it", field=field)
    try:
        text.encode()
    except UnicodeEncodeError as error:
        raise InvalidInput(
            f"{field}: there is half of a surrogate pair (at {error.start}), which is not a character; send valid Unicode",
            field=field,
        ) from None


def _message(message: Mapping[str, Any], index: int) -> dict[str, Any]:
    field = f"messages[{index}]"
    given = {key: value for key, value in message.items() if value is not None}
    given["content"] = _content(given.get("content"), field)
    refuse_unreadable(given["content"], f"{field}.content")
    if given["role"] == "user" and not given["content"].strip():
        raise InvalidInput(f"{field}: the user's message is empty; write what the user says", field=f"{field}.content")
    if REASONING in given:
        refuse_unreadable(given[REASONING], f"{field}.{REASONING}")
    if "tool_calls" in given:
        given["tool_calls"] = [_call(call) for call in given["tool_calls"]]
    return given


def _content(content: Any, field: str) -> str:
    """Return content as text: a text, a number, or parts of type text."""
    match content:
        case None:
            return ""
        case str():
            return content
        case int() | float():
            return json.dumps(content)
        case list():
            return "\n".join(_part(part, f"{field}.content[{index}]") for index, part in enumerate(content))
        case _:
            raise InvalidInput(
                f"{field}: expected the content as text, or as a list of parts {{type: text, text: …}}", field=field
            )


def _part(part: Any, field: str) -> str:
    match part:
        case str():
            return part
        case {"type": "text", "text": str(text)}:
            return text
        case {"type": str(kind)} if kind != "text":
            raise InvalidInput(
                f"{field}: the model reads text, not {kind!r}; write {{type: text, text: …}}", field=field
            )
        case _:
            raise InvalidInput(f"{field}: expected a part {{type: text, text: …}}", field=field)


def _call(call: Mapping[str, Any]) -> dict[str, Any]:
    """Return a call with its arguments as data: templates write them as JSON themselves."""
    function = call.get("function")
    if not isinstance(function, Mapping) or not isinstance(function.get("arguments"), str):
        return dict(call)
    try:
        arguments = json.loads(function["arguments"] or "{}")
    except ValueError:
        return dict(call)
    return {**call, "function": {**function, "arguments": arguments}}


def _named(messages: list[dict[str, Any]]) -> str:
    system = "".join(f"{message['content']}\n\n" for message in messages if message["role"] == "system")
    turns = [f"{NAMES[message['role']]}: {message['content']}" for message in messages if message["role"] != "system"]
    return system + "\n".join([*turns, "Assistant:"])
