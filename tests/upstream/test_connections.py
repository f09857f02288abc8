"""The http-client's connections: when calls are tried again, given up, let go, pooled, sent elsewhere."""

from __future__ import annotations

import asyncio
import gc
import itertools
import os
import socket
from contextlib import aclosing
from pathlib import Path
from typing import Any

import pytest

from deployments.components.http_client import HttpClientInput
from deployments.upstream import exchange
from deployments.upstream.call_fields import CallerConfig
from deployments.upstream.decoding import AnswerFormat
from deployments.upstream.request import build_request
from deployments.upstream.upstreams import Target
from graphs.component import Whole
from graphs.errors import InvalidInput, TimedOut, UpstreamFailed
from tests.fakes.calls import Ask, Client, everything, failure, one
from tests.fakes.http_server import Answer, Hang, Pause, Reset, Upstream, Wait, events, json_lines
from tests.fakes.http_server.answers import NDJSON, SSE, json_answer

CHAT = {"path": "/v1/chat/completions", "body": {"stream": True}, "stream_format": "json"}


# Timeouts and retries


async def test_silence_before_the_answer_times_out(client: Client):
    api = await client(timeout=0.05)
    error = await failure(api.run(HttpClientInput(path="/hang")))
    assert isinstance(error, TimedOut)
    assert "sent no answer for 0.05 s" in error.message


def open_files() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


async def test_an_upstream_that_takes_no_body_times_out_and_is_let_go(client: Client):
    """Nobody accepts: what the kernel has no room for stays here, and would keep the connection open."""
    with socket.create_server(("127.0.0.1", 0)) as deaf:
        api = await client(base_url=f"http://127.0.0.1:{deaf.getsockname()[1]}", timeout=0.2)
        before = open_files()
        error = await failure(api.run(HttpClientInput(path="/", body=b"x" * 50_000_000)))
        assert isinstance(error, TimedOut)
        for _ in range(100):
            await asyncio.sleep(0)
        assert open_files() <= before


async def test_a_large_body_arrives_whole_and_with_its_length(ask: Ask, upstream: Upstream):
    body = os.urandom(3_000_001)
    await everything(ask(path="/json", body=body))
    assert upstream.calls[0].body == body
    assert upstream.calls[0].headers["Content-Length"] == "3000001"


async def test_an_error_that_never_ends_is_told_when_its_time_is_over(client: Client, upstream: Upstream):
    upstream.queue("/drips", Answer(itertools.cycle([b"x", Pause(0.01)]), "text/plain", 500))
    async with asyncio.timeout(5):
        error = await failure((await client(timeout=0.3)).run(HttpClientInput(path="/drips")))
    assert error.details["upstream"]["status"] == 500
    assert set(error.details["upstream"]["body"]) == {"x"}


async def test_silence_inside_a_stream_times_out_and_is_told_apart(client: Client, upstream: Upstream):
    upstream.queue("/stalls", Answer([*events("1"), Hang()], SSE))
    chunks = (await client(timeout=1)).run(HttpClientInput(path="/stalls", stream_format="json"))
    assert await anext(chunks) == 1
    error = await failure(chunks)
    assert isinstance(error, TimedOut)
    assert "went silent for 1 s" in error.message


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_a_passing_failure_is_tried_again(client: Client, upstream: Upstream, status: int):
    upstream.queue("/flaky", json_answer({}, status), Answer(first=[Reset()]), json_answer("well"))
    api = await client(max_retries=2, retry_delay=0)
    assert await one(api, path="/flaky") == [Whole("well")]
    assert len(upstream.calls) == 3


async def test_a_timeout_is_tried_again(client: Client, upstream: Upstream):
    upstream.queue("/flaky", Answer(first=[Hang()]), json_answer("well"))
    assert await one(await client(max_retries=1, retry_delay=0, timeout=1), path="/flaky") == [Whole("well")]


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


async def waits_of(upstream: Upstream, path: str, **config: Any) -> list[float]:
    """Call until it gives up, without sleeping; return how long it would have slept."""
    waits: list[float] = []

    async def sleep(seconds: float) -> None:
        waits.append(seconds)

    calls = exchange.Exchange("api", CallerConfig(timeout=5, **config), sleep)
    request = build_request("GET", f"{upstream.base_url}{path}", {}, None, None)
    try:
        await failure(calls.answer([Target(request)], AnswerFormat()))
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


