"""`POST /v1/messages`, streamed or whole, and `POST /v1/messages/count_tokens`."""

from __future__ import annotations

from contextlib import aclosing
from functools import partial

from fastapi import APIRouter, Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from deployments.asgi.client import Client
from deployments.asgi.errors import DIALECT, RUN_ID, answer_of
from deployments.asgi.json_values import json_bytes
from deployments.asgi.straight import StraightRoute
from deployments.conversations.models import Asked, asked
from deployments.conversations.parameters import request_body
from deployments.gateway.gateway import Gateway
from deployments.gateway.running import Running
from deployments.transports.anthropic import descriptions
from deployments.transports.anthropic.decode import Asking, decode, decode_count
from deployments.transports.anthropic.encoder import MessageEncoder
from deployments.transports.anthropic.errors import NAMES, REQUEST_ID, placed_error
from deployments.transports.anthropic.parameters import MessagesBody, PromptBody
from deployments.transports.begun import begun
from deployments.transports.piece_answer import Choice, PieceAnswer
from graphs.errors import AnabranchError


class CountAnswer(Response):
    """The output of a run that counts the tokens of a prompt. When the client disconnects, the run is cancelled."""

    def __init__(self, running: Running, heartbeat_every: float) -> None:
        self.status_code = 200
        self.background = None
        self._running, self._heartbeat_every = running, heartbeat_every

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        client = Client(scope, receive, send)
        await client.attend(self._write(scope, client), self._heartbeat_every)

    async def _write(self, scope: Scope, client: Client) -> None:
        id = self._running.run.id
        try:
            async with aclosing(self._running):
                body = json_bytes((await self._running.finish()).output)
        except AnabranchError as error:
            await client.answer(answer_of(scope, error, id))
        else:
            await client.answer(Response(body, headers={RUN_ID: id, REQUEST_ID: id}, media_type="application/json"))


def routes(gateway: Gateway, heartbeat_every: float) -> APIRouter:
    """Return the routes of messages."""
    router = APIRouter(prefix="/v1", tags=["anthropic"])

    async def answer(request: Request) -> Response:
        asking = decode(await request.body())
        run, choice = await _begun(gateway, request, asking)
        conversation = asking.conversation
        return PieceAnswer(
            [choice],
            MessageEncoder(choice.running.run.id, run.name, asking.shown, conversation.sampling.stop),
            stream=conversation.stream,
            compression=gateway.plan.controller.compression,
            heartbeat_every=heartbeat_every,
        )

    async def count(request: Request) -> Response:
        _, choice = await _begun(gateway, request, decode_count(await request.body()))
        return CountAnswer(choice.running, heartbeat_every)

    router.add_api_route(
        "/messages", answer, methods=["POST"], summary="Answer a conversation, as Anthropic's API does",
        response_class=Response, responses=descriptions.answers(descriptions.MESSAGE, streams=True),
        openapi_extra=request_body(MessagesBody), route_class_override=StraightRoute,
    )  # fmt: skip
    router.add_api_route(
        "/messages/count_tokens", count, methods=["POST"], summary="Count the tokens of a conversation",
        response_class=Response, responses=descriptions.answers(descriptions.TOKENS), openapi_extra=request_body(PromptBody),
        route_class_override=StraightRoute,
    )  # fmt: skip
    return router


async def _begun(gateway: Gateway, request: Request, asking: Asking) -> tuple[Asked, Choice]:
    """Begin the run of a request, whose errors from now on name places as the request has them."""
    run = asked(gateway.plan, asking.conversation)
    if run.model.is_component:
        asking.check_for_component()
    request.scope[DIALECT] = partial(placed_error, asking.places, NAMES if run.model.is_component else {})
    return run, await begun(gateway, run, asking.conversation)
