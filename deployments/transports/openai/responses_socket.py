"""WebSocket on `/v1/responses`: OpenAI's mode of the Responses API, in which each turn begins with an event `response.create`.

What a turn is answered over HTTP as a stream is in the frames. The socket remembers the responses that aren't stored, so that
the next turn can go on from them.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from fastapi import APIRouter, WebSocket

from deployments.asgi.inner_requests import Event
from deployments.asgi.json_values import json_text
from deployments.asgi.socket import Socket, unknown_type
from deployments.gateway.gateway import Gateway
from deployments.transports.openai.errors import error_body, openai_status
from deployments.transports.openai.responses.items import Item
from deployments.transports.openai.responses.turn import TURN, Turn
from deployments.transports.openai.sockets import LONGEST, compact
from graphs.errors import AnabranchError, Conflict, InvalidInput

CREATE, STEER = "response.create", "response.steer"
OTHERS = (CREATE, STEER, "ping", "auth")
OF_EVENT = frozenset({"type", "stream", "background", "generate", "stream_id"})
"""Fields of the event `response.create` that say nothing of the response."""
ENDS = frozenset((b"response.completed", b"response.incomplete", b"response.failed"))
REMEMBERED = 16
"""Responses that aren't stored of which a socket knows the latest so many."""


class ResponsesSocket(Socket):
    """A socket on which one response follows another; in each of its lanes, where `stream_id` names some."""

    def __init__(self, websocket: WebSocket, largest: int) -> None:
        super().__init__(websocket, largest)
        self._memory = Memory(largest)

    async def take(self, fields: dict[str, Any]) -> None:
        type = fields.get("type")
        if type == STEER:
            await self.send(_not_steered(fields))
            return
        if type != CREATE:
            raise unknown_type(type, OTHERS, f"a turn begins with {CREATE}")
        _check(fields)
        lane: str | None = fields.get("stream_id")
        if lane is None and self.is_under_way(None):
            message = "a response is under way on this socket; wait for its end, or give each a stream_id of its own"
            raise Conflict(message, code="response_in_progress")
        # What is under way in a lane ends before.
        self.begin(lane, fields, lambda: self._turn(lane, fields))

    def refusal(self, error: AnabranchError, fields: Mapping[str, Any]) -> str:
        lane = fields.get("stream_id")
        told = {"stream_id": lane} if _is_lane(lane) else {}
        return json_text({"type": "error", "status": openai_status(error), **error_body(error), **told})

    async def _turn(self, lane: str | None, fields: Mapping[str, Any]) -> None:
        """Send the events of a response; each bears its lane."""
        body = compact({**{name: fields[name] for name in fields if name not in OF_EVENT}, "stream": True})
        end = b"}" if lane is None else b', "stream_id": %b}' % json_text(lane).encode()
        turn, size = Turn(self._memory.items), len(body)

        async def say(event: Event) -> None:
            nonlocal size
            if event.name in ENDS:
                size += len(event.data)
                self._remember(turn, size, fields.get("previous_response_id"))
                self.say_last_words(lane)
            await self.send((event.data[:-1] + end).decode())

        whole = await self.inner.ask("POST", self.path, body, say, {TURN: turn})
        if whole is not None:
            head = b'{"type": "error", "status": %d, ' % whole.status
            await self.send((head + whole.body[1:-1] + end).decode())

    def _remember(self, turn: Turn, size: int, previous: str | None) -> None:
        run = turn.run
        if run is not None and run.answered and not run.stored:
            self._memory.add(run.id, run.said(), size, previous)


class Memory:
    """What was said up to the end of the latest responses that aren't stored: so many, and not much more than one frame holds."""

    def __init__(self, largest: int) -> None:
        self.items: dict[str, list[Item]] = {}
        self._largest = largest
        self._sizes: dict[str, int] = {}

    def add(self, id: str, items: list[Item], size: int, previous: str | None) -> None:
        """Remember a response; `size` is that of its turn, in bytes."""
        self.items[id] = items
        self._sizes[id] = size + self._sizes.get(previous or "", 0)
        while len(self.items) > 1 and (len(self.items) > REMEMBERED or sum(self._sizes.values()) > self._largest):
            oldest = next(iter(self.items))
            del self.items[oldest], self._sizes[oldest]


def _check(fields: Mapping[str, Any]) -> None:
    """Refuse what a turn on a socket can't be asked."""
    if fields.get("stream") not in (None, True):
        raise InvalidInput("stream: over a socket events come always; leave it out", field="stream")
    if fields.get("background") not in (None, False):
        message = "background: not over a socket; leave it out, or use POST /v1/responses"
        raise InvalidInput(message, field="background", code="unsupported_parameter")
    if fields.get("generate") not in (None, True):
        message = (
            "generate: there is nothing to prepare for an answer; leave it out, and send the input with the next turn"
        )
        raise InvalidInput(message, field="generate", code="unsupported_parameter")
    if fields.get("stream_id") is not None and not _is_lane(fields["stream_id"]):
        raise InvalidInput(f"stream_id: expected a text of at most {LONGEST} characters", field="stream_id")


def _is_lane(lane: object) -> bool:
    return isinstance(lane, str) and len(lane) <= LONGEST


def _not_steered(fields: Mapping[str, Any]) -> str:
    """Return the event that gives back the input by which a client would change a response under way."""
    error = {
        "type": "invalid_request_error",
        "code": "steering_not_supported",
        "message": f"a response under way can't be changed; wait for its end, and send the input with a {CREATE}",
    }
    steer = {name: fields.get(name) for name in ("previous_response_id", "input")}
    return json_text({"type": "response.steer.failed", "sequence_number": 0, "error": error, "steer": steer})


def routes(gateway: Gateway, _heartbeat_every: float) -> APIRouter:
    """Return the route of the socket."""
    router = APIRouter()

    async def talk(websocket: WebSocket) -> None:
        await ResponsesSocket(websocket, gateway.plan.controller.max_request_size).attend()

    router.add_websocket_route("/v1/responses", talk)
    return router
