"""What an answer is made of: content, reasoning, and calls of tools in pieces, as OpenAI's deltas have them."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Protocol


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of what the model thought before it answered."""

    text: str


@dataclass(frozen=True, slots=True)
class CallDelta:
    """The first of a call has `id` and `name` and no arguments; each that follows, a piece of the arguments."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""

    def to_openai(self) -> dict[str, Any]:
        if self.id is None:
            return {"index": self.index, "function": {"arguments": self.arguments}}
        function = {"name": self.name, "arguments": self.arguments}
        return {"index": self.index, "id": self.id, "type": "function", "function": function}


Piece = str | Thought | CallDelta
"""A piece of an answer: content, reasoning, or something of a call."""


@dataclass(frozen=True, slots=True)
class ResponseTemplate:
    """What a model ships that says how its answers are read."""

    spec: Mapping[str, Any]
    """As transformers' `parse_response` takes it."""
    tags: Sequence[str]
    """The special tokens that it may look for."""


class AnswerParser(Protocol):
    """Reads one answer while it is generated. How its text is cut changes nothing of what all pieces say together."""

    @property
    def called(self) -> bool:
        """Return whether there has been a call."""
        ...

    def begin(self, prompt: str) -> None:
        """Take the prompt, before anything else: it may have begun the answer."""
        ...

    def feed(self, text: str) -> list[Piece]:
        """Take more of the answer; return what is certain by now."""
        ...

    def end(self) -> list[Piece]:
        """Return what was held back: nothing more will come."""
        ...


def join_calls(deltas: Iterable[CallDelta]) -> list[dict[str, Any]]:
    """Return the whole calls, as a message's `tool_calls` has them."""
    opened: dict[int, CallDelta] = {}
    arguments: dict[int, list[str]] = {}
    for delta in deltas:
        opened.setdefault(delta.index, delta)
        arguments.setdefault(delta.index, []).append(delta.arguments)
    return [
        {"id": delta.id, "type": "function", "function": {"name": delta.name, "arguments": "".join(arguments[index])}}
        for index, delta in opened.items()
    ]
