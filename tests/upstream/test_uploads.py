"""A stream in a request's body is sent as it comes where its type allows, and joined where it doesn't."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

import pytest

from deployments.components.http_client import HttpClientInput
from deployments.upstream.uploads import Upload, sendable
from graphs.component import Note, Stream, Whole
from graphs.errors import AnabranchError, ComponentFailed, InvalidInput, UpstreamFailed
from tests.fakes.calls import Ask, Client, everything, failure, one
from tests.fakes.http_server import Answer, Hang, Reset, Upstream
from tests.fakes.http_server.answers import json_answer

NDJSON = {"Content-Type": "application/x-ndjson"}


class Source:
    """A stream that a test fills, and that knows how it was read."""

    def __init__(self, *batches: list[Any] | AnabranchError | asyncio.Event) -> None:
        self._given = batches
        self.read = 0
        self.closed = asyncio.Event()
        self.stream = Stream(self._batches(), self._close)

    async def _batches(self) -> AsyncIterator[list[Any]]:
        for batch in self._given:
            if isinstance(batch, asyncio.Event):
                await batch.wait()
            elif isinstance(batch, AnabranchError):
                raise batch
            else:
                self.read += 1
                yield batch

    async def _close(self) -> None:
        self.closed.set()


@pytest.mark.parametrize(
    ("batches", "kind", "body"),
    [
        ([["옛날", " 옛적"], ["에"]], "text/plain; charset=utf-8", "옛날 옛적에".encode()),
        ([[b"\0"], [b"\1\2"]], "application/octet-stream", b"\0\1\2"),
        ([[Note({"usage": 1})], [None, ""], ["a"]], "text/plain; charset=utf-8", b"a"),
        ([[{"a": "한"}], [{"b": 2}]], "application/json", '[{"a":"한"},{"b":2}]'.encode()),
        ([], "application/octet-stream", b""),
    ],
)
async def test_the_first_chunk_decides_when_no_header_does(
    ask: Ask, upstream: Upstream, batches: list[list[Any]], kind: str, body: bytes
):
    source = Source(*batches)
    await everything(ask(path="/json", body=source.stream))
    assert upstream.calls[0].headers["Content-Type"] == kind
    assert upstream.calls[0].body == body
    assert source.closed.is_set()


@pytest.mark.parametrize(
    ("headers", "batches", "body"),
    [
        (NDJSON, [[{"a": 1}, "한"], [2]], '{"a":1}\n"한"\n2\n'.encode()),
        ({"Content-Type": "text/csv; charset=euc-kr"}, [["안", "녕"]], "안녕".encode("euc-kr")),
        ({"Content-Type": "audio/wav"}, [[b"a"], ["b"]], b"ab"),
        ({"Content-Type": "application/json"}, [["a"], ["b"]], b'"ab"'),
        ({"Content-Type": "application/x-www-form-urlencoded"}, [["a=1"], ["&b=2"]], b"a=1&b=2"),
    ],
)
async def test_a_header_says_how_chunks_are_written(
    ask: Ask, upstream: Upstream, headers: dict[str, str], batches: list[list[Any]], body: bytes
):
    await everything(ask(path="/json", body=Source(*batches).stream, headers=headers))
    assert upstream.calls[0].headers.getall("Content-Type") == list(headers.values())
    assert upstream.calls[0].body == body


async def test_chunks_leave_before_the_stream_ends(ask: Ask, upstream: Upstream):
    more = asyncio.Event()
    source = Source(["one"], more, [" two"])
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(everything(ask(path="/json", body=source.stream)))
        sending = await upstream.sending()
        assert sending.headers["Transfer-Encoding"] == "chunked"
        more.set()
    assert call.result() == [Whole({"words": ["Once", " upon", " a", " time"]})]
    assert upstream.calls[0].body == b"one two"


async def test_a_source_is_read_no_faster_than_the_upstream_takes_it(ask: Ask, upstream: Upstream):
    upstream.queue("/deaf", Answer([b"{}"], first=[Hang()], reads=False))
    source = Source(*([b"x" * 65536] for _ in range(1000)))
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(everything(ask(path="/deaf", body=source.stream)))
        await upstream.sending()
        for _ in range(5000):
            await asyncio.sleep(0)
        call.cancel()
    assert source.read < 200
    async with asyncio.timeout(5):
        await source.closed.wait()


async def test_an_upstream_that_takes_nothing_times_out(client: Client, upstream: Upstream):
    upstream.queue("/deaf", Answer([b"{}"], first=[Hang()], reads=False))
    source = Source(*([b"x" * 65536] for _ in range(1000)))
    error = await failure((await client(timeout=0.2)).run(HttpClientInput(path="/deaf", body=source.stream)))
    assert "for 0.2 s" in error.message
    async with asyncio.timeout(5):
        await source.closed.wait()


async def test_a_source_that_fails_is_the_error_and_the_upstream_is_not_located_error(ask: Ask, upstream: Upstream):
    broken = ComponentFailed("component 'reader': the disk is gone")
    error = await failure(ask(path="/json", body=Source(["a"], broken).stream))
    assert (type(error), error.message) == (ComponentFailed, broken.message)


async def test_a_chunk_that_cannot_be_written_names_the_body(ask: Ask, upstream: Upstream):
    error = await failure(ask(path="/json", body=Source(["a"], [{"b": 1}]).stream))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "body"
    assert "expected chunks of text or bytes for Content-Type text/plain, got a mapping" in error.message


async def test_half_a_character_in_a_stream_is_refused(ask: Ask):
    assert "half a character" in (await failure(ask(path="/json", body=Source(["a"], ["\ud800"]).stream))).message


async def test_leaving_stops_the_source_and_the_upload(ask: Ask, upstream: Upstream):
    source = Source(["one"], asyncio.Event())
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(everything(ask(path="/json", body=source.stream)))
        sending = await upstream.sending()
        call.cancel()
    async with asyncio.timeout(5):
        await source.closed.wait()
        await sending.left.wait()


async def test_an_answer_may_come_before_the_upload_has_ended(ask: Ask, upstream: Upstream):
    upstream.queue("/early", Answer([b'{"full": true}'], status=413, reads=False))
    source = Source(["one"], asyncio.Event())
    error = await failure(ask(path="/early", body=source.stream))
    assert error.details["upstream"] == {"status": 413, "body": {"full": True}}
    async with asyncio.timeout(5):
        await source.closed.wait()


async def test_what_was_begun_is_not_tried_again(client: Client, upstream: Upstream):
    upstream.queue("/flaky", json_answer({}, 503), json_answer("well"))
    api = await client(max_retries=3, retry_delay=0)
    error = await failure(api.run(HttpClientInput(path="/flaky", body=Source(["a"]).stream)))
    assert isinstance(error, UpstreamFailed)
    assert len(upstream.calls) == 1


async def test_what_may_be_sent_twice_is_not_where_it_streams(ask: Ask, upstream: Upstream):
    upstream.queue("/flaky", Answer(first=[Reset()]), json_answer("well"))
    await failure(ask(path="/flaky", method="PUT", body=Source(["a"]).stream))
    assert len(upstream.calls) == 1


async def test_a_source_nobody_read_is_closed_with_the_call(client: Client):
    source = Source(["a"])
    await failure((await client(base_url="http://127.0.0.1:1")).run(HttpClientInput(path="/", body=source.stream)))
    assert source.closed.is_set()


@pytest.mark.parametrize("status", [307, 308])
async def test_a_redirect_that_keeps_the_body_cannot_be_followed(ask: Ask, upstream: Upstream, status: int):
    upstream.queue("/old", Answer(status=status, headers={"Location": "/echo"}))
    error = await failure(ask(path="/old", body=Source(["a"]).stream))
    assert f"redirected ({status}) to POST {upstream.authority}/echo, but a body that was streamed" in error.message


async def test_a_redirect_that_drops_the_body_is_followed(ask: Ask, upstream: Upstream):
    upstream.queue("/old", Answer(status=303, headers={"Location": "/text"}))
    assert await everything(ask(path="/old", body=Source(["a"]).stream)) == [Whole("Once upon a time")]


async def test_a_stream_may_flow_on_while_it_is_sent(client: Client, upstream: Upstream):
    """One call's chunks go up as they come down from another."""
    api = await client()

    async def batches() -> AsyncIterator[list[Any]]:
        async with aclosing(api.run(HttpClientInput(path="/ndjson", stream_format="json"))) as chunks:  # pyright: ignore[reportArgumentType]
            async for chunk in chunks:
                yield [chunk["word"]]

    await one(api, path="/json", body=Stream(batches()))
    assert upstream.calls[1].body == b"Once upon a time"


async def test_an_upload_is_joined_only_where_it_must_be():
    assert isinstance(await sendable(Source(["a"]).stream, "text/plain"), Upload)
    assert await sendable(Source(["a"]).stream, "application/json") == "a"
    assert await sendable({"a": 1}, None) == {"a": 1}
