"""What is said of a call while it is generated, and how OpenAI writes it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any


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


Piece = str | CallDelta
"""A piece of an answer: content, or something of a call."""


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
