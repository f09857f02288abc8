"""The pieces of an answer -> Anthropic's events, or the message that they fold to."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

from pydantic_core import from_json

from deployments.asgi.errors import RUN_ID
from deployments.asgi.json_values import json_text, shortened, utf8
from deployments.conversations.parts import Began, Closed, Grew, Part, PartEvent, Parts, arguments_of
from deployments.conversations.pieces import Piece, Thought
from deployments.transports.anthropic.decode import Shown
from deployments.transports.anthropic.errors import REQUEST_ID, error_body
from deployments.transports.piece_answer import Encoder
from graphs.errors import AnabranchError, ComponentFailed
from graphs.stream import Value

PING = b'event: ping\ndata: {"type": "ping"}\n\n'
REASONS = {
    "stop": "end_turn",
    "length": "max_tokens",
    "tool_calls": "tool_use",
    "function_call": "tool_use",
    "content_filter": "refusal",
}
"""OpenAI's reasons of an end -> Anthropic's."""


class MessageEncoder(Encoder):
    """The events of one message, or the message."""

    heartbeat = PING
    run_headers = (RUN_ID, REQUEST_ID)

    def __init__(self, run: str, model: str, shown: Shown | None, stops: Sequence[str] = ()) -> None:
        """`stops` are the request's own: a document may have others, which clients know nothing of."""
        self._run, self._shown, self._stops = run, shown, stops
        self._message: dict[str, Value] = {
            "id": f"msg_{run.removeprefix('run_')}",
            "type": "message",
            "role": "assistant",
            "model": model,
            "content": [],
            "stop_reason": None,
            "stop_sequence": None,
            "stop_details": None,
            "usage": {"input_tokens": 0, "output_tokens": 0},
        }
        self._parts = Parts()
        self._started = False
        self._input: bool | None = None
        """Whether the arguments of the open call are sent as they come; None while they are only white space."""

    def encode(self, choice: int, pieces: Sequence[Piece]) -> bytes:  # noqa: ARG002  (there is one)
        before = b""
        if not self._started:
            self._started = True
            before = utf8(_event("message_start", {"message": self._message})) + PING
        return before + utf8("".join([text for event in self._add(pieces) for text in self._events(event)]))

    def end(self) -> bytes:
        delta, usage = self._ending()
        return utf8(_event("message_delta", {"delta": delta, "usage": usage}) + _event("message_stop", {}))

    def error(self, error: AnabranchError) -> bytes:
        return utf8(_named("error", error_body(error, self._run)))

    def add(self, choice: int, pieces: Sequence[Piece]) -> None:  # noqa: ARG002  (there is one)
        for _ in self._add(pieces):
            pass

    def whole(self) -> Value:
        delta, usage = self._ending()
        content = [self._block(part, whole=True) for part in self._parts.all]
        unknown: Any = self._message["usage"]
        return {**self._message, "content": content, **delta, "usage": {**unknown, **usage}}

    def _add(self, pieces: Sequence[Piece]) -> Iterator[PartEvent]:
        if self._shown is None:
            pieces = [piece for piece in pieces if not isinstance(piece, Thought)]
        yield from self._parts.add(pieces)
        if self._parts.ended is not None:
            _check_calls(self._parts)

    def _events(self, event: PartEvent) -> Iterator[str]:
        match event:
            case Began(part):
                self._input = None
                block = self._block(part, whole=False)
                yield _event("content_block_start", {"index": part.index, "content_block": block})
            case Grew(part, text):
                if (said := self._sent(part, text)) is not None:
                    yield _delta(part, said)
            case Closed(part):
                if part.kind == "call" and not self._input:
                    yield _delta(part, json_text(input_of(part)))
                if part.kind == "reasoning":
                    delta = {"type": "signature_delta", "signature": ""}
                    yield _event("content_block_delta", {"index": part.index, "delta": delta})
                yield _event("content_block_stop", {"index": part.index})

    def _sent(self, part: Part, text: str) -> str | None:
        """Return what is sent of a piece at once."""
        if part.kind == "reasoning":
            return text if self._shown == "text" else None
        if part.kind != "call" or self._input:
            return text
        # What isn't an object is sent when it is complete, as the object that a client reads.
        if self._input is None and (begun := part.text.lstrip()):
            self._input = begun[0] == "{"
            return part.text if self._input else None
        return None

    def _block(self, part: Part, *, whole: bool) -> dict[str, Value]:
        match part.kind:
            case "reasoning":
                text = part.text if whole and self._shown == "text" else ""
                return {"type": "thinking", "thinking": text, "signature": ""}
            case "call":
                return {"type": "tool_use", "id": part.id, "name": part.name, "input": input_of(part) if whole else {}}
            case _:
                return {"type": "text", "text": part.text if whole else ""}

    def _ending(self) -> tuple[dict[str, Value], dict[str, Value]]:
        """Return how the message ended, and what is known of its cost."""
        ended = self._parts.ended
        assert ended is not None, "an answer that succeeded has an end"
        reason, stop = REASONS.get(ended.finish, "end_turn"), None
        if reason == "end_turn" and ended.stop_sequence in self._stops:
            reason, stop = "stop_sequence", ended.stop_sequence
        refused = "".join(part.text for part in self._parts.all if part.kind == "refusal")
        details = None
        if refused or reason == "refusal":
            reason = "refusal"
            details = {"type": "refusal", "category": None, "explanation": refused or None}
        said: dict[str, Value] = {"stop_reason": reason, "stop_sequence": stop, "stop_details": details}
        return said, _usage(ended.usage or {})


