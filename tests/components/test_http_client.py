"""The http-client against a real server: what is sent, what comes back, how errors are told."""

from __future__ import annotations

import asyncio
import socket
from typing import Any

import pytest

from deployments.components.http_client import HttpClientInput
from deployments.upstream import reading
from graphs.component import Whole
from graphs.errors import InvalidInput, UpstreamFailed
from tests.fakes.calls import Ask, Client, everything, failure, one, said
from tests.fakes.http_server import Answer, Hang, Reset, Upstream, Wait, events, openai_events
from tests.fakes.http_server.answers import SSE, json_answer

CHAT = {"path": "/v1/chat/completions", "body": {"stream": True}, "stream_format": "json"}


def a_free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


# What comes back


async def test_json_comes_whole_and_parsed(ask: Ask):
    assert await everything(ask(path="/json")) == [Whole({"words": ["Once", " upon", " a", " time"]})]


async def test_plain_text_comes_whole(ask: Ask):
    assert await everything(ask(path="/text", method="GET")) == [Whole("Once upon a time")]


async def test_an_openai_stream_comes_chunk_by_chunk_until_done(ask: Ask):
    chunks = await said(ask(**CHAT))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == [
        "", "Once", " upon", " a", " time", None,
    ]  # fmt: skip


async def test_an_anthropic_stream_comes_event_by_event(ask: Ask):
    chunks = await said(ask(path="/v1/messages", body={"stream": True}, stream_format="json"))
    words = [chunk["delta"]["text"] for chunk in chunks if chunk["type"] == "content_block_delta"]
    assert "".join(words) == "Once upon a time"


async def test_ndjson_comes_line_by_line(ask: Ask):
    chunks = await everything(ask(path="/ndjson", stream_format="json"))
    assert [chunk["word"] for chunk in chunks] == ["Once", " upon", " a", " time"]


async def test_an_ordinary_answer_where_a_stream_was_asked_for_is_one_chunk(ask: Ask):
    chunks = await said(ask(path="/v1/chat/completions", body={}, stream_format="json"))
    assert [chunk["choices"][0]["message"]["content"] for chunk in chunks] == ["Once upon a time"]


async def test_bytes_come_raw_and_no_larger_than_chunk_size(ask: Ask):
    chunks = await everything(ask(path="/bytes", chunk_size=100))
    assert [len(chunk) for chunk in chunks] == [100, 100, 56]
    assert b"".join(chunks) == bytes(range(256))


async def test_an_event_stream_without_a_format_is_raw_bytes(ask: Ask):
    chunks = await everything(ask(path="/v1/messages"))
    assert b"".join(chunks).startswith(b"event: message_start\ndata: {")


async def test_text_is_decoded_and_events_give_their_data(ask: Ask, upstream: Upstream):
    upstream.queue("/events", Answer(events("안녕", " 🙂", "[DONE]"), SSE))
    assert await everything(ask(path="/events", stream_format="text")) == ["안녕", " 🙂"]
    assert "".join(await everything(ask(path="/text", stream_format="text"))) == "Once upon a time"


async def test_an_answer_without_a_body_is_null(ask: Ask, upstream: Upstream):
    upstream.queue("/nothing", Answer(status=204, content_type=None))
    assert await everything(ask(path="/nothing", method="DELETE")) == [Whole(None)]
    assert await everything(ask(path="/json", method="HEAD")) == [Whole(None)]


async def test_the_first_chunk_comes_before_the_second_is_sent(ask: Ask, upstream: Upstream):
    more = asyncio.Event()
    upstream.queue("/slow", Answer([*events("1"), Wait(more), *events("2")], SSE))
    chunks = ask(path="/slow", stream_format="json")
    assert await anext(chunks) == 1
    more.set()
    assert await everything(chunks) == [2]


async def test_done_ends_a_stream_whose_upstream_stays_open(ask: Ask, upstream: Upstream):
    upstream.queue("/open", Answer([*openai_events(["a"]), Hang()], SSE))
    assert len(await said(ask(path="/open", stream_format="json"))) == 3


async def test_a_compressed_answer_is_unpacked(ask: Ask, upstream: Upstream):
    upstream.queue("/gzip", Answer(events("1", "2"), SSE, compressed=True))
    assert await everything(ask(path="/gzip", stream_format="json")) == [1, 2]


# What is sent


async def test_the_request_is_what_the_action_says(client: Client, upstream: Upstream):
    api = await client(headers={"Authorization": "Bearer key", "X-Version": 1})
    await one(api, path="/echo", headers={"authorization": "Bearer mine"}, params={"q": "안녕"}, body={"a": "한"})
    call = upstream.calls[0]
    assert (call.method, call.path, call.query) == ("POST", "/echo", {"q": ["안녕"]})
    assert call.headers.getall("Authorization") == ["Bearer mine"]
    assert call.headers["X-Version"] == "1"
    assert call.headers["Content-Type"] == "application/json"
    assert call.json() == {"a": "한"}


async def test_an_endpoint_needs_no_base_url(client: Client, upstream: Upstream):
    api = await client(base_url=None)
    assert await one(api, endpoint=f"{upstream.base_url}/text", method="get") == [Whole("Once upon a time")]


