"""The events of a run -> the pieces of its answer."""

from __future__ import annotations

import codecs
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, cast

from deployments.asgi.json_values import json_text
from deployments.conversations.pieces import CallPiece, Ended, LogProbs, Piece, Refusal, Thought
from deployments.runs.events import Delta, Finished
from graphs.stream import Note, Value

SAID = frozenset({"content", "reasoning_content", "reasoning", "tool_calls", "refusal"})
"""One of these makes a mapping a piece of a message, as OpenAI writes it."""
_ONLY_TEXT = frozenset({str})


class Reading:
    """Reads one run. Of several streams side by side, one is the answer: the primary one, or the first that comes."""

    def __init__(self, run: str, primary: str | None = None, *, parallel_calls: bool = True) -> None:
        """`run` is its id: a call that comes without an id gets one made of it."""
        self._run, self._primary = run, primary
        self._parallel_calls = parallel_calls
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        self._calls: set[int] = set()
        """The indexes of calls that have begun."""
        self._finish: str | None = None
        self._usage: Mapping[str, Any] | None = None
        """How the answer ended and what it cost, where its own chunks say so; a component's notes come first."""

    def read(self, delta: Delta) -> Sequence[Piece]:
        """Return the pieces in chunks of the result."""
        if delta.name is not None and not self._is_answer(delta.name):
            return ()
        chunks = delta.chunks
        if _ONLY_TEXT.issuperset(map(type, chunks)):
            return chunks if all(chunks) else [chunk for chunk in chunks if chunk]
        pieces: list[Piece] = []
        for chunk in chunks:
            # Nearly every delta of OpenAI's streams holds its text alone. The last is empty: it is no data of a workflow's own.
            if type(chunk) is dict and len(chunk) == 1 and type(text := chunk.get("content")) is str:
                if text:
                    pieces.append(text)
            elif chunk != {}:
                pieces += self._of(chunk)
        return pieces

    def end(self, finished: Finished) -> list[Piece]:
        """Return the last pieces: those of a result that didn't stream, and how the answer ended."""
        rest = self._decoder.decode(b"", final=True)
        pieces: list[Piece] = [rest] if rest else []
        if not finished.streamed:
            output = finished.output
            if isinstance(output, Mapping) and self._primary in output:
                output = output[self._primary]
            pieces += [*_logprobs(finished.notes), *self._of(output)]
        notes = finished.notes
        pieces.append(Ended(self._finish_of(notes), noted_usage(notes) or self._usage, _stop_sequence(notes)))
        return pieces

    def _is_answer(self, name: str) -> bool:
        if self._primary is None:
            self._primary = name
        return name == self._primary

    def _of(self, chunk: Value) -> Iterator[Piece]:
        match chunk:
            case None:
                pass
            case str():
                if chunk:
                    yield chunk
            case bytes():
                if text := self._decoder.decode(chunk):
                    yield text
            case Note():
                yield from self._of_note(chunk)
            case {"choices": [{"delta": Mapping() as said} | {"message": Mapping() as said} as choice, *_]}:
                yield from self._of_message(said)
                self._hear(cast("Mapping[str, Any]", choice))
                self._hear(cast("Mapping[str, Any]", chunk))
            case {"choices": []}:
                self._hear(cast("Mapping[str, Any]", chunk))
            case Mapping() if not SAID.isdisjoint(chunk) or set(chunk) == {"role"}:
                yield from self._of_message(cast("Mapping[str, Any]", chunk))
                self._hear(cast("Mapping[str, Any]", chunk))
            case _:
                yield json_text(chunk)

    def _of_note(self, note: Note) -> Iterator[Piece]:
        if isinstance(calls := note.data.get("tool_calls"), list):
            yield from self._of_calls(cast("list[Any]", calls))
        if isinstance(tokens := note.data.get("logprobs"), list):
            yield LogProbs(cast("list[Value]", tokens))

    def _of_message(self, said: Mapping[str, Any]) -> Iterator[Piece]:
        reasoning = said.get("reasoning_content") or said.get("reasoning")
        if isinstance(reasoning, str) and reasoning:
            yield Thought(reasoning)
        if isinstance(refusal := said.get("refusal"), str) and refusal:
            yield Refusal(refusal)
        content = said.get("content")
        if content is not None:
            yield from self._of(_text(content))
        if isinstance(calls := said.get("tool_calls"), list):
            yield from self._of_calls(cast("list[Any]", calls))

    def _of_calls(self, calls: list[Any]) -> Iterator[Piece]:
        for place, call in enumerate(calls):
            if not isinstance(call, Mapping):
                continue
            index = call.get("index")
            index = index if isinstance(index, int) else place
            if index > 0 and not self._parallel_calls:
                continue
            piece = _call_piece(index, cast("Mapping[str, Any]", call))
            if index not in self._calls:
                self._calls.add(index)
                piece = piece if piece.id else replace(piece, id=f"call_{self._run.removeprefix('run_')}_{index}")
            yield piece

    def _hear(self, said: Mapping[str, Any]) -> None:
        if isinstance(finish := said.get("finish_reason"), str):
            self._finish = finish
        if isinstance(usage := said.get("usage"), Mapping):
            self._usage = usage

    def _finish_of(self, notes: Iterable[Note]) -> str:
        said = [note.data["finish_reason"] for note in notes if isinstance(note.data.get("finish_reason"), str)]
        finish = said[-1] if said else self._finish or "stop"
        return "tool_calls" if self._calls and finish == "stop" else finish


