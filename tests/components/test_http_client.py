"""The http-client against a real server: what comes back, how errors are told, that connections are kept and let go."""

from __future__ import annotations

import asyncio
import gc
import socket
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from typing import Any

import pytest

from deployments.components.http_client import HttpClient, HttpClientInput
from deployments.upstream import exchange
from deployments.upstream.request import build_request
from graphs.component import Whole
from graphs.errors import AnabranchError, InvalidInput, TimedOut, UpstreamFailed
from tests.upstream import Answer, Hang, Reset, Upstream, Wait, events, json_lines, openai_events
from tests.upstream.answers import NDJSON, SSE, json_answer

Ask = Callable[..., AsyncIterator[Any]]
Client = Callable[..., Awaitable[HttpClient]]

CHAT = {"path": "/v1/chat/completions", "body": {"stream": True}, "stream_format": "json"}


async def everything(chunks: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in chunks]


async def one(component: HttpClient, **action: Any) -> list[Any]:
    return await everything(component.run(HttpClientInput.model_validate(action)))


async def failure(chunks: AsyncIterator[Any]) -> AnabranchError:
    with pytest.raises(AnabranchError) as failed:
        await everything(chunks)
    return failed.value


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
    chunks = await everything(ask(**CHAT))
    assert [chunk["choices"][0]["delta"].get("content") for chunk in chunks] == [
        "", "Once", " upon", " a", " time", None,
    ]  # fmt: skip


async def test_an_anthropic_stream_comes_event_by_event(ask: Ask):
    chunks = await everything(ask(path="/v1/messages", body={"stream": True}, stream_format="json"))
    words = [chunk["delta"]["text"] for chunk in chunks if chunk["type"] == "content_block_delta"]
    assert "".join(words) == "Once upon a time"


async def test_ndjson_comes_line_by_line(ask: Ask):
    chunks = await everything(ask(path="/ndjson", stream_format="json"))
    assert [chunk["word"] for chunk in chunks] == ["Once", " upon", " a", " time"]


async def test_an_ordinary_answer_where_a_stream_was_asked_for_is_one_chunk(ask: Ask):
    chunks = await everything(ask(path="/v1/chat/completions", body={}, stream_format="json"))
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
    assert len(await everything(ask(path="/open", stream_format="json"))) == 3


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
    assert error.message == (
        f"component 'api': POST {upstream.authority}/v1/models: answered 404: no such model"
    )
    assert "secret" not in str(error.to_data())


async def test_a_refusal_that_is_not_json_is_carried_as_text(ask: Ask, upstream: Upstream):
    upstream.queue("/down", Answer([b"<h1>Bad\n gateway</h1>"], "text/html", 502))
    error = await failure(ask(path="/down"))
    assert error.details["upstream"] == {"status": 502, "body": "<h1>Bad\n gateway</h1>"}
    assert error.message.endswith("answered 502: <h1>Bad gateway</h1>")


async def test_a_long_refusal_is_carried_in_part(ask: Ask, upstream: Upstream):
    upstream.queue("/down", Answer([b"x" * 100_000], "text/plain", 500))
    upstream_details: Any = (await failure(ask(path="/down"))).details["upstream"]
    assert len(upstream_details["body"]) == exchange.MAX_ERROR_BODY


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


# Timeouts and retries


async def test_silence_before_the_answer_times_out(client: Client):
    api = await client(timeout=0.05)
    error = await failure(api.run(HttpClientInput(path="/hang")))
    assert isinstance(error, TimedOut)
    assert "sent no answer for 0.05 s" in error.message


async def test_silence_inside_a_stream_times_out_and_is_told_apart(client: Client, upstream: Upstream):
    upstream.queue("/stalls", Answer([*events("1"), Hang()], SSE))
    chunks = (await client(timeout=0.05)).run(HttpClientInput(path="/stalls", stream_format="json"))
    assert await anext(chunks) == 1
    error = await failure(chunks)
    assert isinstance(error, TimedOut)
    assert "went silent for 0.05 s" in error.message


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_passing_failure_is_tried_again(client: Client, upstream: Upstream, status: int):
    upstream.queue("/flaky", json_answer({}, status), Answer(first=[Reset()]), json_answer("well"))
    api = await client(max_retries=2, retry_delay=0)
    assert await one(api, path="/flaky") == [Whole("well")]
    assert len(upstream.calls) == 3


async def test_a_timeout_is_tried_again(client: Client, upstream: Upstream):
    upstream.queue("/flaky", Answer(first=[Hang()]), json_answer("well"))
    assert await one(await client(max_retries=1, retry_delay=0, timeout=0.1), path="/flaky") == [Whole("well")]


