"""The pieces of an answer -> the events of `/llm`, or its whole answer."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from json.encoder import encode_basestring
from typing import Any

from deployments.asgi.json_values import json_text, utf8
from deployments.conversations.pieces import Answer, Ended, LogProbs, Piece, as_delta
from deployments.sessions.history import answer_message
from deployments.transports.piece_answer import Encoder
from graphs.errors import AnabranchError
from graphs.stream import Value

DONE = b'data: {"done": true}\n\n'
EVERY = 0.5
"""Seconds between two events that tell how far the answer is."""


class PortalEncoder(Encoder):
    """`data: {"content": …}` for each chunk; `data: {"done": true}` at the end."""

    def __init__(self, session_id: str | None = None, progress: Progress | None = None) -> None:
        self._session_id = session_id
        self._progress = progress
        self._answer = Answer()

    def encode(self, choice: int, pieces: Sequence[Piece]) -> bytes:  # noqa: ARG002  (there is one)
        text = "".join([
            f'data: {{"content": {encode_basestring(piece)}}}\n\n' if type(piece) is str else _event(as_delta(piece))
            for piece in pieces
        ])  # fmt: skip
        if self._progress is not None:
            text += _event(self._progress.told(pieces))
        return utf8(text)

    def end(self) -> bytes:
        return DONE

    def error(self, error: AnabranchError) -> bytes:
        return utf8(_event({"error": error.message}))

    def add(self, choice: int, pieces: Sequence[Piece]) -> None:  # noqa: ARG002  (there is one)
        self._answer.add(pieces)

    def whole(self) -> Value:
        message = answer_message(self._answer) or {}
        more = {name: value for name, value in message.items() if name not in ("role", "content")}
        return {"response": message.get("content", ""), "session_id": self._session_id, **more}


class Progress:
    """How far an answer is, told now and then: tokens so far, how many a second, and how many there may be.

    Every chunk counts as a token, until what answers says how many there were.
    """

    def __init__(self, most: int | None, clock: Callable[[], float] = time.monotonic) -> None:
        self._most, self._clock = most, clock
        self._tokens = 0
        self._began: float | None = None
        self._told = -EVERY

    def told(self, pieces: Sequence[Piece]) -> dict[str, Any] | None:
        """Count the next pieces; return what is told after them, if anything is."""
        now = self._clock()
        if self._began is None:
            self._began = now
        self._tokens += sum(not isinstance(piece, Ended | LogProbs) for piece in pieces)
        ended = next((piece for piece in pieces if isinstance(piece, Ended)), None)
        if ended is not None and isinstance(noted := (ended.usage or {}).get("completion_tokens"), int):
            self._tokens = noted
        if ended is None and now - self._told < EVERY:
            return None
        self._told = now
        passed = now - self._began
        rate = round(self._tokens / passed, 1) if passed > 0 else None
        return {"progress": {"tokens": self._tokens, "per_second": rate, "of": self._most}}


def _event(said: dict[str, Any] | None) -> str:
    return "" if said is None else f"data: {json_text(said)}\n\n"
