"""Requests over the WebSockets of chat completions: told apart, cancelled, refused, and held back by those who don't read."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

import pytest
from websockets.exceptions import InvalidStatus

from deployments.asgi.socket import MOST
from deployments.runs.events import Invocation
from graphs.errors import ComponentFailed
from graphs.plan import Options, OutputKind
from graphs.stream import Batch, Stream
from tests.transports.served import Feed, answering, app, asked, one, serving, soon
from tests.transports.socketed import CHAT, MODEL, finish, talking, text

TEXT = one(OutputKind("text", "sse-text"))


class Parts:
    """A component whose every call is a feed of its own, named by the text that it is asked."""

    def __init__(self) -> None:
        self._feeds: dict[str, Feed] = defaultdict(Feed)

    def __getitem__(self, name: str) -> Feed:
        return self._feeds[name]

    async def __call__(self, invocation: Invocation) -> Stream:
        return await self[invocation.input["text"]](invocation)


async def test_an_answer_is_the_chunks_of_a_stream_each_in_a_frame() -> None:
    body = {"model": MODEL, "messages": [{"role": "user", "content": "hi"}], "stream": True}
    async with serving(app(Feed("One", " and", " two"), TEXT)) as address, talking(address) as talk:
        await talk.ask("hi", request_id="a")
        frames = await talk.answer()
    assert text(frames) == "One and two"
    assert {frame.pop("request_id") for frame in frames} == {"a"}
    _, streamed = await asked("POST", CHAT, invoke=Feed("One", " and", " two"), json=body)
    *events, done, rest = streamed.decode().split("\n\n")
    assert (done, rest) == ("data: [DONE]", "")
    for frame, event in zip(frames, events, strict=True):
        other = json.loads(event.removeprefix("data: "))
        assert frame == {**other, "id": frame["id"], "created": frame["created"]}


async def test_a_frame_that_asks_for_no_stream_is_answered_by_one_frame() -> None:
    async with serving(app(Feed("One", " and", " two"), TEXT)) as address, talking(address, f"/api{CHAT}") as talk:
        await talk.ask("hi", stream=False, request_id=7)
        whole = await talk.frame()
    assert whole["object"] == "chat.completion"
    assert whole["choices"][0]["message"]["content"] == "One and two"
    assert whole["request_id"] == 7


class Together:
    """A component that says each text several times, in turn with others, once a number of calls are under way."""

    TIMES = 4

    def __init__(self, calls: int) -> None:
        self._missing = calls
        self._all_there = asyncio.Event()

    async def __call__(self, invocation: Invocation) -> Stream:
        self._missing -= 1
        if not self._missing:
            self._all_there.set()
        return Stream(self._batches(invocation.input["text"]), self._close)

    async def _batches(self, text: str) -> AsyncIterator[Batch]:
        await self._all_there.wait()
        for index in range(self.TIMES):
            yield [f"{text}:{index} "]
            await asyncio.sleep(0)

    async def _close(self) -> None:
        pass


async def test_200_sockets_with_5_requests_each_under_way_get_no_frame_of_another() -> None:
    sockets, requests = 200, 5

    async def converse(address: str, number: int) -> None:
        async with talking(address, compression=None, open_timeout=None) as talk:
            for request in range(requests):
                await talk.ask(f"{number}.{request}", request_id=request)
            said: dict[int, str] = defaultdict(str)
            unfinished = requests
            while unfinished:
                frame = await talk.frame()
                said[frame["request_id"]] += text([frame])
                unfinished -= finish(frame) is not None
            for request in range(requests):
                assert said[request] == "".join(f"{number}.{request}:{index} " for index in range(Together.TIMES))

    together, options = Together(sockets * requests), Options(max_concurrent_count=sockets * requests)
    async with serving(app(together, TEXT, options=options), within=60) as address, asyncio.TaskGroup() as group:
        for number in range(sockets):
            group.create_task(converse(address, number))


async def test_to_leave_cancels_everything_that_is_under_way() -> None:
    parts = Parts()
    async with serving(app(parts, TEXT)) as address:
        async with talking(address) as talk:
            for name in ("silent", "talking"):
                await talk.ask(name, request_id=name)
                await soon(parts[name].asked)
            parts["talking"].give("word")
            await talk.frame()
        await soon(parts["silent"].closed)
        await soon(parts["talking"].closed)


async def test_a_connection_that_breaks_cancels_what_is_under_way() -> None:
    parts = Parts()
    async with serving(app(parts, TEXT)) as address, talking(address) as talk:
        await talk.ask("it")
        await soon(parts["it"].asked)
        talk.wire.transport.abort()
        await soon(parts["it"].closed)


async def test_a_cancel_stops_one_request_and_says_so_in_its_last_frame() -> None:
    parts = Parts()
    async with serving(app(parts, TEXT)) as address, talking(address) as talk:
        for name in ("stopped", "other"):
            await talk.ask(name, request_id=name)
            await soon(parts[name].asked)
        await talk.say(type="cancel", request_id="stopped")
        last = await talk.frame()
        assert (last["request_id"], last["error"]["code"]) == ("stopped", "cancelled")
        await soon(parts["stopped"].closed)
        parts["other"].give("still here")
        parts["other"].end()
        assert text(await talk.answer()) == "still here"


async def test_a_request_that_is_cancelled_before_it_began_is_answered_too() -> None:
    async with serving(app(Feed(), TEXT)) as address, talking(address) as talk:
        await asyncio.gather(talk.ask("it", request_id=1), talk.say(type="cancel", request_id=1))
        last = await talk.frame()
        assert (last["request_id"], last["error"]["code"]) == (1, "cancelled")


async def test_pings_and_keys_are_answered() -> None:
    async with serving(app(Feed("One"), TEXT)) as address, talking(address) as talk:
        await talk.say(type="ping")
        assert await talk.frame() == {"type": "pong"}
        await talk.say(type="auth", api_key="sk-1")
        assert await talk.frame() == {"type": "auth_ok"}
        await talk.ask("hi")
        assert text(await talk.answer()) == "One"


async def test_requests_bear_the_headers_of_the_handshake_and_the_key_of_the_last_auth() -> None:
    seen: list[dict[bytes, bytes]] = []

    def watched(served: Any) -> Any:
        inner = served.entrance

        async def entrance(scope: Any, receive: Any, send: Any) -> None:
            if scope["type"] == "http":
                seen.append(dict(scope["headers"]))
            await inner(scope, receive, send)

        served.entrance = entrance
        return served

    headers = {"Authorization": "Bearer sk-1", "X-Team": "a", "Idempotency-Key": "once"}
    served = watched(app(answering("One"), TEXT))
    async with serving(served) as address, talking(address, additional_headers=headers) as talk:
        await talk.ask("hi")
        await talk.answer()
        await talk.say(type="auth", api_key="sk-2")
        await talk.frame()
        await talk.ask("hi")
        await talk.answer()
    assert [each[b"authorization"] for each in seen] == [b"Bearer sk-1", b"Bearer sk-2"]
    for each in seen:
        assert each[b"x-team"] == b"a"
        assert not {b"idempotency-key", b"upgrade", b"sec-websocket-key", b"accept-encoding"} & set(each)


@pytest.mark.parametrize(
    ("frame", "said"),
    [
        (b'{"model": "story"}', "binary"),
        ("{", "not JSON"),
        ("[]", "expected a JSON object"),
        ("", "empty"),
        ('{"type": "pong"}', "ping, cancel, auth"),
        ('{"type": {}}', "ping, cancel, auth"),
        ('{"request_id": [1]}', "request_id: expected a text"),
        ('{"request_id": true}', "request_id: expected a text"),
        (json.dumps({"request_id": "x" * 257}), "256"),
        ('{"type": "cancel", "request_id": "x"}', 'the request "x" is not under way'),
        ('{"type": "cancel"}', "without a request_id"),
        ('{"type": "auth"}', "api_key"),
        ('{"type": "auth", "api_key": "a\\nb"}', "api_key"),
        ('{"model": "nothing", "messages": [{"role": "user", "content": "hi"}]}', "there is no model 'nothing'"),
        (json.dumps({"messages": "x" * (1 << 20)}), "controller.max_request_size"),
    ],
)
async def test_a_bad_frame_is_told_and_the_socket_stays_open(frame: str | bytes, said: str) -> None:
    async with serving(app(Feed("One"), TEXT)) as address, talking(address) as talk:
        await talk.wire.send(frame)
        error = await talk.error()
        assert said in error["message"]
        assert set(error) >= {"message", "type", "code", "param"}
        await talk.ask("hi")
        assert text(await talk.answer()) == "One"


async def test_an_error_bears_the_id_of_its_request() -> None:
    feed = Feed("One", ends=False)
    async with serving(app(feed, TEXT)) as address, talking(address) as talk:
        await talk.say(model="nothing", messages=[{"role": "user", "content": "hi"}], request_id=1)
        refused = await talk.frame()
        assert (refused["request_id"], refused["error"]["code"]) == (1, "model_not_found")
        await talk.ask("hi", request_id=2)
        await talk.frame()
        feed.fail(ComponentFailed("it broke"))
        frames = [await talk.frame(), await talk.frame()]
        assert "it broke" in frames[-1]["error"]["message"]
        assert frames[-1]["request_id"] == 2


async def test_an_id_that_is_in_use_is_refused_and_free_again_afterwards() -> None:
    parts = Parts()
    async with serving(app(parts, TEXT)) as address, talking(address) as talk:
        for id in ({"request_id": "x"}, {}):
            await talk.ask("it", **id)
            await soon(parts["it"].asked)
            await talk.ask("other", **id)
            assert (await talk.error())["code"] == "request_id_in_use"
            parts["it"].give("word")
            parts["it"].end()
            await talk.answer()
            parts["it"].asked.clear()


async def test_a_client_may_ask_again_as_soon_as_it_has_the_last_frame() -> None:
    async with serving(app(lambda invocation: Feed("One")(invocation), TEXT)) as address, talking(address) as talk:
        for _ in range(50):
            await talk.ask("hi")
            assert text(await talk.answer()) == "One"


async def test_a_socket_has_a_bounded_number_of_requests_under_way() -> None:
    async with serving(app(Feed(), TEXT)) as address, talking(address) as talk:
        for number in range(MOST + 1):
            await talk.ask("hi", request_id=number)
        refused = await talk.frame()
        assert refused["request_id"] == MOST
        assert f"{MOST} requests under way" in refused["error"]["message"]
        await talk.say(type="cancel", request_id=0)
        await talk.frame()
        await talk.ask("hi", request_id="in its place")
        await talk.say(type="ping")
        assert await talk.frame() == {"type": "pong"}


async def test_a_client_that_does_not_read_holds_nobody_else_and_grows_nothing() -> None:
    chunks, closed, made = 100_000, asyncio.Event(), 0

    async def component(invocation: Invocation) -> Stream:
        async def batches() -> AsyncIterator[Batch]:
            nonlocal made
            for _ in range(chunks):
                made += invocation.input["text"] == "slow"
                yield ["x" * 20_000]

        async def close() -> None:
            closed.set()

        return Stream(batches(), close)

    async with (
        serving(app(component, TEXT)) as address,
        talking(address, compression=None, max_queue=1) as slow,
        talking(address, compression=None) as other,
    ):
        await slow.ask("slow")
        await other.ask("quick")
        for _ in range(800):
            await other.frame()
        assert 0 < made < 600, "it goes no further than the connection's own buffers"
        slow.wire.transport.abort()
        await soon(closed)


async def test_a_frame_beyond_what_the_server_reads_closes_the_socket() -> None:
    async with serving(app(Feed(), TEXT)) as address, talking(address) as talk:
        await talk.wire.send("x" * (17 << 20))
        assert (await talk.ended())[0] == 1009


async def test_half_a_character_closes_the_socket_as_its_protocol_wants() -> None:
    async with serving(app(Feed(), TEXT)) as address, talking(address) as talk:
        await talk.wire.send(b'{"model": "\xe2\x82', text=True)
        assert (await talk.ended())[0] == 1007


async def test_a_page_of_another_origin_can_not_open_a_socket() -> None:
    async with serving(app(answering("One"), TEXT, origins=("https://page.test",))) as address:
        for origin in (None, "https://page.test", address):
            async with talking(address, origin=origin) as talk:
                await talk.ask("hi")
                await talk.answer()
        with pytest.raises(InvalidStatus) as refused:
            async with talking(address, origin="https://other.test"):
                pass
    assert refused.value.response.status_code == 403
    assert b"controller.origins" in refused.value.response.body


@pytest.mark.parametrize(("path", "named"), [("/v1/models", '"code"'), ("/nowhere", '"type"')])
async def test_a_socket_where_there_is_none_is_refused_in_the_words_of_its_api(path: str, named: str) -> None:
    async with serving(app(answering("One"), TEXT)) as address:
        with pytest.raises(InvalidStatus) as refused:
            async with talking(address, path):
                pass
    assert refused.value.response.status_code == 404
    said = refused.value.response.body.decode()
    assert f"no WebSocket at {path}" in said
    assert named in said


async def test_a_fault_of_the_server_is_told_without_its_traceback() -> None:
    async def broken(_: Invocation) -> Any:
        raise RuntimeError("secret")

    async with serving(app(broken, TEXT)) as address, talking(address) as talk:
        await talk.ask("hi", request_id=1)
        told = await talk.frame()
        assert told["request_id"] == 1
        assert "secret" not in json.dumps(told)
        await talk.say(type="ping")
        assert await talk.frame() == {"type": "pong"}
