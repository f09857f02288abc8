"""A WebSocket: JSON objects of a client in, requests begun and cancelled, frames out; and when it is closed, and with what."""

from __future__ import annotations

import asyncio
import logging
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Hashable, Mapping, Sequence
from contextlib import suppress
from typing import Any

from starlette.types import Message, Send
from starlette.websockets import WebSocket, WebSocketDisconnect

from deployments.asgi.client import STRAIGHT, Cut
from deployments.asgi.draining import DRAINING, Draining
from deployments.asgi.inner_requests import InnerRequests
from deployments.asgi.json_values import json_text, parse_object, shortened, utf8
from graphs.errors import AnabranchError, BadRequest, Cancelled, InvalidInput, Overloaded, TooLarge, Unavailable

MOST = 64
"""Requests that one socket may have under way."""
ENDED, GOING_AWAY, FAULT = 1000, 1001, 1011
PONG = '{"type": "pong"}'
AUTH_OK = '{"type": "auth_ok"}'
_FAULT = "internal error; see the server's log"

logger = logging.getLogger("anabranch.http")


class Socket(ABC):
    """A client's WebSocket.

    One task reads what the client sends, as long as the socket is open: where a server doesn't tell those who write that the
    client has left, it tells. Each request is a task of its own; a client that doesn't read holds these back, for all of them
    wait until the connection takes more.
    """

    def __init__(self, websocket: WebSocket, largest: int) -> None:
        """`largest` is how many bytes a frame may have."""
        self._websocket, self._largest = websocket, largest
        self._send_frame: Send = websocket.scope.get(STRAIGHT, websocket.send)
        # Absent where the server never drains: then nothing stops this socket but its end.
        self._draining: Draining | None = websocket.scope.get(DRAINING)
        self._sending = asyncio.Lock()
        self._tasks: set[asyncio.Task[None]] = set()
        self._requests: dict[Hashable, asyncio.Task[None]] = {}
        """The latest task of each key."""
        self._in_last_words: set[Hashable] = set()
        self._cancelled: set[asyncio.Task[None]] = set()
        """What the client doesn't want any more."""
        self._stopping = False
        self._closing: asyncio.Future[tuple[int, str]] = asyncio.get_running_loop().create_future()
        self.path: str = websocket.scope["path"]
        self.inner = InnerRequests(websocket.scope)

    # --- what each kind of socket says --------------------------------------------------------------------------------

    @abstractmethod
    async def take(self, fields: dict[str, Any]) -> None:
        """Take what the client sent; raise AnabranchError where it can't be done."""

    @abstractmethod
    def refusal(self, error: AnabranchError, fields: Mapping[str, Any]) -> str:
        """Return the frame that tells what is wrong with what the client sent, or why its answer ended: `fields`, as far as
        they could be read."""

    async def opened(self) -> None:  # noqa: B027  (most sockets wait for the client)
        """Do what the socket does before the client has sent anything."""

    # --- its life -----------------------------------------------------------------------------------------------------

    async def attend(self) -> None:
        """Accept the socket, and serve it until the client leaves or it is to be closed. Then nothing of it goes on."""
        await self._websocket.accept()
        if self._draining is not None:
            self._draining.joined(self)
        taking = asyncio.create_task(self._take_all())
        try:
            if not self._closing.done():
                await self.opened()
            await asyncio.wait([taking, self._closing], return_when=asyncio.FIRST_COMPLETED)
        finally:
            if self._draining is not None:
                self._draining.left(self)
            await _cancel(taking, *self._tasks)
        await self._close(taking)

    def stop(self) -> None:
        """Take no new requests, and close once those under way have ended."""
        self._stopping = True
        self._close_if_idle()

    def close(self, code: int, reason: str = "") -> None:
        """Have the socket closed, once what was sent before has left; the first call counts."""
        if not self._closing.done():
            self._closing.set_result((code, reason))

    # --- its requests -------------------------------------------------------------------------------------------------

    def begin(self, key: Hashable, fields: Mapping[str, Any], answer: Callable[[], Awaitable[None]]) -> None:
        """Run `answer`, which sends the answer to `fields`, as a task that stands under `key`.

        What stands there already ends first: a client may ask again as soon as it has the last frame of an answer.
        """
        if self._stopping or len(self._tasks) >= MOST:
            raise _going_away() if self._stopping else _full()
        task = asyncio.create_task(self._answer(fields, answer, self._requests.get(key)))
        self._requests[key] = task
        self._tasks.add(task)
        self._in_last_words.discard(key)
        task.add_done_callback(lambda task: self._ended(key, task))

    def is_under_way(self, key: Hashable) -> bool:
        """Return whether a request stands under this key whose last frame hasn't been sent."""
        return key in self._requests and key not in self._in_last_words

    def say_last_words(self, key: Hashable) -> None:
        """Count a request as ended, though its task isn't: the client will know with the next frame."""
        self._in_last_words.add(key)

    def cancel(self, key: Hashable) -> None:
        """Cancel a request that is under way; its last frame says so."""
        task = self._requests[key]
        self._cancelled.add(task)
        task.cancel()

    async def send(self, text: str) -> None:
        """Send a frame; return when the connection takes more. Nothing is sent to a client that has left."""
        async with self._sending:
            # The task that reads hears that the client has left, and cancels what is under way.
            with suppress(OSError, WebSocketDisconnect):
                await self._send_frame({"type": "websocket.send", "text": text})

    def _ended(self, key: Hashable, task: asyncio.Task[None]) -> None:
        self._tasks.discard(task)
        self._cancelled.discard(task)
        if self._requests.get(key) is task:
            del self._requests[key]
            self._in_last_words.discard(key)
        self._close_if_idle()

    def _close_if_idle(self) -> None:
        if self._stopping and not self._tasks:
            self.close(GOING_AWAY, "going away; connect again")

    async def _answer(
        self, fields: Mapping[str, Any], answer: Callable[[], Awaitable[None]], before: asyncio.Task[None] | None
    ) -> None:
        try:
            if before is not None:
                await asyncio.wait([before])
            await answer()
        except asyncio.CancelledError:
            if asyncio.current_task() not in self._cancelled:
                raise
            error: AnabranchError = Cancelled("the request was cancelled", code="cancelled")
        except AnabranchError as failure:
            error = failure
        except Cut as cut:
            error = Unavailable(str(cut))
        except Exception:
            # The outermost layer of a request: the client gets every error as a frame, and only the log has the traceback.
            logger.exception("WebSocket %s: internal error", self.path)
            error = AnabranchError(_FAULT)
        else:
            return
        await self.send(self.refusal(error, fields))

    # --- what the client sends ----------------------------------------------------------------------------------------

    async def _take_all(self) -> None:
        while (message := await self._websocket.receive())["type"] != "websocket.disconnect":
            fields: dict[str, Any] = {}
            try:
                fields = self._fields(message)
                await self._take(fields)
            except AnabranchError as error:
                await self.send(self.refusal(error, fields))
            # Lets begin what was begun, before a frame that came with this one can cancel it; and others go on in a flood.
            await asyncio.sleep(0)

    def _fields(self, message: Message) -> dict[str, Any]:
        text: str | None = message.get("text")
        if text is None:
            raise BadRequest("expected a text frame, got a binary one; send the JSON as text")
        body = utf8(text)
        if len(body) > self._largest:
            raise TooLarge(
                f"the frame is larger than {self._largest} bytes; send less, or raise controller.max_request_size",
                max_request_size=self._largest,
            )
        return parse_object(body)

    async def _take(self, fields: dict[str, Any]) -> None:
        type = fields.get("type")
        if type == "ping":
            await self.send(PONG)
        elif type == "auth":
            self.inner.authorize(_key(fields))
            await self.send(AUTH_OK)
        else:
            await self.take(fields)

    async def _close(self, taking: asyncio.Task[None]) -> None:
        """Close the socket, unless the client has."""
        if taking.cancelled():
            code, reason = self._closing.result()
        elif (fault := taking.exception()) is not None:
            logger.error("WebSocket %s: internal error", self.path, exc_info=fault)
            code, reason = FAULT, _FAULT
        else:
            return
        with suppress(OSError, WebSocketDisconnect):
            await self._websocket.close(code, reason)


def unknown_type(type: object, known: Sequence[str], hint: str) -> BadRequest:
    """Return the error of a frame whose type nobody knows."""
    shown = shortened(type if isinstance(type, str) else json_text(type))
    return BadRequest(f"type: there is no '{shown}'; the types are {', '.join(known)}; {hint}", field="type")


def _key(fields: Mapping[str, Any]) -> str:
    key = fields.get("api_key")
    if not isinstance(key, str) or not key or not key.isascii() or not key.isprintable():
        raise InvalidInput("api_key: expected the key as a text of ASCII characters", field="api_key")
    return key


def _full() -> Overloaded:
    return Overloaded(f"this socket has {MOST} requests under way; wait for one to end, or open another")


def _going_away() -> Unavailable:
    return Unavailable("this socket is going away, for the server stops or has loaded another document; connect again")


async def _cancel(*tasks: asyncio.Task[None]) -> None:
    """Cancel the tasks, and wait for their ends."""
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