@pytest.mark.parametrize("action", [{}, {"path": "/a", "endpoint": "http://127.0.0.1/"}])
async def test_bindings_that_leave_no_place_to_call_are_wrong_input(ask: Ask, action: dict[str, Any]):
    assert isinstance(await failure(ask(**action)), InvalidInput)


async def test_an_endpoint_from_a_binding_must_be_a_url(ask: Ask):
    error = await failure(ask(endpoint="file:///etc/passwd"))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "endpoint"


async def test_a_header_from_a_binding_cannot_smuggle_another(ask: Ask, upstream: Upstream):
    error = await failure(ask(path="/json", headers={"X-Name": "a\r\nX-Admin: 1"}))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "headers.X-Name"
    assert upstream.calls == []


# Errors


async def test_a_refusal_carries_status_and_body_and_never_a_secret(client: Client, upstream: Upstream):
    body = {"error": {"message": "no such model", "type": "not_found"}}
    upstream.queue("/v1/models", json_answer(body, 404))
    api = await client(headers={"Authorization": "Bearer secret-key"})
    error = await failure(
        api.run(HttpClientInput(path="/v1/models", params={"key": "secret-key"}, stream_format="json"))
    )
    assert isinstance(error, UpstreamFailed)
    assert error.details["upstream"] == {"status": 404, "body": body}
    assert error.message == (f"component 'api': POST {upstream.authority}/v1/models: answered 404: no such model")
    assert "secret" not in str(error.to_data())


async def test_a_refusal_that_is_not_json_is_carried_as_text(ask: Ask, upstream: Upstream):
    upstream.queue("/down", Answer([b"<h1>Bad\n gateway</h1>"], "text/html", 502))
    error = await failure(ask(path="/down"))
    assert error.details["upstream"] == {"status": 502, "body": "<h1>Bad\n gateway</h1>"}
    assert error.message.endswith("answered 502: <h1>Bad gateway</h1>")


async def test_a_long_refusal_is_carried_in_part(ask: Ask, upstream: Upstream):
    upstream.queue("/down", Answer([b"x" * 100_000], "text/plain", 500))
    upstream_details: Any = (await failure(ask(path="/down"))).details["upstream"]
    assert len(upstream_details["body"]) == reading.MAX_ERROR_BODY


async def test_too_many_requests_says_when_to_come_back(ask: Ask, upstream: Upstream):
    upstream.queue("/busy", json_answer({}, 429, **{"Retry-After": "7"}))
    assert (await failure(ask(path="/busy"))).details["retry_after"] == 7


async def test_a_broken_line_fails_the_stream_after_the_chunks_before_it(ask: Ask, upstream: Upstream):
    upstream.queue("/broken", Answer([b"data: 1\n\ndata: {oops\n\n"], SSE))
    chunks = ask(path="/broken", stream_format="json")
    assert await anext(chunks) == 1
    assert "expected JSON, got '{oops'" in (await failure(chunks)).message


async def test_an_error_event_fails_the_stream_and_carries_the_upstreams_words(ask: Ask, upstream: Upstream):
    upstream.queue("/fails", Answer([*events("1"), *events('{"error": {"message": "no memory"}}', name="error")], SSE))
    chunks = ask(path="/fails", stream_format="json")
    assert await anext(chunks) == 1
    error = await failure(chunks)
    assert "the stream ended with an error: no memory" in error.message
    assert error.details["upstream"] == {"status": 200, "body": {"error": {"message": "no memory"}}}


async def test_a_connection_cut_in_the_middle_is_an_error_not_an_end(ask: Ask, upstream: Upstream):
    upstream.queue("/cut", Answer([*events("1"), Reset()], SSE))
    chunks = ask(path="/cut", stream_format="json")
    assert await anext(chunks) == 1
    error = await failure(chunks)
    assert isinstance(error, UpstreamFailed)
    assert "in the middle" in error.message


async def test_a_connection_cut_before_the_answer_is_an_error(ask: Ask, upstream: Upstream):
    upstream.queue("/cut", Answer(first=[Reset()]))
    assert "closed before an answer came" in (await failure(ask(path="/cut"))).message


async def test_a_refused_connection_names_host_and_reason(client: Client):
    port = a_free_port()
    error = await failure((await client(base_url=f"http://127.0.0.1:{port}")).run(HttpClientInput(path="/x")))
    assert isinstance(error, UpstreamFailed)
    assert error.message.startswith(f"component 'api': POST 127.0.0.1:{port}/x: can't connect:")


async def test_https_to_a_plain_port_says_so(client: Client, upstream: Upstream):
    api = await client(base_url=upstream.base_url.replace("http:", "https:"))
    assert "does it speak https" in (await failure(api.run(HttpClientInput(path="/x")))).message


async def test_what_is_not_http_is_an_error(client: Client):
    async def babble(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"220 smtp ready\r\n\r\n")
        await writer.drain()
        writer.close()

    server = await asyncio.start_server(babble, "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        error = await failure((await client(base_url=f"http://127.0.0.1:{port}")).run(HttpClientInput(path="/")))
    assert "not valid HTTP" in error.message


async def test_an_answer_too_large_to_be_whole_is_refused(ask: Ask, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr("deployments.upstream.decoding.MAX_WHOLE", 10)
    assert "is larger than" in (await failure(ask(path="/json"))).message
