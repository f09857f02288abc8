"""`POST /v1/chat/completions`: OpenAI's chat completions, streamed or whole."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from json.encoder import encode_basestring
from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.asgi.json_values import json_text, parse_object, utf8
from deployments.asgi.straight import StraightRoute
from deployments.conversations.parameters import decoded, request_body
from deployments.conversations.pieces import Answer, CallPiece, Ended, LogProbs, Piece, Refusal, Thought
from deployments.conversations.request import Conversation, for_workflows
from deployments.gateway.gateway import Gateway
from deployments.transports.begun import begun_all
from deployments.transports.openai import descriptions
from deployments.transports.openai.errors import DONE, RUN_HEADERS, error_event
from deployments.transports.openai.parameters import ChatBody
from deployments.transports.openai.requests import Wanted, choices, sampling
from deployments.transports.openai.usage import summed
from deployments.transports.piece_answer import Choice, Encoder, PieceAnswer
from graphs.errors import AnabranchError, InvalidInput
from graphs.stream import Value


def decode(said: Mapping[str, Any]) -> Wanted:
    """Return what a request asks for."""
    body = decoded(ChatBody, said)
    fields, extra = for_workflows(said)
    limit = body.max_tokens if body.max_completion_tokens is None else body.max_completion_tokens
    if body.top_logprobs and not body.logprobs:
        raise InvalidInput('top_logprobs: it needs logprobs; write "logprobs": true beside it', field="top_logprobs")
    conversation = Conversation(
        use="chat",
        model=body.model,
        stream=bool(body.stream),
        messages=body.messages,
        tools=body.tools or (),
        tool_choice=body.tool_choice,
        parallel_tool_calls=body.parallel_tool_calls is not False,
        response_format=body.response_format,
        sampling=sampling(body, limit),
        chat_template_kwargs=body.chat_template_kwargs,
        reasoning_effort=body.reasoning_effort,
        logprobs=(body.top_logprobs or 0) if body.logprobs else None,
        fields=fields,
        extra=extra,
        body=ChatBody,
    )
    return Wanted(
        conversations=choices(conversation, body.n),
        stream=conversation.stream,
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        store=bool(body.store),
    )


def encoder(model: str, begun: Sequence[Choice], wanted: Wanted) -> ChatEncoder:
    """Return what writes the answer; `model` is as the request names it."""
    logprobs = wanted.conversations[0].logprobs is not None
    return ChatEncoder(begun[0].running.run.id, model, len(begun), with_usage=wanted.include_usage, logprobs=logprobs)


class ChatEncoder(Encoder):
    """Chunks, or one chat completion."""

    run_headers = RUN_HEADERS

    def __init__(self, run: str, model: str, choices: int, *, with_usage: bool = False, logprobs: bool = False) -> None:
        """`run` is the id of the first choice's run."""
        self._run, self._model, self._created = run, model, int(time.time())
        self._with_usage, self._logprobs = with_usage, logprobs
        self._answers = [Answer() for _ in range(choices)]
        self._started = [False] * choices
        # Constant in every chunk that holds nothing but text, which nearly all do.
        head = json_text(self._head("chat.completion.chunk"))[:-1]
        self._before = [
            f'data: {head}, "choices": [{{"index": {index}, "delta": {{"content": ' for index in range(choices)
        ]
        usage = ', "usage": null' if with_usage else ""
        self._after = f'}}, "logprobs": null, "finish_reason": null}}]{usage}}}\n\n'

    def encode(self, choice: int, pieces: Sequence[Piece]) -> bytes:
        before, after = self._before[choice], self._after
        events: list[str] = []
        if not self._started[choice]:
            self._started[choice] = True
            events.append(self._chunk(choice, {"role": "assistant", "content": ""}))
        if self._logprobs:
            events += [self._event_of(choice, piece) for piece in pieces]
        else:
            events += [
                f"{before}{encode_basestring(piece)}{after}" if type(piece) is str else self._event_of(choice, piece)
                for piece in pieces
            ]
        return utf8("".join(events))

    def _event_of(self, choice: int, piece: Piece) -> str:
        match piece:
            case str():
                return self._chunk(choice, {"content": piece})
            case Thought(text):
                return self._chunk(choice, {"reasoning_content": text})
            case Refusal(text):
                return self._chunk(choice, {"refusal": text})
            case CallPiece():
                return self._chunk(choice, {"tool_calls": [_call_delta(piece)]})
            case LogProbs():
                self._answers[choice].add([piece])  # told with the text that follows
                return ""
            case Ended():
                self._answers[choice].ended = piece
                return self._chunk(choice, {}, piece.finish)

    def _chunk(self, choice: int, delta: Value, finish: str | None = None) -> str:
        answer = self._answers[choice]
        logprobs = self._logprobs_of(answer)
        answer.logprobs = []
        said = {"index": choice, "delta": delta, "logprobs": logprobs, "finish_reason": finish}
        return self._event({"choices": [said], **({"usage": None} if self._with_usage else {})})

    def _event(self, said: dict[str, Value]) -> str:
        return f"data: {json_text({**self._head('chat.completion.chunk'), **said})}\n\n"

    def _head(self, kind: str) -> dict[str, Value]:
        id = f"chatcmpl-{self._run.removeprefix('run_')}"
        return {"id": id, "object": kind, "created": self._created, "model": self._model}

    def end(self) -> bytes:
        usage = summed(self._answers) if self._with_usage else None
        last = "" if usage is None else self._event({"choices": [], "usage": usage})
        return utf8(last) + DONE

    def error(self, error: AnabranchError) -> bytes:
        return error_event(error, self._run)

    def add(self, choice: int, pieces: Sequence[Piece]) -> None:
        self._answers[choice].add(pieces)

    def whole(self) -> Value:
        usage = summed(self._answers)
        choices = [self._choice(index, answer) for index, answer in enumerate(self._answers)]
        said = {**self._head("chat.completion"), "choices": choices}
        return said if usage is None else {**said, "usage": usage}

    def _choice(self, index: int, answer: Answer) -> dict[str, Value]:
        finish = answer.ended.finish if answer.ended else "stop"
        said = {"index": index, "message": _message(answer), "logprobs": self._logprobs_of(answer)}
        return {**said, "finish_reason": finish}

    def _logprobs_of(self, answer: Answer) -> Value:
        return {"content": answer.logprobs, "refusal": None} if self._logprobs and answer.logprobs else None


