"""`POST /v1/chat/completions`: OpenAI's chat completions, streamed or whole."""

from __future__ import annotations

import time
from collections.abc import Sequence
from json.encoder import encode_basestring
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.asgi.json_values import json_bytes, json_text, parse_object, utf8
from deployments.asgi.straight import StraightRoute
from deployments.conversations.models import asked
from deployments.conversations.pieces import Answer, CallPiece, Ended, LogProbs, Piece, Refusal, Thought
from deployments.conversations.request import Conversation, Sampling
from deployments.gateway.gateway import Gateway
from deployments.transports.begun import begun
from deployments.transports.openai.errors import error_body
from deployments.transports.piece_answer import Encoder, PieceAnswer
from graphs.errors import AnabranchError
from graphs.stream import Value

DONE = b"data: [DONE]\n\n"


def decode(body: bytes) -> Conversation:
    """Return what a request asks for."""
    fields = parse_object(body)
    return Conversation(
        use="chat",
        model=fields.get("model"),
        stream=bool(fields.get("stream")),
        messages=fields.get("messages") or [],
        tools=fields.get("tools") or [],
        sampling=Sampling(max_tokens=fields.get("max_tokens"), temperature=fields.get("temperature")),
        fields=fields,
    )


class ChatEncoder(Encoder):
    """Chunks, or one chat completion."""

    def __init__(self, id: str, model: str, choices: int, *, with_usage: bool) -> None:
        self._head = {"id": id, "created": int(time.time()), "model": model}
        self._with_usage = with_usage
        self._answers = [Answer() for _ in range(choices)]
        self._started = [False] * choices
        # Constant in every chunk that holds nothing but text, which nearly all do.
        said = json_text(
            {"id": id, "object": "chat.completion.chunk", "created": self._head["created"], "model": model}
        )
        self._before = [
            f'data: {said[:-1]}, "choices": [{{"index": {index}, "delta": {{"content": ' for index in range(choices)
        ]
        usage = ', "usage": null' if with_usage else ""
        self._after = f'}}, "logprobs": null, "finish_reason": null}}]{usage}}}\n\n'

    def encode(self, choice: int, pieces: Sequence[Piece]) -> bytes:
        before, after = self._before[choice], self._after
        events: list[str] = []
        if not self._started[choice]:
            self._started[choice] = True
            events.append(self._chunk(choice, {"role": "assistant", "content": ""}))
        events += [
            f"{before}{encode_basestring(piece)}{after}" if type(piece) is str else self._other(choice, piece)
            for piece in pieces
        ]
        return utf8("".join(events))

    def _other(self, choice: int, piece: Piece) -> str:
        match piece:
            case str():
                return self._chunk(choice, {"content": piece})
            case Thought(text):
                return self._chunk(choice, {"reasoning_content": text})
            case Refusal(text):
                return self._chunk(choice, {"refusal": text})
            case CallPiece():
                return self._chunk(choice, {"tool_calls": [_call_delta(piece)]})
            case LogProbs(tokens):
                return self._chunk(choice, {}, logprobs={"content": tokens, "refusal": None})
            case Ended():
                self._answers[choice].ended = piece
                return self._chunk(choice, {}, finish=piece.finish)

    def _chunk(self, choice: int, delta: Value, finish: str | None = None, logprobs: Value = None) -> str:
        said = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._event({"choices": [said], **({"usage": None} if self._with_usage else {})})

    def _event(self, said: dict[str, Value]) -> str:
        return f"data: {json_text({**self._head, 'object': 'chat.completion.chunk', **said})}\n\n"

    def end(self) -> bytes:
        usage = _usage(self._answers) if self._with_usage else None
        last = "" if usage is None else self._event({"choices": [], "usage": usage})
        return utf8(last) + DONE

    def error(self, error: AnabranchError) -> bytes:
        return b"data: %b\n\n" % json_bytes(error_body(error))

    def add(self, choice: int, pieces: Sequence[Piece]) -> None:
        self._answers[choice].add(pieces)

    def whole(self) -> Value:
        usage = _usage(self._answers)
        choices = [_choice(index, answer) for index, answer in enumerate(self._answers)]
        said = {**self._head, "object": "chat.completion", "choices": choices}
        return said if usage is None else {**said, "usage": usage}


def _call_delta(piece: CallPiece) -> dict[str, Value]:
    function: dict[str, Value] = {"arguments": piece.arguments}
    if piece.id is None and piece.name is None:
        return {"index": piece.index, "function": function, **piece.more}
    named = {"name": piece.name or "", **function}
    return {"index": piece.index, "id": piece.id, "type": "function", "function": named, **piece.more}


def _choice(index: int, answer: Answer) -> dict[str, Value]:
    calls = [
        {"id": call.id, "type": "function", "function": {"name": call.name, "arguments": call.arguments}, **call.more}
        for _, call in sorted(answer.calls.items())
    ]
    content = answer.text or (None if calls or answer.refusal else "")
    message: dict[str, Value] = {"role": "assistant", "content": content, "refusal": answer.refusal or None}
    if answer.reasoning:
        message["reasoning_content"] = answer.reasoning
    if calls:
        message["tool_calls"] = calls
    logprobs = {"content": answer.logprobs, "refusal": None} if answer.logprobs else None
    finish = answer.ended.finish if answer.ended else "stop"
    return {"index": index, "message": message, "logprobs": logprobs, "finish_reason": finish}


def _usage(answers: Sequence[Answer]) -> dict[str, Any] | None:
    noted = [answer.ended.usage for answer in answers if answer.ended and answer.ended.usage]
    return dict(noted[0]) if noted else None


def routes(gateway: Gateway, heartbeat_every: float) -> APIRouter:
    """Return the route of chat completions."""
    router = APIRouter()

    async def complete(request: Request) -> Response:
        conversation = decode(await request.body())
        run = asked(gateway.plan, conversation)
        choice = await begun(gateway, run, conversation)
        id = f"chatcmpl-{choice.running.run.id.removeprefix('run_')}"
        encoder = ChatEncoder(id, run.name, 1, with_usage=False)
        compression = gateway.plan.controller.compression
        return PieceAnswer(
            [choice], encoder, stream=conversation.stream, compression=compression, heartbeat_every=heartbeat_every
        )

    router.add_api_route(
        "/chat/completions", complete, methods=["POST"], summary="Answer a conversation", response_class=Response,
        route_class_override=StraightRoute,
    )  # fmt: skip
    return router