def input_of(part: Part) -> Any:
    """Return the arguments of a call as an object; of an object that was cut, what there is."""
    text = part.text.strip()
    if text.startswith("{"):
        return from_json(text, allow_partial=True, allow_inf_nan=False)
    return arguments_of(part) if text else {}


def _check_calls(parts: Parts) -> None:
    """Refuse arguments that begin as an object and aren't one: clients would fail on them."""
    assert parts.ended is not None
    cut = parts.ended.finish == "length"
    for part in parts.all:
        if part.kind == "call" and (text := part.text.strip()).startswith("{"):
            try:
                from_json(text, allow_partial=cut, allow_inf_nan=False)
            except ValueError:
                raise ComponentFailed(
                    f"the model called the tool '{part.name}' with arguments that aren't JSON: {shortened(text)}; ask again"
                ) from None


def _delta(part: Part, text: str) -> str:
    match part.kind:
        case "reasoning":
            kind, name = "thinking_delta", "thinking"
        case "call":
            kind, name = "input_json_delta", "partial_json"
        case _:
            kind, name = "text_delta", "text"
    return (
        f'event: content_block_delta\ndata: {{"type": "content_block_delta", "index": {part.index}, '
        f'"delta": {{"type": "{kind}", "{name}": {encode_basestring(text)}}}}}\n\n'
    )


def _event(name: str, said: Mapping[str, Value]) -> str:
    return _named(name, {"type": name, **said})


def _named(name: str, said: Mapping[str, Value]) -> str:
    return f"event: {name}\ndata: {json_text(said)}\n\n"


def _usage(noted: Mapping[str, Any]) -> dict[str, Value]:
    """Return OpenAI's counts as Anthropic's, which counts apart what was read from a cache."""
    read, written = noted.get("prompt_tokens"), noted.get("completion_tokens")
    cached = (noted.get("prompt_tokens_details") or {}).get("cached_tokens")
    details = noted.get("completion_tokens_details") or {}
    thought = details.get("reasoning_tokens", details.get("thinking_tokens"))
    usage: dict[str, Value] = {"output_tokens": written or 0}
    if isinstance(read, int):
        usage["input_tokens"] = read - (cached or 0)
    if cached is not None:
        usage["cache_read_input_tokens"] = cached
    if thought is not None:
        usage["output_tokens_details"] = {"thinking_tokens": thought}
    return usage
