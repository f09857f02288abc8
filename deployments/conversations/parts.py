"""Pieces -> the parts of an answer, one after another: reasoning, text, a refusal, a call. Each begins, grows and ends once."""

from __future__ import annotations

import json
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from deployments.conversations.pieces import CallPiece, Ended, LogProbs, Piece, Refusal, Thought
from graphs.stream import Value

Kind = Literal["text", "reasoning", "refusal", "call"]


@dataclass(slots=True)
class Part:
    """A part of an answer, as far as it is known."""

    index: int
    kind: Kind
    id: str = ""
    """Of a call; and the tool's name."""
    name: str = ""
    texts: list[str] = field(default_factory=list[str])
    logprobs: list[Value] = field(default_factory=list[Value])

    @property
    def text(self) -> str:
        """What it says; of a call, its arguments."""
        return "".join(self.texts)


@dataclass(frozen=True, slots=True)
class Began:
    part: Part


@dataclass(frozen=True, slots=True)
class Grew:
    part: Part
    text: str
    logprobs: Sequence[Value] = ()


@dataclass(frozen=True, slots=True)
class Closed:
    part: Part


PartEvent = Began | Grew | Closed


class Parts:
    """The parts of one answer. Calls whose pieces come mixed are put in order: only one part is open at a time."""

    def __init__(self) -> None:
        self.all: list[Part] = []
        self.ended: Ended | None = None
        self._open: Part | None = None
        self._call: int | None = None
        """The index of the open call."""
        self._waiting: dict[int, list[CallPiece]] = {}
        """Pieces of calls that come while another isn't complete."""
        self._logprobs: list[Value] = []

    def add(self, pieces: Sequence[Piece]) -> Iterator[PartEvent]:
        """Take the next pieces; yield what becomes of the parts."""
        for piece in pieces:
            match piece:
                case str():
                    yield from self._grow("text", piece)
                case Thought(text):
                    yield from self._grow("reasoning", text)
                case Refusal(text):
                    yield from self._grow("refusal", text)
                case LogProbs(tokens):
                    self._logprobs += tokens
                case CallPiece():
                    yield from self._grow_call(piece)
                case Ended():
                    yield from self.close()
                    self.ended = piece

    def more(self, text: str) -> bool:
        """Return whether text went on that is the open part; it has grown by it then. The short way for most of what comes."""
        part = self._open
        if part is None or part.kind != "text" or self._logprobs:
            return False
        part.texts.append(text)
        return True

    def close(self) -> Iterator[PartEvent]:
        """End what is open: nothing more comes."""
        yield from self._close()
        while self._waiting:
            index = min(self._waiting)
            for piece in self._waiting.pop(index):
                yield from self._say(piece)
            yield from self._close()

    def _grow(self, kind: Kind, text: str) -> Iterator[PartEvent]:
        part = self._open
        if part is None or part.kind != kind:
            yield from self._close()
            part = self._begin(kind)
            yield Began(part)
        part.texts.append(text)
        logprobs, self._logprobs = self._logprobs, []
        part.logprobs += logprobs
        yield Grew(part, text, logprobs)

    def _grow_call(self, piece: CallPiece) -> Iterator[PartEvent]:
        open = self._open is not None and self._open.kind == "call"
        if open and piece.index != self._call and not _is_complete(self._open.text if self._open else ""):
            self._waiting.setdefault(piece.index, []).append(piece)
            return
        for waiting in self._waiting.pop(piece.index, ()):
            yield from self._say(waiting)
        yield from self._say(piece)

    def _say(self, piece: CallPiece) -> Iterator[PartEvent]:
        part = self._open
        if part is None or part.kind != "call" or piece.index != self._call:
            yield from self._close()
            part = self._begin("call", piece.id or "", piece.name or "")
            self._call = piece.index
            yield Began(part)
        if piece.arguments:
            part.texts.append(piece.arguments)
            yield Grew(part, piece.arguments)

    def _begin(self, kind: Kind, id: str = "", name: str = "") -> Part:
        self._open = part = Part(len(self.all), kind, id, name)
        self.all.append(part)
        return part

    def _close(self) -> Iterator[PartEvent]:
        part, self._open = self._open, None
        if part is not None:
            yield Closed(part)


def _is_complete(arguments: str) -> bool:
    try:
        json.loads(arguments or "null")
    except ValueError:
        return False
    return bool(arguments)


def arguments_of(part: Part) -> Any:
    """Return the arguments of a call as data; what isn't a JSON object as it is, under `arguments`."""
    try:
        data = json.loads(part.text or "{}")
    except ValueError:
        data = part.text
    return data if isinstance(data, dict) else {"arguments": data}
