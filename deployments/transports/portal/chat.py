"""`POST /llm/chat…`: answer a conversation, or the next message of a session; streamed or whole."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from pydantic import BaseModel, Field
from starlette.responses import Response

from deployments.asgi.errors import described
from deployments.asgi.straight import StraightRoute
from deployments.conversations.models import asked
from deployments.gateway.gateway import Gateway
from deployments.sessions.sessions import DETACHED_FOR, Sessions
from deployments.transports.begun import begun
from deployments.transports.piece_answer import Choice, PieceAnswer
from deployments.transports.portal import requests
from deployments.transports.portal.encoder import PortalEncoder, Progress
from deployments.transports.runs import check_key


class ChatAnswer(BaseModel):
    """A whole answer."""

    response: str
    session_id: str | None = Field(description="null where there is no session")
    tool_calls: list[dict[str, Any]] | None = None
    reasoning_content: str | None = None


_STREAM = """
Each chunk is an event `data: {"content": "…"}`; a model that calls tools says `{"tool_calls": […]}`, one that reasons
`{"reasoning_content": "…"}`, and with `progress: true` there is now and then `{"progress": {"tokens", "per_second", "of"}}`.
The last event is `data: {"done": true}`, or `data: {"error": "message"}`. Before the first chunk an error is an HTTP error.
"""
_ERRORS = described(
    {
        400: "the body is not JSON",
        404: "there is no such model",
        409: "the session is answering another message, and the request says on_busy: reject",
        422: "a field of the request is wrong",
        502: "what answers failed, or an API that it called",
        503: "what answers or the store isn't available, or a queue is full: try again after Retry-After",
        504: "what answers took too long",
    }
)


def routes(gateway: Gateway, heartbeat_every: float) -> APIRouter:
    """Return the routes of conversations."""
    router = APIRouter(prefix="/llm", tags=["chat"])
    sessions = gateway.companion(Sessions)
    compression = gateway.plan.controller.compression

    def answer(choice: Choice, encoder: PortalEncoder, *, stream: bool) -> Response:
        return PieceAnswer([choice], encoder, stream=stream, compression=compression, heartbeat_every=heartbeat_every)

    async def chat(request: Request, *, stream: bool) -> Response:
        asking, conversation = requests.chat(await request.body(), stream=stream)
        choice = await begun(gateway, asked(gateway.plan, conversation), conversation)
        return answer(choice, PortalEncoder(None, _progress(asking)), stream=stream)

    async def turn(request: Request, *, stream: bool) -> Response:
        asking, conversation = requests.turn(await request.body(), stream=stream)
        check_key(key := request.headers.get("idempotency-key"))
        running = await sessions.say(
            conversation,
            asking.session_id,
            system_prompt=asking.system_prompt,
            on_busy=asking.on_busy,
            on_disconnect=DETACHED_FOR if asking.on_disconnect is None else asking.on_disconnect,
            key=key,
        )
        encoder = PortalEncoder(running.run.context.session_id, _progress(asking))
        return answer(Choice(running, sessions.reading(running)), encoder, stream=stream)

    async def chat_whole(request: Request) -> Response:
        return await chat(request, stream=False)

    async def chat_stream(request: Request) -> Response:
        return await chat(request, stream=True)

    async def session_whole(request: Request) -> Response:
        return await turn(request, stream=False)

    async def session_stream(request: Request) -> Response:
        return await turn(request, stream=True)

    whole: dict[int | str, dict[str, Any]] = {200: {"model": ChatAnswer}, **_ERRORS}
    streamed: dict[int | str, dict[str, Any]] = {
        200: {"content": {"text/event-stream": {"schema": {"type": "string"}}}},
        **_ERRORS,
    }
    for path, endpoint, summary, body, is_stream in (
        ("/chat", chat_whole, "Answer a conversation", requests.ChatRequest, False),
        ("/chat/stream", chat_stream, "Answer a conversation while it comes", requests.ChatRequest, True),
        ("/chat/session", session_whole, "Answer a message of a session", requests.SessionRequest, False),
        ("/chat/session/stream", session_stream, "Answer a message of a session while it comes",
         requests.SessionRequest, True),
    ):  # fmt: skip
        schema = {"required": True, "content": {"application/json": {"schema": _schema(body)}}}
        router.add_api_route(
            path,
            endpoint,
            methods=["POST"],
            summary=summary,
            description=_STREAM if is_stream else None,
            response_class=Response,
            responses=streamed if is_stream else whole,
            openapi_extra={"requestBody": schema},
            route_class_override=StraightRoute,
        )
    return router


def _progress(asking: requests.Asking) -> Progress | None:
    return Progress(asking.max_tokens) if asking.progress else None


def _schema(body: type[BaseModel]) -> Any:
    """Return the schema of a body with what it refers to in place: in OpenAPI's description the reference would lead nowhere."""
    schema = body.model_json_schema()
    definitions = schema.pop("$defs", {})

    def inlined(value: Any) -> Any:
        match value:
            case {"$ref": str() as name}:
                return inlined(definitions[name.removeprefix("#/$defs/")])
            case dict():
                return {key: inlined(each) for key, each in value.items()}
            case list():
                return [inlined(each) for each in value]
            case _:
                return value

    return inlined(schema)
