"""The http-client against an upstream that misbehaves on demand: what can be read is read, and everything else is an error."""

from __future__ import annotations

import asyncio
import gzip
import itertools
import tracemalloc
import zlib
from collections.abc import Awaitable, Coroutine
from types import SimpleNamespace
from typing import Any

import aiohttp
import pytest
from aiohttp.base_protocol import BaseProtocol
from aiohttp.streams import StreamReader

from deployments.upstream.call_fields import CallerConfig
from deployments.upstream.decoding import AnswerFormat
from deployments.upstream.exchange import Exchange
from deployments.upstream.http1 import Response
from deployments.upstream.request import build_request
from deployments.upstream.upstreams import Target
from graphs.component import Whole
from graphs.errors import UpstreamFailed
from tests.fakes.calls import Ask, Client, everything, failure, one, said
from tests.fakes.http_server import Answer, HalfClose, Hang, Raw, Reset, Step, Upstream, Wait, events, json_lines
from tests.fakes.http_server.answers import NDJSON, SSE, json_answer
from tests.fakes.http_server.demand import WORDS

STREAMS = {
    "/v1/chat/completions": lambda chunk: chunk["choices"][0]["delta"].get("content") if chunk["choices"] else None,
    "/v1/completions": lambda chunk: chunk["choices"][0]["text"],
    "/v1/messages": lambda chunk: chunk.get("delta", {}).get("text"),
    "/events": lambda chunk: chunk["word"],
    "/ndjson": lambda chunk: chunk["word"],
}

ALL = pytest.mark.parametrize("path", STREAMS)
SSE_ONLY = pytest.mark.parametrize("path", [path for path in STREAMS if path != "/ndjson"])


async def text(ask: Ask, path: str, **asked: Any) -> str:
    """Stream a path with these demands, and return the text in its chunks."""
    chunks = await said(ask(path=path, params=asked, body={"stream": True}, stream_format="json"))
    return "".join(STREAMS[path](chunk) or "" for chunk in chunks)


# Bytes, however they are cut


@ALL
@pytest.mark.parametrize("lang", WORDS)
@pytest.mark.parametrize("split", [1, 2, 3])
async def test_characters_arrive_whole_wherever_they_are_split(ask: Ask, path: str, lang: str, split: int):
    assert await text(ask, path, lang=lang, split=split) == "".join(WORDS[lang])


async def test_plain_text_arrives_whole_wherever_it_is_split(ask: Ask):
    chunks = await everything(ask(path="/text", params={"lang": "emoji", "split": 1}, stream_format="text"))
    assert "".join(chunks) == "".join(WORDS["emoji"])


@ALL
@pytest.mark.parametrize("pack", [2, 100])
async def test_several_chunks_in_one_packet_are_as_many_chunks(ask: Ask, path: str, pack: int):
    assert await text(ask, path, count=10, pack=pack) == "".join(itertools.islice(itertools.cycle(WORDS["en"]), 10))


@SSE_ONLY
@pytest.mark.parametrize("split", [0, 1])
@pytest.mark.parametrize("eol", ["lf", "cr", "crlf"])
async def test_lines_may_end_as_the_standard_allows(ask: Ask, path: str, eol: str, split: int):
    assert await text(ask, path, eol=eol, split=split) == "Once upon a time"


@SSE_ONLY
@pytest.mark.parametrize("what", ["multiline", "comments", "ids", "retry", "bom", "unfinished"])
async def test_what_the_standard_allows_changes_nothing(ask: Ask, path: str, what: str):
    assert await text(ask, path, **{what: 1}, lang="ko", split=5) == "".join(WORDS["ko"])


@pytest.mark.parametrize("what", ["bom", "unfinished", "gzip"])
@pytest.mark.parametrize("eol", ["lf", "crlf"])
async def test_lines_of_json_may_be_written_in_several_ways(ask: Ask, what: str, eol: str):
    assert await text(ask, "/ndjson", eol=eol, **{what: 1}) == "Once upon a time"


@ALL
async def test_a_packed_stream_is_unpacked(ask: Ask, path: str):
    assert await text(ask, path, gzip=1, lang="ko") == "".join(WORDS["ko"])