async def test_a_stream_lost_before_its_first_chunk_is_tried_again(client: Client, upstream: Upstream):
    upstream.queue("/flaky", Answer([b": hello\n\n", Reset()], SSE), Answer(events("1"), SSE))
    assert await one(await client(max_retries=1, retry_delay=0), path="/flaky", stream_format="json") == [1]


async def test_nothing_is_tried_again_after_the_first_chunk(client: Client, upstream: Upstream):
    upstream.queue("/cut", Answer([*events("1"), Reset()], SSE))
    chunks = (await client(max_retries=5, retry_delay=0)).run(HttpClientInput(path="/cut", stream_format="json"))
    assert await anext(chunks) == 1
    await failure(chunks)
    assert len(upstream.calls) == 1


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_a_lasting_refusal_is_not_tried_again(client: Client, upstream: Upstream, status: int):
    api = await client(max_retries=5, retry_delay=0)
    await failure(api.run(HttpClientInput(path=f"/status/{status}")))
    assert len(upstream.calls) == 1


async def test_retries_end_and_tell_the_last_failure(client: Client, upstream: Upstream):
    api = await client(max_retries=2, retry_delay=0)
    error = await failure(api.run(HttpClientInput(path="/status/500")))
    assert error.details["upstream"] == {"status": 500, "body": {"error": {"message": "told to answer 500"}}}
    assert len(upstream.calls) == 3


