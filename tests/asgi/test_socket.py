"""When a WebSocket is closed, and with what: by a server that stops, and by a fault."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from typing import Any

import pytest
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket
from websockets.exceptions import InvalidStatus

from deployments.asgi.draining import Draining
from deployments.asgi.socket import Socket
from deployments.transports.app import Api
from graphs.errors import AnabranchError
from graphs.plan import OutputKind
from tests.transports.served import DEADLINE, Feed, app, one, serving, soon
from tests.transports.socketed import CHAT, talking, text

TEXT = one(OutputKind("text", "sse-text"))


@asynccontextmanager
async def draining(feed: Feed) -> AsyncIterator[tuple[str, Draining]]:
    served = app(feed, TEXT)
    assert isinstance(served, Api)
    served.entrance = around = Draining(served.entrance)
    async with serving(served) as address:
        yield address, around


async def test_a_server_that_drains_closes_sockets_once_their_requests_have_ended() -> None:
    feed = Feed("One", ends=False)
    async with draining(feed) as (address, around), talking(address) as idle, talking(address) as busy:
        await busy.ask("hi", request_id=1)
        await soon(feed.asked)
        frames = [await busy.frame(), await busy.frame()]
        drained = asyncio.ensure_future(around.drain())
        assert (await idle.ended())[0] == 1001
        await busy.ask("more", request_id=2)
        refused = await busy.frame()
        assert (refused["request_id"], refused["error"]["code"]) == (2, "unavailable")
        with pytest.raises(InvalidStatus) as late:
            async with talking(address):
                pass
        assert late.value.response.status_code == 503
        assert not drained.done()
        feed.end()
        assert text([*frames, *await busy.answer()]) == "One"
        assert await busy.ended() == (1001, "going away; connect again")
        async with asyncio.timeout(DEADLINE):
            assert await drained == 1


async def test_an_open_socket_is_no_request_under_way_and_what_comes_over_it_is() -> None:
    feed = Feed("One", ends=False)
    async with draining(feed) as (address, around), talking(address, f"/api{CHAT}") as talk:
        await talk.say(type="ping")
        await talk.frame()
        assert around.under_way == 0
        await talk.ask("hi")
        await soon(feed.asked)
        assert around.under_way == 1
        feed.end()
        await talk.answer()
        async with asyncio.timeout(DEADLINE):
            await around.idle()


async def test_a_socket_that_its_client_closes_is_forgotten() -> None:
    async with draining(Feed()) as (address, around):
        async with talking(address) as talk:
            await talk.say(type="ping")
            await talk.frame()
            assert len(around.sockets) == 1
        async with asyncio.timeout(DEADLINE):
            await around.close_sockets()
            assert await around.drain() == 0


class Lingering(Socket):
    """Says a number, and isn't done before it is told to go on."""

    go_on = asyncio.Event()

    async def take(self, fields: dict[str, Any]) -> None:
        async def answer() -> None:
            self.say_last_words("it")
            await self.send(json.dumps(fields))
            await self.go_on.wait()

        assert not self.is_under_way("it")
        self.begin("it", fields, answer)

    def refusal(self, error: AnabranchError, fields: Mapping[str, Any]) -> str:
        raise NotImplementedError


async def test_a_request_whose_last_frame_was_sent_ends_before_the_next_one_of_its_key() -> None:
    async def linger(websocket: WebSocket) -> None:
        await Lingering(websocket, 1000).attend()

    served = Starlette(routes=[WebSocketRoute("/", linger)])
    async with serving(served) as address, talking(address, "/") as talk:
        for number in (1, 2):
            await talk.say(number=number)
        assert await talk.frame() == {"number": 1}
        await talk.say(type="ping")
        assert await talk.frame() == {"type": "pong"}
        Lingering.go_on.set()
        assert await talk.frame() == {"number": 2}


class Broken(Socket):
    """Fails at whatever it is sent."""

    async def take(self, fields: dict[str, Any]) -> None:
        raise RuntimeError(f"a bug, and {fields}")

    def refusal(self, error: AnabranchError, fields: Mapping[str, Any]) -> str:
        raise NotImplementedError


async def test_a_fault_closes_the_socket_without_its_traceback() -> None:
    async def talk_broken(websocket: WebSocket) -> None:
        await Broken(websocket, 1000).attend()

    served = Starlette(routes=[WebSocketRoute("/", talk_broken)])
    async with serving(served) as address, talking(address, "/") as talk:
        await talk.say(secret="hush")
        assert await talk.ended() == (1011, "internal error; see the server's log")


async def test_a_server_that_is_stopped_while_a_client_leaves_without_reading_stops() -> None:
    feed = Feed(*["x" * 100_000] * 200)
    async with (
        serving(app(feed, TEXT)) as address,
        talking(address, compression=None, max_queue=1, close_timeout=0.01) as talk,
    ):
        await talk.ask("hi")
        await soon(feed.asked)
