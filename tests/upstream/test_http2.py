"""HTTP/2 where servers offer it: one connection for all calls, streams cut one by one, and HTTP/1.1 everywhere else."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from deployments.components.http_client import HttpClientInput
from graphs.component import Stream
from graphs.errors import InvalidInput, UpstreamFailed
from tests.fakes.calls import Client, everything, failure, one
from tests.upstream.http2_servers import Certificates, Heard, hypercorn

EVENTS = {"path": "/events", "stream_format": "json"}


def application(heard: Heard) -> Any:
    """/echo answers with the request; /events two events, the second when told; anything else hangs after its headers."""

    async def app(scope: Any, receive: Any, send: Any) -> None:
        if scope["type"] != "http":
            raise NotImplementedError
        heard.versions.append(scope["http_version"])
        heard.peers.add(scope["client"])
        body, more = b"", True
        while more:
            message = await receive()
            body += message.get("body", b"")
            more = message.get("more_body", False)
        heard.bodies.append(body)
        heard.arrived.set()
        kind = b"text/event-stream" if scope["path"] != "/echo" else b"application/json"
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-type", kind)]})
        if scope["path"] == "/echo":
            headers = {name.decode(): value.decode() for name, value in scope["headers"]}
            told = {
                "method": scope["method"],
                "query": scope["query_string"].decode(),
                "headers": headers,
                "size": len(body),
            }
            await send({"type": "http.response.body", "body": json.dumps(told).encode()})
            return
        await send({"type": "http.response.body", "body": b"data: 1\n\n", "more_body": True})
        if scope["path"] == "/events":
            await heard.go_on.wait()
            await send({"type": "http.response.body", "body": b"data: 2\n\n"})
            return
        while (await receive())["type"] != "http.disconnect":
            pass
        heard.left.set()

    return app


@pytest.fixture
async def heard() -> Heard:
    return Heard()


@pytest.fixture
async def server(trusted: Certificates, heard: Heard) -> AsyncIterator[str]:
    async with hypercorn(trusted, application(heard)) as url:
        yield url


async def test_a_server_that_offers_http2_is_spoken_to_in_it(client: Client, server: str, heard: Heard):
    api = await client(base_url=server, headers={"X-Key": "k", "Host": "api.example.com"})
    (answer,) = await one(api, path="/echo", params={"q": "안녕"}, body={"a": "한"})
    assert heard.versions == ["2"]
    assert answer.value["method"] == "POST"
    assert answer.value["query"] == "q=%EC%95%88%EB%85%95"
    assert answer.value["headers"]["x-key"] == "k"
    assert answer.value["headers"]["content-type"] == "application/json"
    assert answer.value["headers"]["content-length"] == "11"
    assert heard.bodies == ['{"a":"한"}'.encode()]


async def test_all_calls_share_one_connection(client: Client, server: str, heard: Heard):
    api = await client(base_url=server)
    heard.go_on.set()
    answers = await asyncio.gather(*(one(api, **EVENTS) for _ in range(50)))
    assert answers == [[1, 2]] * 50
    assert await one(api, **EVENTS) == [1, 2]
    assert len(heard.peers) == 1


async def test_the_first_chunk_comes_before_the_second_is_sent(client: Client, server: str, heard: Heard):
    chunks = (await client(base_url=server)).run(HttpClientInput.model_validate(EVENTS))
    assert await anext(chunks) == 1
    heard.go_on.set()
    assert await everything(chunks) == [2]


async def test_leaving_resets_the_stream_and_keeps_the_connection(client: Client, server: str, heard: Heard):
    api = await client(base_url=server)
    async with aclosing(api.run(HttpClientInput(path="/hang", stream_format="json"))) as chunks:  # pyright: ignore[reportArgumentType]
        assert await anext(chunks) == 1
    async with asyncio.timeout(5):
        await heard.left.wait()
    heard.go_on.set()
    assert await one(api, **EVENTS) == [1, 2]
    assert len(heard.peers) == 1


async def test_a_large_body_goes_up_as_the_server_takes_it(client: Client, server: str, heard: Heard):
    (answer,) = await one(await client(base_url=server), path="/echo", body=b"x" * 3_000_000)
    assert answer.value["size"] == 3_000_000


async def test_a_stream_goes_up_as_it_comes(client: Client, server: str, heard: Heard):
    async def batches() -> AsyncIterator[list[bytes]]:
        for _ in range(300):
            yield [b"x" * 1000, b"y" * 9000]

    await one(await client(base_url=server), path="/echo", body=Stream(batches()))
    assert heard.bodies == [(b"x" * 1000 + b"y" * 9000) * 300]


async def test_a_failure_of_the_stream_that_is_sent_is_told_as_its_own(client: Client, server: str):
    async def batches() -> AsyncIterator[list[bytes]]:
        yield [b"x"]
        raise InvalidInput("the source broke")

    error = await failure((await client(base_url=server)).run(HttpClientInput(path="/echo", body=Stream(batches()))))
    assert (type(error), error.message) == (InvalidInput, "the source broke")


async def test_a_server_without_http2_is_spoken_to_in_http1(client: Client, trusted: Certificates, heard: Heard):
    async with hypercorn(trusted, application(heard), alpn=("http/1.1",)) as url:
        api = await client(base_url=url)
        for _ in range(2):
            await one(api, path="/echo")
    assert heard.versions == ["1.1", "1.1"]
    assert len(heard.peers) == 1


async def test_http2_can_be_left_out(client: Client, server: str, heard: Heard):
    await one(await client(base_url=server, http2=False), path="/echo")
    assert heard.versions == ["1.1"]


async def test_a_certificate_that_nobody_vouches_for_is_refused(client: Client, issued: Certificates, heard: Heard):
    async with hypercorn(issued, application(heard)) as url:
        error = await failure((await client(base_url=url)).run(HttpClientInput(path="/echo")))
    assert isinstance(error, UpstreamFailed)
    assert "its TLS certificate is not trusted" in error.message
    assert heard.versions == []


async def test_a_certificate_for_another_name_is_refused(client: Client, trusted: Certificates, heard: Heard):
    async with hypercorn(trusted, application(heard)) as url:
        api = await client(base_url=url.replace("localhost", "127.0.0.2"))
        error = await failure(api.run(HttpClientInput(path="/echo")))
    assert "its TLS certificate is not trusted" in error.message or "can't connect" in error.message