async def test_empty_and_null_deltas_are_chunks_that_say_nothing(ask: Ask):
    assert await text(ask, "/v1/chat/completions", empty=1, null=1) == "Once upon a time"


async def test_tool_calls_and_usage_come_as_they_are(ask: Ask):
    params = {"tools": 1, "usage": 1}
    chunks = await said(ask(path="/v1/chat/completions", params=params, body={"stream": True}, stream_format="json"))
    calls = [call for chunk in chunks for choice in chunk["choices"] for call in choice["delta"].get("tool_calls", [])]
    assert "".join(call["function"].get("arguments", "") for call in calls) == '{"q": "안녕"}'
    assert chunks[-1]["usage"]["total_tokens"] == 7


# The end


@pytest.mark.parametrize("done", [0, 1, 2])
async def test_done_may_be_missing_or_said_twice(ask: Ask, done: int):
    assert await text(ask, "/v1/chat/completions", done=done) == "Once upon a time"


@ALL
async def test_a_body_may_end_where_its_connection_does(ask: Ask, path: str):
    assert await text(ask, path, framed=0, done=0) == "Once upon a time"


@ALL
@pytest.mark.parametrize("end", ["reset", "half"])
async def test_a_stream_that_breaks_off_is_an_error_that_names_component_and_upstream(
    ask: Ask, upstream: Upstream, path: str, end: str
):
    chunks = ask(path=path, params={"at": 2, "end": end}, body={"stream": True}, stream_format="json")
    assert await anext(chunks)
    error = await failure(chunks)
    assert isinstance(error, UpstreamFailed)
    assert error.message.startswith(f"component 'api': POST {upstream.authority}{path}: ")
    assert "in the middle" in error.message


async def test_what_came_before_the_connection_broke_is_given_to_a_slow_reader_too(ask: Ask, upstream: Upstream):
    read = asyncio.Event()
    upstream.queue("/cut", Answer([*events("1"), Wait(read), *events("2", "3"), Reset()], SSE))
    chunks = ask(path="/cut", stream_format="json")
    assert await anext(chunks) == 1
    read.set()
    await upstream.calls[0].left.wait()
    for _ in range(1000):
        await asyncio.sleep(0)
    assert [await anext(chunks), await anext(chunks)] == [2, 3]
    assert "in the middle" in (await failure(chunks)).message


@pytest.mark.parametrize("error", [aiohttp.SocketTimeoutError(), aiohttp.ClientPayloadError(), ConnectionResetError()])
async def test_what_came_before_a_failure_is_read_first(error: Exception):
    content = StreamReader(BaseProtocol(asyncio.get_running_loop()), 65536)
    content.feed_data(b"1")
    content.feed_data(b"2")
    content.set_exception(error)
    told = SimpleNamespace(content=content, headers={}, status=200, method="GET", connection=None)
    response = Response(told, None, 60.0)  # type: ignore[arg-type]
    assert await response.read() == b"12"
    with pytest.raises(type(error)):
        await response.read()


@pytest.mark.parametrize("end", [Reset(), HalfClose()])
@pytest.mark.parametrize("length", ["Content-Length: 100", "Transfer-Encoding: chunked"])
async def test_a_whole_answer_that_breaks_off_is_an_error(ask: Ask, upstream: Upstream, end: Step, length: str):
    head = f"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\n{length}\r\n\r\n"
    upstream.queue("/half", Answer(first=[Raw(head.encode() + b"2\r\n12\r\n"), end]))
    error = await failure(ask(path="/half"))
    assert isinstance(error, UpstreamFailed)
    assert "in the middle" in error.message


# What is wrong


@ALL
async def test_broken_json_shows_itself_after_the_chunks_before_it(ask: Ask, path: str):
    chunks = ask(path=path, params={"broken": 2}, body={"stream": True}, stream_format="json")
    assert [await anext(chunks), await anext(chunks)]
    assert "expected JSON, got '{\"broken'" in (await failure(chunks)).message


