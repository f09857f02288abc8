"""The pieces that an answer comes in, and their fold: the same whether they were streamed or not."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphs.stream import Value


@dataclass(frozen=True, slots=True)
class Thought:
    """A piece of reasoning."""

    text: str


@dataclass(frozen=True, slots=True)
class CallPiece:
    """A piece of a call of a tool: its id and name come with the first, its arguments, a JSON text, bit by bit."""

    index: int
    id: str | None = None
    name: str | None = None
    arguments: str = ""
    more: Mapping[str, Value] = field(default_factory=dict[str, Value])
    """What else the model's server says of the call; clients send it back."""


@dataclass(frozen=True, slots=True)
class Refusal:
    """A piece of what a model says in place of an answer."""

    text: str


@dataclass(frozen=True, slots=True)
class LogProbs:
    """The probabilities of tokens, as OpenAI writes them; their text is in the piece that follows."""

    tokens: list[Value]


@dataclass(frozen=True, slots=True)
class Ended:
    """How the answer ended, and what the components noted of its cost: the last piece of all."""

    finish: str
    """As OpenAI says it: stop, length, tool_calls, content_filter."""
    usage: Mapping[str, Any] | None = None
    """By OpenAI's names, all components summed; None where none of them noted any."""
    stop_sequence: str | None = None
    """The text of the request's `stop` before which the answer ended, where a component noted it."""


Piece = str | Thought | CallPiece | Refusal | LogProbs | Ended
"""A text is content. Ended is the last piece of an answer that succeeded."""


def as_delta(piece: Piece) -> dict[str, Any] | None:
    """Return a piece as the delta of a message, as OpenAI names its fields; None for what says nothing."""
    match piece:
        case str():
            return {"content": piece}
        case Thought(text):
            return {"reasoning_content": text}
        case Refusal(text):
            return {"refusal": text}
        case CallPiece():
            function = {"arguments": piece.arguments} | ({"name": piece.name} if piece.name else {})
            id = {"id": piece.id, "type": "function"} if piece.id else {}
            return {"tool_calls": [{"index": piece.index, **id, "function": function, **piece.more}]}
        case _:
            return None


@dataclass(slots=True)
class Call:
    """A call of a tool, as far as it is known."""

    id: str
    name: str
    arguments: str = ""
    more: Mapping[str, Value] = field(default_factory=dict[str, Value])


@dataclass(slots=True)
class Answer:
    """The fold of an answer's pieces."""

    texts: list[str] = field(default_factory=list[str])
    thoughts: list[str] = field(default_factory=list[str])
    refusals: list[str] = field(default_factory=list[str])
    calls: dict[int, Call] = field(default_factory=dict[int, Call])
    logprobs: list[Value] = field(default_factory=list[Value])
    ended: Ended | None = None

    def add(self, pieces: Iterable[Piece]) -> None:
        """Add the next pieces."""
        for piece in pieces:
            match piece:
                case str():
                    self.texts.append(piece)
                case Thought():
                    self.thoughts.append(piece.text)
                case Refusal():
                    self.refusals.append(piece.text)
                case LogProbs():
                    self.logprobs += piece.tokens
                case CallPiece():
                    self._add_call(piece)
                case Ended():
                    self.ended = piece

    def _add_call(self, piece: CallPiece) -> None:
        call = self.calls.get(piece.index)
        if call is None:
            call = self.calls[piece.index] = Call(piece.id or "", piece.name or "")
        call.arguments += piece.arguments
        call.more = {**call.more, **piece.more}

    @property
    def text(self) -> str:
        return "".join(self.texts)

    @property
    def reasoning(self) -> str:
        return "".join(self.thoughts)

    @property
    def refusal(self) -> str:
        return "".join(self.refusals)