def _logprobs(notes: Iterable[Note]) -> list[Piece]:
    """Return the probabilities of a whole answer: what came last is what answers."""
    noted = [note.data["logprobs"] for note in notes if isinstance(note.data.get("logprobs"), list)]
    return [LogProbs(cast("list[Value]", noted[-1]))] if noted else []


def _text(content: Any) -> Value:
    """Return the text of a message's content; of a list of parts, what its parts say."""
    if not isinstance(content, list):
        return content
    parts = cast("list[Any]", content)
    texts = [part.get("text") for part in parts if isinstance(part, Mapping)]
    return "".join(text for text in texts if isinstance(text, str))


def _call_piece(index: int, call: Mapping[str, Any]) -> CallPiece:
    function = call.get("function")
    function = cast("Mapping[str, Any]", function) if isinstance(function, Mapping) else {}
    arguments = function.get("arguments")
    more = {key: value for key, value in call.items() if key not in ("index", "id", "type", "function")}
    text = arguments if isinstance(arguments, str) else "" if arguments is None else json_text(arguments)
    return CallPiece(index, call.get("id") or None, function.get("name") or None, text, more)


def _stop_sequence(notes: Iterable[Note]) -> str | None:
    said = [note.data["stop_sequence"] for note in notes if isinstance(note.data.get("stop_sequence"), str)]
    return said[-1] if said else None


def noted_usage(notes: Iterable[Note]) -> Mapping[str, Any] | None:
    """Return what the components noted of the cost, summed."""
    total: dict[str, Any] = {}
    for note in notes:
        if isinstance(usage := note.data.get("usage"), Mapping):
            total = summed_usage(total, cast("Mapping[str, Any]", usage))
    return total or None


def summed_usage(total: Mapping[str, Any], more: Mapping[str, Any]) -> dict[str, Any]:
    """Return both together: numbers added, at any depth."""
    summed = dict(total)
    for name, value in more.items():
        before = summed.get(name)
        if isinstance(value, Mapping):
            summed[name] = summed_usage(before if isinstance(before, Mapping) else {}, cast("Mapping[str, Any]", value))
        elif isinstance(value, int | float) and not isinstance(value, bool):
            summed[name] = value + before if isinstance(before, int | float) else value
        elif before is None:
            summed[name] = value
    return summed
