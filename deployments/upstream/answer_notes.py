"""What an answer in OpenAI's or Anthropic's protocol says of its tokens and of its end -> a note in OpenAI's words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, cast

from deployments.upstream.upstream_errors import OPENAI_OBJECTS
from graphs.stream import Value

EVENTS = ("message_start", "message_delta", "message_stop", "response.completed", "response.incomplete")
"""The events of Anthropic's messages, and of OpenAI's responses, that say anything of it, or are marks of an end."""

_OF_A_CHOICE = frozenset({"delta", "text", "finish_reason"})
_ANTHROPIC_ENDS = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "max_tokens": "length",
    "model_context_window_exceeded": "length", "tool_use": "tool_calls", "refusal": "content_filter",
}  # fmt: skip
_INCOMPLETE = {"max_output_tokens": "length"}
_NOTHING: Mapping[str, Any] = {}


def is_openai(fields: Mapping[str, Any], choices: list[Any]) -> bool:
    """Return whether a value with `choices` is a completion of OpenAI's: other data may have a field of that name."""
    if str(fields.get("object", "")).startswith(OPENAI_OBJECTS):
        return True
    return any(isinstance(choice, dict) and _OF_A_CHOICE & cast("dict[str, Any]", choice).keys() for choice in choices)


def notes_of(value: Value) -> Mapping[str, Value] | None:
    """Return the notes of a whole answer; None where it says nothing of it, or is in no protocol that is known here."""
    fields, told = _mapping(value), AnswerNotes()
    choices = fields.get("choices")
    if isinstance(choices, list) and is_openai(fields, cast("list[Any]", choices)):
        told.take_completion(fields)
    elif fields.get("object") == "list":
        told.take_usage(fields)
    elif fields.get("object") == "response":
        told.take_response(fields)
    elif fields.get("type") == "message":
        told.take_usage(fields)
        told.take_stop_reason(fields)
    return told.notes


class AnswerNotes:
    """Gathers the notes of one answer from its parts."""

    def __init__(self) -> None:
        self._said: dict[str, Any] = {}
        self._finish: str | None = None

    @property
    def notes(self) -> Mapping[str, Value] | None:
        """What the parts said; None where they said nothing."""
        usage = _usage(self._said)
        finish = {} if self._finish is None else {"finish_reason": self._finish}
        return {**({"usage": usage} if usage else {}), **finish} or None

    def take_completion(self, fields: Mapping[str, Any]) -> None:
        """Take one of OpenAI's completions, or a chunk of it. The end of its first choice is the answer's."""
        self.take_usage(fields)
        for choice in map(_mapping, fields["choices"]):
            reason = choice.get("finish_reason")
            if isinstance(reason, str) and (self._finish is None or choice.get("index", 0) == 0):
                self._finish = reason

    def take_usage(self, fields: Mapping[str, Any]) -> None:
        """Take the `usage` of a value. Anthropic's comes in two parts, and counts that come again are the newer ones."""
        usage = _mapping(fields.get("usage"))
        self._said |= {name: count for name, count in usage.items() if count is not None}

    def take_event(self, event: Mapping[str, Any]) -> None:
        """Take one of the EVENTS."""
        match event.get("type"):
            case "message_start":
                self.take_usage(_mapping(event.get("message")))
            case "message_delta":
                self.take_usage(event)
                self.take_stop_reason(_mapping(event.get("delta")))
            case _:
                self.take_response(_mapping(event.get("response")))

    def take_stop_reason(self, fields: Mapping[str, Any]) -> None:
        """Take the end of one of Anthropic's messages. A word that is new here stays as it is."""
        reason = fields.get("stop_reason")
        if isinstance(reason, str):
            self._finish = _ANTHROPIC_ENDS.get(reason, reason)

    def take_response(self, response: Mapping[str, Any]) -> None:
        """Take one of OpenAI's responses, which has ended."""
        self.take_usage(response)
        match response.get("status"):
            case "completed":
                output = response.get("output")
                items = map(_mapping, cast("list[Any]", output) if isinstance(output, list) else [])
                called = any(item.get("type") == "function_call" for item in items)
                self._finish = "tool_calls" if called else "stop"
            case "incomplete":
                reason = _mapping(response.get("incomplete_details")).get("reason")
                self._finish = _INCOMPLETE.get(reason, reason) if isinstance(reason, str) else "length"
            case _:
                pass


def _usage(said: Mapping[str, Any]) -> dict[str, Value] | None:
    """Return the counts by the names of OpenAI's completions; None where there are none."""
    prompt, completion = _count(said, "prompt_tokens"), _count(said, "completion_tokens") or 0
    details = {name: said.get(name) for name in ("prompt_tokens_details", "completion_tokens_details")}
    if prompt is None:
        prompt, completion = _count(said, "input_tokens"), _count(said, "output_tokens") or 0
        if prompt is None:
            return None
        # Anthropic counts what it reads from its cache, or writes to it, apart; OpenAI counts it among the others.
        cached = _count(said, "cache_read_input_tokens")
        prompt += (cached or 0) + (_count(said, "cache_creation_input_tokens") or 0)
        details = {
            "prompt_tokens_details": said.get("input_tokens_details")
            or ({"cached_tokens": cached} if cached else None),
            "completion_tokens_details": said.get("output_tokens_details"),
        }
    total = _count(said, "total_tokens")
    counts = {"prompt_tokens": prompt, "completion_tokens": completion}
    counts["total_tokens"] = prompt + completion if total is None else total
    return {**counts, **{name: value for name, value in details.items() if isinstance(value, dict)}}


def _count(said: Mapping[str, Any], name: str) -> int | None:
    count = said.get(name)
    return count if type(count) is int else None


def _mapping(value: Any) -> Mapping[str, Any]:
    return cast("Mapping[str, Any]", value) if isinstance(value, Mapping) else _NOTHING