def _call_delta(piece: CallPiece) -> dict[str, Value]:
    function: dict[str, Value] = {"arguments": piece.arguments}
    if piece.id is None and piece.name is None:
        return {"index": piece.index, "function": function, **piece.more}
    named = {"name": piece.name or "", **function}
    return {"index": piece.index, "id": piece.id, "type": "function", "function": named, **piece.more}


def _message(answer: Answer) -> dict[str, Value]:
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
    return message


def routes(gateway: Gateway, heartbeat_every: float) -> APIRouter:
    """Return the route of chat completions."""
    router = APIRouter(prefix="/v1", tags=["openai"])

    async def complete(request: Request) -> Response:
        wanted = decode(parse_object(await request.body()))
        run, begun = await begun_all(gateway, wanted.conversations, wanted.keep)
        compression = gateway.plan.controller.compression
        writer = encoder(run.name, begun, wanted)
        return PieceAnswer(
            begun, writer, stream=wanted.stream, compression=compression, heartbeat_every=heartbeat_every
        )

    router.add_api_route(
        "/chat/completions", complete, methods=["POST"], summary="Answer a conversation", response_class=Response,
        responses=descriptions.answers(descriptions.CHAT, descriptions.CHAT_CHUNK),
        openapi_extra=request_body(ChatBody), route_class_override=StraightRoute,
    )  # fmt: skip
    return router