async def waits_of(upstream: Upstream, path: str, **policy: Any) -> list[float]:
    """Call until it gives up, without sleeping; return how long it would have slept."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    calls = exchange.Exchange("api", exchange.Policy(timeout=5, **policy), sleep)
    request = build_request("GET", f"{upstream.base_url}{path}", {}, None, None)
    try:
        await failure(calls.answer(request, None, 65536))
    finally:
        await calls.close()
    return waits


async def test_a_retry_waits_as_long_as_the_upstream_asks(upstream: Upstream):
    upstream.queue("/busy", json_answer({}, 429, **{"Retry-After": "30"}))
    assert await waits_of(upstream, "/busy", max_retries=2, retry_delay=1) == [30, 30]


async def test_a_retry_may_be_asked_for_by_a_date(upstream: Upstream):
    upstream.queue("/busy", json_answer({}, 503, **{"Retry-After": "Fri, 01 Jan 2010 00:00:00 GMT"}))
    assert await waits_of(upstream, "/busy", max_retries=1, retry_delay=0) == [0]


@pytest.mark.parametrize("value", ["soon", "", "-1", "9" * 400, "Fri, 99 Foo 2010"])
async def test_a_retry_after_that_says_nothing_changes_nothing(upstream: Upstream, value: str):
    upstream.queue("/busy", json_answer({}, 503, **{"Retry-After": value}))
    assert await waits_of(upstream, "/busy", max_retries=1, retry_delay=0) in ([0], [])


async def test_waits_double_up_to_a_limit_with_jitter(upstream: Upstream):
    waits = await waits_of(upstream, "/status/500", max_retries=12, retry_delay=1)
    full = [min(2.0**tries, exchange.MAX_RETRY_WAIT) for tries in range(12)]
    assert all(most / 2 <= wait <= most for wait, most in zip(waits, full, strict=True))
    assert len({wait / most for wait, most in zip(waits, full, strict=True)}) > 1


async def test_a_retry_is_logged_with_its_cause(client: Client, upstream: Upstream, caplog: pytest.LogCaptureFixture):
    await failure((await client(max_retries=1, retry_delay=0)).run(HttpClientInput(path="/status/500")))
    assert "component api: POST" in caplog.text
    assert "answered 500: told to answer 500; trying again in 0.0 s (1 of 1)" in caplog.text


async def test_a_wait_beyond_the_limit_is_told_instead(client: Client, upstream: Upstream):
    upstream.queue("/busy", json_answer({}, 503, **{"Retry-After": "3600"}))
    api = await client(max_retries=3)
    assert (await failure(api.run(HttpClientInput(path="/busy")))).details["retry_after"] == 3600
    assert len(upstream.calls) == 1


async def test_without_max_retries_a_call_is_made_once(ask: Ask, upstream: Upstream):
    await failure(ask(path="/status/503"))
    assert len(upstream.calls) == 1


# Leaving


async def gone(upstream: Upstream) -> None:
    async with asyncio.timeout(5):
        await (await upstream.called()).left.wait()


@pytest.mark.parametrize("format", [None, "json"])
async def test_a_call_cancelled_before_the_answer_closes_the_connection(
    ask: Ask, upstream: Upstream, format: str | None
):
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(everything(ask(path="/hang", stream_format=format)))
        await upstream.called()
        call.cancel()
    await gone(upstream)


async def test_a_call_cancelled_before_its_first_chunk_closes_the_connection(ask: Ask, upstream: Upstream):
    upstream.queue("/quiet", Answer([b": hello\n\n", Hang()], SSE))
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(everything(ask(path="/quiet", stream_format="json")))
        await upstream.called()
        call.cancel()
    await gone(upstream)


async def test_a_stream_closed_in_the_middle_closes_the_connection(ask: Ask, upstream: Upstream):
    upstream.queue("/endless", Answer([*events("1", "2"), Hang()], SSE))
    async with aclosing(ask(path="/endless", stream_format="json")) as chunks:  # pyright: ignore[reportArgumentType]
        assert await anext(chunks) == 1
    await gone(upstream)


async def test_a_half_read_plain_answer_closes_the_connection(ask: Ask, upstream: Upstream):
    upstream.queue("/half", Answer([b'{"a":', Hang()]))
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(everything(ask(path="/half")))
        await upstream.called()
        call.cancel()
    await gone(upstream)


async def test_closing_the_component_lets_every_connection_go(client: Client, upstream: Upstream):
    api = await client()
    await one(api, path="/json")
    await api.close()
    gc.collect()  # an unclosed session or transport would warn here, and fail the test


# Connections


async def test_connections_are_used_again(ask: Ask, upstream: Upstream):
    for _ in range(3):
        await everything(ask(path="/json"))
        await everything(ask(path="/ndjson", stream_format="json"))
        await everything(ask(**CHAT))
    assert upstream.connections == 1


async def test_many_calls_run_side_by_side(ask: Ask, upstream: Upstream):
    start = asyncio.Event()
    upstream.queue("/together", Answer([Wait(start), *json_lines([1])], NDJSON))
    async with asyncio.TaskGroup() as tasks:
        calls = [tasks.create_task(everything(ask(path="/together", stream_format="json"))) for _ in range(150)]
        await upstream.called(150)
        start.set()
    assert [call.result() for call in calls] == [[1]] * 150


async def test_cookies_of_one_call_are_not_sent_with_the_next(ask: Ask, upstream: Upstream):
    upstream.queue("/login", json_answer("in", **{"Set-Cookie": "session=alice"}))
    await everything(ask(path="/login"))
    await everything(ask(path="/login"))
    assert "Cookie" not in upstream.calls[1].headers


async def test_a_proxy_of_the_environment_is_used(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("http_proxy", upstream.base_url)
    monkeypatch.setenv("no_proxy", "direct.example.test,127.0.0.1")
    api = await client(base_url="http://api.example.test")
    assert await one(api, path="/text") == [Whole("Once upon a time")]
    assert upstream.calls[0].headers["Host"] == "api.example.test"
    assert await one(api, endpoint=f"{upstream.base_url}/text") == [Whole("Once upon a time")]
    assert upstream.calls[1].headers["Host"] == upstream.authority


# Redirects


async def test_a_redirect_on_the_same_host_keeps_body_and_credentials(client: Client, upstream: Upstream):
    upstream.queue("/old", Answer(status=307, headers={"Location": "/echo"}))
    api = await client(headers={"X-Api-Key": "secret"})
    await one(api, path="/old", body={"a": 1})
    assert upstream.calls[1].headers["X-Api-Key"] == "secret"
    assert upstream.calls[1].json() == {"a": 1}


async def test_a_redirect_to_another_origin_gets_no_credentials(client: Client, upstream: Upstream):
    async with Upstream() as other:
        upstream.queue("/old", Answer(status=307, headers={"Location": f"{other.base_url}/echo"}))
        api = await client(headers={"X-Api-Key": "secret", "Authorization": "Bearer secret", "Cookie": "secret"})
        await one(api, path="/old", body={"a": 1}, headers={"Accept": "application/json"})
        sent = other.calls[0].headers
    assert "secret" not in str(dict(sent))
    assert sent["Accept"] == "application/json"
    assert sent["Content-Type"] == "application/json"


@pytest.mark.parametrize("status", [301, 302, 303])
async def test_a_post_that_is_sent_elsewhere_becomes_a_get(ask: Ask, upstream: Upstream, status: int):
    upstream.queue("/old", Answer(status=status, headers={"Location": "/json"}))
    await everything(ask(path="/old", body={"a": 1}))
    assert (upstream.calls[1].method, upstream.calls[1].body) == ("GET", b"")


@pytest.mark.parametrize(
    ("location", "message"),
    [("/old", "redirected more than 10 times"), ("ftp://127.0.0.1/", "expected http or https")],
)
async def test_a_redirect_that_leads_nowhere_is_an_error(
    ask: Ask, upstream: Upstream, location: str, message: str
):
    upstream.queue("/old", Answer(status=302, headers={"Location": location}))
    assert message in (await failure(ask(path="/old"))).message