@pytest.mark.parametrize("method", ["GET", "PUT"])
async def test_what_may_be_sent_twice_is_where_a_kept_connection_was_closed(ask: Ask, upstream: Upstream, method: str):
    await everything(ask(path="/json"))
    upstream.queue("/flaky", Answer(first=[Reset()]), json_answer("well"))
    assert await everything(ask(path="/flaky", method=method, body=b"x" * 100_000)) == [Whole("well")]
    assert upstream.calls[-1].body == b"x" * 100_000


async def test_a_post_is_sent_once_though_a_kept_connection_was_closed(ask: Ask, upstream: Upstream):
    await everything(ask(path="/json"))
    upstream.queue("/flaky", Answer(first=[Reset()]), json_answer("well"))
    assert "closed before an answer came" in (await failure(ask(path="/flaky"))).message
    assert len(upstream.calls) == 2


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


async def test_a_proxy_of_the_environment_is_used(client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("http_proxy", upstream.base_url)
    monkeypatch.setenv("no_proxy", "direct.example.test,127.0.0.1")
    api = await client(base_url="http://api.example.test")
    assert await one(api, path="/text") == [Whole("Once upon a time")]
    assert upstream.calls[0].headers["Host"] == "api.example.test"
    assert await one(api, endpoint=f"{upstream.base_url}/text") == [Whole("Once upon a time")]
    assert upstream.calls[1].headers["Host"] == upstream.authority


@pytest.mark.parametrize("listed", ["api.example.test", "api.example.test:80"])
async def test_no_proxy_holds_for_a_url_with_credentials(client: Client, monkeypatch: pytest.MonkeyPatch, listed: str):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:1")
    monkeypatch.setenv("no_proxy", listed)
    api = await client(base_url="http://ann:secret@api.example.test")
    assert (
        "the name 'api.example.test' can't be resolved" in (await failure(api.run(HttpClientInput(path="/")))).message
    )


async def test_a_proxy_may_be_written_without_a_scheme(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setenv("http_proxy", upstream.authority)
    assert await one(await client(base_url="http://api.example.test"), path="/text") == [Whole("Once upon a time")]


@pytest.mark.parametrize("proxy", ["http://", "http://[::1", "http://a..b", "socks5://127.0.0.1:1080", "ann:secret@:1"])
async def test_a_proxy_that_is_none_is_not_the_callers_fault(
    client: Client, monkeypatch: pytest.MonkeyPatch, proxy: str
):
    monkeypatch.setenv("http_proxy", proxy)
    error = await failure((await client(base_url="http://api.example.test")).run(HttpClientInput(path="/")))
    assert isinstance(error, UpstreamFailed)
    assert "write HTTP_PROXY=http://host:port" in error.message
    assert "secret" not in error.message


@pytest.mark.parametrize("host", ["a..b", ".com", "a" * 64 + ".com"])
@pytest.mark.parametrize("scheme", ["http", "https"])
async def test_a_host_that_cannot_be_a_name_is_no_url(client: Client, scheme: str, host: str):
    error = await failure((await client()).run(HttpClientInput(endpoint=f"{scheme}://{host}/")))
    assert isinstance(error, InvalidInput)
    assert "expected a valid http(s) URL" in error.message


async def test_a_refused_connection_is_told_so(client: Client):
    api = await client(base_url="http://localhost:1")
    assert (await failure(api.run(HttpClientInput(path="/")))).message.endswith("can't connect: connection refused")


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
    [
        ("/old", "redirected more than 10 times"),
        ("ftp://127.0.0.1/", "expected http or https"),
        ("http://a..b/", "redirected to something that is not a URL"),
    ],
)
async def test_a_redirect_that_leads_nowhere_is_an_error(ask: Ask, upstream: Upstream, location: str, message: str):
    upstream.queue("/old", Answer(status=302, headers={"Location": location}))
    assert message in (await failure(ask(path="/old"))).message