@ALL
async def test_an_error_in_the_stream_is_told_in_the_upstreams_words(ask: Ask, path: str):
    chunks = ask(path=path, params={"error": 1}, body={"stream": True}, stream_format="json")
    assert await anext(chunks)
    error = await failure(chunks)
    assert error.message.endswith("the stream ended with an error: out of memory")
    assert error.details["upstream"] == {"status": 200, "body": {"error": {"message": "out of memory"}}}


async def test_a_page_of_html_where_a_stream_was_asked_for_shows_itself(ask: Ask, upstream: Upstream):
    upstream.queue("/page", Answer([b"<!doctype html>\n<title>Welcome</title>"], "text/html"))
    error = await failure(ask(path="/page", stream_format="json"))
    assert "expected JSON, got '<!doctype html>'" in error.message


@pytest.mark.parametrize("kind", ["", "nonsense", "text", ";;", "a/b/c", 'text/plain; charset="']
)  # fmt: skip
async def test_a_content_type_that_says_nothing_is_read_by_its_first_letter(ask: Ask, upstream: Upstream, kind: str):
    upstream.queue("/sse", Answer(events("1", "2"), kind))
    upstream.queue("/lines", Answer(json_lines([1, 2]), kind))
    assert await everything(ask(path="/sse", stream_format="json")) == [1, 2]
    assert await everything(ask(path="/lines", stream_format="json")) == [1, 2]


async def test_a_body_without_a_content_type_is_raw_bytes(ask: Ask, upstream: Upstream):
    body = b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
    upstream.queue("/bare", Answer(first=[Raw(body), Hang()]))
    assert await everything(ask(path="/bare")) == [b"hi"]


async def test_a_body_said_to_be_json_that_is_not_is_an_error_that_shows_it(ask: Ask, upstream: Upstream):
    upstream.queue("/json", Answer([b"<html>"], "application/json"))
    assert "expected JSON, got '<html>'" in (await failure(ask(path="/json"))).message


async def test_a_body_said_to_be_packed_that_is_not_is_an_error(ask: Ask, upstream: Upstream):
    upstream.queue("/json", Answer([b"plain"], headers={"Content-Encoding": "gzip"}))
    assert isinstance(await failure(ask(path="/json")), UpstreamFailed)


@pytest.mark.parametrize("encoding", ["br", "zstd", "gzip, br", "gzip"])
async def test_the_status_wins_over_a_body_that_cannot_be_unpacked(client: Client, upstream: Upstream, encoding: str):
    upstream.queue("/down", Answer([b"xx"], status=503, headers={"Content-Encoding": encoding}), json_answer("well"))
    assert await one(await client(max_retries=1, retry_delay=0), path="/down") == [Whole("well")]


async def test_an_encoding_that_was_not_asked_for_is_named(ask: Ask, upstream: Upstream):
    upstream.queue("/json", Answer([b"xx"], headers={"Content-Encoding": "br"}))
    assert "the encoding 'br', which was not asked for" in (await failure(ask(path="/json"))).message


@pytest.mark.parametrize(
    ("encoding", "body"),
    [
        ("deflate", zlib.compress(b'"well"')), ("GZIP", gzip.compress(b'"we') + gzip.compress(b'll"')),
        ("gzip", gzip.compress(b'"well"') + bytes(8)), ("identity", b'"well"'), ("utf-8", b'"well"'),
    ],
)  # fmt: skip
async def test_a_packed_body_is_unpacked_and_any_other_left_as_it_is(
    ask: Ask, upstream: Upstream, encoding: str, body: bytes
):
    upstream.queue("/json", Answer([body], headers={"Content-Encoding": encoding}))
    assert await everything(ask(path="/json")) == [Whole("well")]


async def test_a_packed_body_that_breaks_off_is_an_error(ask: Ask, upstream: Upstream):
    upstream.queue("/json", Answer([gzip.compress(b'"well"')[:-4]], headers={"Content-Encoding": "gzip"}))
    assert "broke off in the middle" in (await failure(ask(path="/json"))).message


# Sizes


