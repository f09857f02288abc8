"""WebSockets on `/v1/chat/completions` and `/v1/completions`: a request in each frame, several at once, told apart by `request_id`."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, WebSocket

from deployments.asgi.inner_requests import Event
from deployments.asgi.json_values import json_text
from deployments.asgi.socket import Socket, unknown_type
from deployments.gateway.gateway import Gateway
from deployments.transports.openai.errors import error_body
from graphs.errors import AnabranchError, Conflict, InvalidInput, NotFound

PATHS = ("/chat/completions", "/completions")
OTHERS = ("ping", "cancel", "auth")
LONGEST = 256
"""Characters of a request_id: it is in every frame of its answer."""
DONE = b"[DONE]"
GOES_ON = b'"finish_reason": null'
"""In every frame of a stream but the last ones."""

RequestId = str | int | None


class RequestSocket(Socket):
    """A socket on either path. What a request is answered over HTTP is in the frames, without its `data:`."""

    async def take(self, fields: dict[str, Any]) -> None:
        type = fields.get("type")
        id = _request_id(fields)
        if type == "cancel":
            if not self.is_under_way(id):
                raise NotFound(f"{_named(id)} is not under way", field="request_id", code="request_not_found")
            self.cancel(id)
        elif type is not None:
            raise unknown_type(type, OTHERS, "leave `type` out of a request")
        elif self.is_under_way(id):
            raise Conflict(
                f"{_named(id)} is under way; give each request a request_id of its own",
                field="request_id",
                code="request_id_in_use",
            )
        else:
            self.begin(id, fields, lambda: self._ask(id, fields))

    def refusal(self, error: AnabranchError, fields: Mapping[str, Any]) -> str:
        id = fields.get("request_id")
        told = {"request_id": id} if id is not None and _is_id(id) else {}
        return json_text({**error_body(error), **told})

    async def _ask(self, id: RequestId, fields: Mapping[str, Any]) -> None:
        """Send the answer to a request, in frames that bear its id."""
        body = {name: value for name, value in fields.items() if name not in ("type", "request_id")}
        if body.get("stream") is None:
            body["stream"] = True
        end = b"}" if id is None else b', "request_id": %b}' % json_text(id).encode()

        async def say(event: Event) -> None:
            if event.data != DONE:
                if GOES_ON not in event.data:
                    self.say_last_words(id)
                await self.send((event.data[:-1] + end).decode())

        whole = await self.inner.ask("POST", self.path, compact(body), say)
        if whole is not None:
            await self.send((whole.body[:-1] + end).decode())


def compact(fields: Mapping[str, Any]) -> bytes:
    """Return a frame as a body: no longer than it came, for its length has been checked."""
    return json.dumps(fields, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "backslashreplace")


def _request_id(fields: Mapping[str, Any]) -> RequestId:
    id = fields.get("request_id")
    if not _is_id(id):
        raise InvalidInput(
            f"request_id: expected a text of at most {LONGEST} characters, or a whole number", field="request_id"
        )
    return id


def _is_id(id: object) -> bool:
    return id is None or (isinstance(id, str) and len(id) <= LONGEST) or (type(id) is int and abs(id) < 1 << 64)


def _named(id: RequestId) -> str:
    return "a request without a request_id" if id is None else f"the request {json_text(id)}"


def routes(gateway: Gateway, _heartbeat_every: float) -> APIRouter:
    """Return the routes of both sockets."""
    router = APIRouter()

    async def talk(websocket: WebSocket) -> None:
        await RequestSocket(websocket, gateway.plan.controller.max_request_size).attend()

    for path in PATHS:
        router.add_websocket_route(f"/v1{path}", talk)
    return router
