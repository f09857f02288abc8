"""`POST /v1/completions`: OpenAI's completions of one text or several, streamed or whole."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import replace
from json.encoder import encode_basestring
from typing import Any, cast

from fastapi import APIRouter, Request
from starlette.responses import Response

from deployments.asgi.json_values import json_text, parse_object, utf8
from deployments.asgi.straight import StraightRoute
from deployments.conversations.parameters import decoded, request_body
from deployments.conversations.pieces import Answer, Ended, LogProbs, Piece, Refusal
from deployments.conversations.request import Conversation, for_workflows
from deployments.gateway.gateway import Gateway
from deployments.transports.begun import begun_all
from deployments.transports.openai import descriptions
from deployments.transports.openai.errors import DONE, RUN_HEADERS, error_event
from deployments.transports.openai.parameters import CompletionBody
from deployments.transports.openai.requests import Wanted, choices, sampling
from deployments.transports.openai.usage import summed
from deployments.transports.piece_answer import Choice, Encoder, PieceAnswer
from graphs.errors import AnabranchError, InvalidInput
from graphs.stream import Value

MOST_CHOICES = 128
FINISHES = frozenset({"stop", "length", "content_filter"})
"""What completions know; an answer that ends otherwise has stopped."""


def decode(said: Mapping[str, object]) -> Wanted:
    """Return what a request asks for. Choice i of prompt p is number p * n + i."""
    body = decoded(CompletionBody, said)
    fields, extra = for_workflows(said)
    prompts = cast("list[str]", body.prompt if isinstance(body.prompt, list) else [body.prompt])
    if len(prompts) * (body.n or 1) > MOST_CHOICES:
        many = f"{len(prompts)} prompts with {body.n or 1} choices each"
        raise InvalidInput(
            f"prompt: at most {MOST_CHOICES} choices come at once, not {many}; send fewer", field="prompt"
        )
    if body.logprobs is not None and body.echo:
        why = "how likely the tokens of the prompt are isn't known"
        raise InvalidInput(f"logprobs: {why}; leave it out, or leave echo out", field="logprobs")
    conversation = Conversation(
        use="completion",
        model=body.model,
        stream=bool(body.stream),
        sampling=sampling(body, body.max_tokens),
        logprobs=body.logprobs,
        fields=fields,
        extra=extra,
        body=CompletionBody,
    )
    each = [one for text in prompts for one in choices(replace(conversation, prompt=text), body.n)]
    return Wanted(
        conversations=each,
        stream=conversation.stream,
        include_usage=bool(body.stream_options and body.stream_options.include_usage),
        store=bool(body.store),
        echo=bool(body.echo),
        of_a_prompt=body.n or 1,
    )


def encoder(model: str, begun: Sequence[Choice], wanted: Wanted) -> CompletionEncoder:
    """Return what writes the answer; `model` is as the request names it."""
    prompts = [conversation.prompt or "" for conversation in wanted.conversations] if wanted.echo else ()
    run = begun[0].running.run.id
    return CompletionEncoder(
        run,
        model,
        len(begun),
        of_a_prompt=wanted.of_a_prompt,
        with_usage=wanted.include_usage,
        logprobs=wanted.conversations[0].logprobs is not None,
        echo=prompts,
    )


class CompletionEncoder(Encoder):
    """Chunks, or one completion. Its words are text alone: reasoning and calls of tools have no place in it."""

    run_headers = RUN_HEADERS

    def __init__(
        self,
        run: str,
        model: str,
        choices: int,
        *,
        of_a_prompt: int = 1,
        with_usage: bool = False,
        logprobs: bool = False,
        echo: Sequence[str] = (),
    ) -> None:
        """`run` is the id of the first choice's run; so many choices in a row are of one prompt; `echo` has what each begins with."""
        self._run, self._of_a_prompt, self._with_usage = run, of_a_prompt, with_usage
        self._logprobs, self._offsets = logprobs, [0] * choices
        self._head = {
            "id": f"cmpl-{run.removeprefix('run_')}",
            "object": "text_completion",
            "created": int(time.time()),
            "model": model,
        }
        self._answers = [Answer() for _ in range(choices)]
        self._echo = dict(enumerate(echo))
        # Constant in every chunk but the last.
        head = json_text(self._head)[:-1]
        self._before = [f'data: {head}, "choices": [{{"index": {index}, "text": ' for index in range(choices)]
        usage = ', "usage": null' if with_usage else ""
        self._after = f', "logprobs": null, "finish_reason": null}}]{usage}}}\n\n'

    def encode(self, choice: int, pieces: Sequence[Piece]) -> bytes:
        before, after = self._before[choice], self._after
        events: list[str] = []
        if self._echo and (prompt := self._echo.pop(choice, "")):
            events.append(f"{before}{encode_basestring(prompt)}{after}")
        events += [
            f"{before}{encode_basestring(piece)}{after}"
            if type(piece) is str and not self._logprobs
            else self._event_of(choice, piece)
            for piece in pieces
        ]
        return utf8("".join(events))

    def _event_of(self, choice: int, piece: Piece) -> str:
        match piece:
            case str() | Refusal():
                return self._chunk(choice, piece if isinstance(piece, str) else piece.text)
            case LogProbs():
                self._answers[choice].add([piece])  # told with the text that follows
                return ""
            case Ended():
                self._answers[choice].ended = piece
                return self._chunk(choice, "", _finish(piece))
            case _:
                return ""

    def _chunk(self, choice: int, text: str, finish: str | None = None) -> str:
        said = {"index": choice, "text": text, "logprobs": self._told(choice), "finish_reason": finish}
        return self._event({"choices": [said], **({"usage": None} if self._with_usage else {})})

    def _told(self, choice: int) -> Value:
        """Return the probabilities that no chunk has told yet, in the form of completions."""
        answer = self._answers[choice]
        tokens, answer.logprobs = answer.logprobs, []
        if not (self._logprobs and tokens):
            return None
        told, self._offsets[choice] = _table(tokens, self._offsets[choice])
        return told

    def _event(self, said: dict[str, Value]) -> str:
        return f"data: {json_text({**self._head, **said})}\n\n"

    def end(self) -> bytes:
        usage = summed(self._answers, self._of_a_prompt) if self._with_usage else None
        last = "" if usage is None else self._event({"choices": [], "usage": usage})
        return utf8(last) + DONE

    def error(self, error: AnabranchError) -> bytes:
        return error_event(error, self._run)

    def add(self, choice: int, pieces: Sequence[Piece]) -> None:
        self._answers[choice].add(piece.text if isinstance(piece, Refusal) else piece for piece in pieces)

    def whole(self) -> Value:
        usage = summed(self._answers, self._of_a_prompt)
        choices = [
            {
                "index": index,
                "text": self._echo.get(index, "") + answer.text,
                "logprobs": self._told(index),
                "finish_reason": _finish(answer.ended),
            }
            for index, answer in enumerate(self._answers)
        ]
        said = {**self._head, "choices": choices}
        return said if usage is None else {**said, "usage": usage}


def _table(tokens: Sequence[Any], offset: int) -> tuple[dict[str, Value], int]:
    """Return the probabilities of tokens as completions list them, the first at an offset in the text; and the end's offset."""
    offsets: list[int] = []
    for each in tokens:
        offsets.append(offset)
        offset += len(each["token"])
    told: dict[str, Value] = {
        "tokens": [each["token"] for each in tokens],
        "token_logprobs": [each["logprob"] for each in tokens],
        "top_logprobs": [{top["token"]: top["logprob"] for top in each["top_logprobs"]} for each in tokens],
        "text_offset": offsets,
    }
    return told, offset


def _finish(ended: Ended | None) -> str:
    return ended.finish if ended is not None and ended.finish in FINISHES else "stop"


def routes(gateway: Gateway, heartbeat_every: float) -> APIRouter:
    """Return the route of completions."""
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
        "/completions", complete, methods=["POST"], summary="Continue a text", response_class=Response,
        responses=descriptions.answers(descriptions.COMPLETION, descriptions.COMPLETION_CHUNK),
        openapi_extra=request_body(CompletionBody), route_class_override=StraightRoute,
    )  # fmt: skip
    return router