@pytest.mark.parametrize("format", [None, "json"])
async def test_a_gigabyte_in_a_small_packet_is_refused_before_it_is_held(
    ask: Ask, format: str | None, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("deployments.upstream.decoding.MAX_WHOLE", 1 << 22)
    bomb = {"bomb": 1024, "type": "application/json"}
    await everything(ask(path="/json"))
    tracemalloc.start()
    try:
        error = await failure(ask(path="/text", params=bomb, stream_format=format))
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert "is larger than 4 MiB" in error.message
    assert peak < 1 << 25


async def test_a_whole_answer_without_an_end_is_refused_and_let_go(
    ask: Ask, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("deployments.upstream.decoding.MAX_WHOLE", 1 << 20)
    upstream.queue("/endless", Answer(itertools.repeat(b"x" * 65536), "text/plain"))
    assert "is larger than 1 MiB" in (await failure(ask(path="/endless"))).message
    await upstream.calls[0].left.wait()


@pytest.mark.parametrize("kind", [SSE, NDJSON])
async def test_one_event_without_an_end_is_refused_and_let_go(
    ask: Ask, upstream: Upstream, kind: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("deployments.upstream.sse.MAX_EVENT", 1 << 20)
    monkeypatch.setattr("deployments.upstream.decoding.MAX_EVENT", 1 << 20)
    upstream.queue("/endless", Answer(itertools.repeat(b"x" * 65536), kind))
    assert "is larger than" in (await failure(ask(path="/endless", stream_format="json"))).message
    await upstream.calls[0].left.wait()


async def test_a_stream_may_be_larger_than_any_whole_answer(ask: Ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("deployments.upstream.decoding.MAX_WHOLE", 100)
    assert len(await everything(ask(path="/ndjson", params={"count": 1000}, stream_format="json"))) == 1000


async def test_a_refusal_without_an_end_is_carried_in_part(ask: Ask, upstream: Upstream):
    upstream.queue("/down", Answer(itertools.repeat(b"x" * 65536), "text/plain", 400))
    assert (await failure(ask(path="/down"))).message.endswith("answered 400: " + "x" * 200 + "…")
    await upstream.calls[0].left.wait()


# First refused, then well


@pytest.mark.parametrize("status", [429, 503])
async def test_a_retry_comes_when_the_upstream_asked_for_it(client: Client, upstream: Upstream, status: int):
    api = await client(max_retries=3, retry_delay=0)
    params = {"status": status, "times": 2, "retry_after": "0"}
    assert await one(api, path="/text", params=params) == [Whole("Once upon a time")]
    assert len(upstream.calls) == 3


# Leaving


async def cancelled_once(call: Coroutine[Any, Any, Any], seen: Awaitable[Any]) -> None:
    """Run a call until something has been seen, and cancel it."""
    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(call)
        await seen
        task.cancel()


async def left(upstream: Upstream, count: int = 1) -> None:
    async with asyncio.timeout(5):
        await (await upstream.called(count)).left.wait()


@pytest.mark.parametrize(
    "asked",
    [
        {"headers": 60}, {"first": 60}, {"at": 2}, {"at": 2, "gzip": 1}, {"at": 1, "framed": 0},
        {"pace": 60, "split": 1},
    ],
)  # fmt: skip
@pytest.mark.parametrize("format", [None, "json", "text"])
async def test_who_leaves_is_missed_wherever_the_answer_stands(
    ask: Ask, upstream: Upstream, asked: dict[str, Any], format: str | None
):
    call = everything(ask(path="/v1/chat/completions", params=asked, body={"stream": True}, stream_format=format))
    await cancelled_once(call, upstream.called())
    await left(upstream)


async def test_who_leaves_a_plain_call_is_missed(ask: Ask, upstream: Upstream):
    await cancelled_once(everything(ask(path="/v1/chat/completions", params={"headers": 60})), upstream.called())
    await left(upstream)


async def test_who_leaves_while_a_retry_is_waited_for_makes_none(upstream: Upstream):
    asleep = asyncio.Event()

    async def sleep(seconds: float) -> None:
        asleep.set()
        await asyncio.Event().wait()

    exchange = Exchange("api", CallerConfig(timeout=5, max_retries=5, retry_delay=1), sleep)
    request = build_request("GET", f"{upstream.base_url}/status/503", {}, None, None)
    await cancelled_once(everything(exchange.answer([Target(request)], AnswerFormat())), asleep.wait())
    await exchange.close()
    assert len(upstream.calls) == 1
