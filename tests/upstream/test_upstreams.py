"""Several upstreams for the same calls: which is asked, when the next one is, and which is left alone for a while."""

from __future__ import annotations

from collections.abc import AsyncIterator
from typing import Any

import pytest
from pydantic import ValidationError

from deployments.components.http_client import HttpClient, HttpClientInput
from deployments.upstream import upstreams as ejection
from deployments.upstream.upstream_errors import CallFailed, Failure
from deployments.upstream.upstreams import UpstreamHealth
from graphs.component import Whole
from graphs.errors import UpstreamFailed
from tests.fakes.calls import Client, everything, failure, one
from tests.fakes.certificates import Certificates, over_tls
from tests.fakes.http_server import Answer, Hang, Raw, Reset, Upstream, events
from tests.fakes.http_server.answers import SSE, json_answer


@pytest.fixture
async def other() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


def places(*upstreams: Any) -> dict[str, Any]:
    written = [each.base_url if isinstance(each, Upstream) else each for each in upstreams]
    return {"base_url": None, "upstreams": written}


# The order


async def test_the_first_is_asked_while_it_is_well(client: Client, upstream: Upstream, other: Upstream):
    api = await client(**places(upstream, other))
    for _ in range(3):
        await one(api, path="/json")
    assert (len(upstream.calls), len(other.calls)) == (3, 0)


@pytest.mark.parametrize("status", [408, 429, 500, 503])
async def test_the_next_is_asked_where_a_failure_may_pass(
    client: Client, upstream: Upstream, other: Upstream, status: int
):
    upstream.queue("/a", json_answer({}, status))
    other.queue("/a", json_answer("well"))
    assert await one(await client(**places(upstream, other)), path="/a") == [Whole("well")]


async def test_the_next_is_asked_where_the_first_cannot_be_reached(client: Client, other: Upstream):
    api = await client(**places("http://127.0.0.1:1", other))
    assert await one(api, path="/text") == [Whole("Once upon a time")]


GARBAGE = Answer(first=[Raw(b"garbage\r\n\r\n"), Hang()])


async def test_the_next_is_asked_where_the_first_speaks_no_http(client: Client, upstream: Upstream, other: Upstream):
    upstream.queue("/text", GARBAGE)
    assert await one(await client(**places(upstream, other)), path="/text") == [Whole("Once upon a time")]


async def test_the_next_is_asked_where_nobody_vouches_for_the_first(
    client: Client, issued: Certificates, other: Upstream
):
    async with over_tls(issued, []) as url:
        api = await client(**places(url, other))
        for _ in range(ejection.IN_A_ROW):
            assert await one(api, path="/text") == [Whole("Once upon a time")]
    assert api._upstreams[0].health.ejected


async def test_what_is_broken_is_not_asked_again_and_told_at_the_end(
    client: Client, upstream: Upstream, other: Upstream
):
    upstream.queue("/a", GARBAGE)
    other.queue("/a", json_answer({}, 503))
    api = await client(**places(upstream, other), max_retries=2, retry_delay=0)
    error = await failure(api.run(HttpClientInput(path="/a")))
    assert (len(upstream.calls), len(other.calls)) == (1, 3)
    assert "answered 503 (before it, POST" in error.message
    assert f"{upstream.authority}/a: the answer is not valid HTTP)" in error.message


async def test_when_all_are_broken_there_is_no_other_round(client: Client, upstream: Upstream, other: Upstream):
    upstream.queue("/a", GARBAGE)
    other.queue("/a", GARBAGE)
    error = await failure((await client(**places(upstream, other), max_retries=5)).run(HttpClientInput(path="/a")))
    assert error.message.count("is not valid HTTP") == 2
    assert (len(upstream.calls), len(other.calls)) == (1, 1)


async def test_one_alone_that_is_broken_is_asked_once(client: Client, upstream: Upstream):
    upstream.queue("/a", GARBAGE)
    error = await failure((await client(max_retries=5)).run(HttpClientInput(path="/a")))
    assert error.message == f"component 'api': POST {upstream.authority}/a: the answer is not valid HTTP"
    assert len(upstream.calls) == 1


async def test_the_next_is_asked_where_a_stream_breaks_before_its_first_chunk(
    client: Client, upstream: Upstream, other: Upstream
):
    upstream.queue("/a", Answer([b": hello\n\n", Reset()], SSE))
    other.queue("/a", Answer(events("1"), SSE))
    assert await one(await client(**places(upstream, other)), path="/a", stream_format="json") == [1]


async def test_nobody_else_is_asked_after_the_first_chunk(client: Client, upstream: Upstream, other: Upstream):
    upstream.queue("/a", Answer([*events("1"), Reset()], SSE))
    chunks = (await client(**places(upstream, other))).run(HttpClientInput(path="/a", stream_format="json"))
    assert await anext(chunks) == 1
    await failure(chunks)
    assert other.calls == []


@pytest.mark.parametrize("status", [400, 401, 404])
async def test_a_lasting_refusal_is_told_and_nobody_else_is_asked(
    client: Client, upstream: Upstream, other: Upstream, status: int
):
    api = await client(**places(upstream, other))
    await failure(api.run(HttpClientInput(path=f"/status/{status}")))
    assert other.calls == []


async def test_when_all_have_failed_the_round_begins_again(client: Client, upstream: Upstream, other: Upstream):
    upstream.queue("/a", json_answer({}, 503), json_answer("well"))
    other.queue("/a", json_answer({}, 503))
    api = await client(**places(upstream, other), max_retries=1, retry_delay=0)
    assert await one(api, path="/a") == [Whole("well")]
    assert (len(upstream.calls), len(other.calls)) == (2, 1)


async def test_the_error_names_every_upstream_that_failed(client: Client, upstream: Upstream, other: Upstream):
    upstream.queue("/a", json_answer({"error": "asleep"}, 503))
    other.queue("/a", json_answer({"error": "busy"}, 429))
    error = await failure((await client(**places(upstream, other))).run(HttpClientInput(path="/a")))
    assert isinstance(error, UpstreamFailed)
    assert error.message == (
        f"component 'api': POST {other.authority}/a: answered 429: busy "
        f"(before it, POST {upstream.authority}/a: answered 503: asleep)"
    )
    assert error.details["upstream"] == {"status": 429, "body": {"error": "busy"}}


async def test_the_headers_of_one_never_go_to_another(client: Client, upstream: Upstream, other: Upstream):
    upstream.queue("/a", json_answer({}, 503))
    other.queue("/a", json_answer({}))
    first = {"base_url": upstream.base_url, "headers": {"Authorization": "Bearer one", "X-One": "1"}}
    second = {"base_url": f"{other.base_url}/", "headers": {"authorization": "Bearer two"}}
    await one(await client(**places(first, second), headers={"X-Both": "yes"}), path="/a", body={"a": 1})
    sent = other.calls[0]
    assert sent.headers.getall("Authorization") == ["Bearer two"]  # pyright: ignore[reportAttributeAccessIssue]
    assert "one" not in str(dict(sent.headers)).lower().replace("x-one", "one")
    assert (sent.headers["X-Both"], sent.json()) == ("yes", {"a": 1})
    assert upstream.calls[0].headers["Authorization"] == "Bearer one"


async def test_a_job_is_asked_for_where_it_was_started(client: Client, upstream: Upstream, other: Upstream):
    upstream.queue("/jobs", json_answer({}, 503))
    other.queue("/jobs", json_answer({}))
    other.queue("/jobs/1", json_answer({"status": "done"}))
    second = {"base_url": other.base_url, "headers": {"X-Key": "two"}}
    completion = {"type": "polling", "path": "/jobs/1", "status": "status", "interval": 0.001}
    await one(await client(**places(upstream, second)), path="/jobs", completion=completion)
    assert [call.path for call in upstream.calls] == ["/jobs"]
    assert other.calls[1].headers["X-Key"] == "two"


# Leaving one alone


async def test_one_that_keeps_failing_is_left_alone(client: Client, upstream: Upstream, other: Upstream):
    upstream.queue("/a", json_answer({}, 503))
    other.queue("/a", json_answer("well"))
    api = await client(**places(upstream, other))
    for _ in range(10):
        assert await one(api, path="/a") == [Whole("well")]
    assert len(upstream.calls) == ejection.IN_A_ROW


async def test_when_all_are_left_alone_the_first_is_asked_all_the_same(
    client: Client, upstream: Upstream, other: Upstream
):
    for each in (upstream, other):
        each.queue("/a", *[json_answer({}, 503)] * ejection.IN_A_ROW, json_answer("well"))
    api = await client(**places(upstream, other))
    for _ in range(ejection.IN_A_ROW):
        await failure(api.run(HttpClientInput(path="/a")))
    assert await one(api, path="/a") == [Whole("well")]
    assert len(other.calls) == ejection.IN_A_ROW


async def test_an_answer_without_a_chunk_is_an_answer(client: Client, upstream: Upstream, other: Upstream):
    upstream.queue("/a", *[json_answer({}, 503)] * 4, Answer([], SSE))
    api = await client(**places(upstream, other))
    for _ in range(4):
        await failure(api.run(HttpClientInput(path="/a")))
    assert await one(api, path="/a", stream_format="json") == []
    assert api._upstreams[0].health._in_a_row == 0


class Clock:
    def __init__(self) -> None:
        self.now = 0.0

    def __call__(self) -> float:
        return self.now


FAILURE = CallFailed(Failure(UpstreamFailed("down"), transient=True))
REFUSAL = CallFailed(Failure(UpstreamFailed("no"), transient=False, answered=True))
BROKEN = CallFailed(Failure(UpstreamFailed("not trusted"), transient=False, elsewhere=True))
NEVER_SENT = CallFailed(Failure(UpstreamFailed("no URL"), transient=False))


def fail(health: UpstreamHealth, times: int = 1, error: BaseException = FAILURE) -> None:
    for _ in range(times):
        with pytest.raises(type(error)), health.trying():
            raise error


def succeed(health: UpstreamHealth, times: int = 1) -> None:
    for _ in range(times):
        with health.trying():
            health.well()


def test_it_is_left_alone_after_failing_often_in_a_row():
    health = UpstreamHealth(Clock())
    fail(health, 4)
    succeed(health)
    fail(health, 4)
    assert health.ready
    fail(health)
    assert not health.ready


def test_it_is_left_alone_when_more_than_half_of_its_calls_fail():
    health = UpstreamHealth(Clock())
    for _ in range(10):
        fail(health)
        succeed(health)
    assert health.ready
    fail(health, 2)
    assert not health.ready


def test_refusals_that_are_the_callers_fault_and_calls_that_were_left_count_for_nothing():
    health = UpstreamHealth(Clock())
    fail(health, 100, REFUSAL)
    fail(health, 100, GeneratorExit())
    assert health.ready


def test_one_call_tries_it_when_its_rest_is_over_and_its_success_brings_it_back():
    clock = Clock()
    health = UpstreamHealth(clock)
    fail(health, 5)
    clock.now += ejection.FIRST_REST
    assert health.ready
    with health.trying():
        assert not health.ready  # one trial at a time
        health.well()
    assert health.ready
    fail(health, 4)
    assert health.ready


def test_a_trial_whose_caller_left_leaves_room_for_the_next():
    clock = Clock()
    health = UpstreamHealth(clock)
    fail(health, 5)
    clock.now += ejection.FIRST_REST
    fail(health, 1, GeneratorExit())
    assert health.ready


@pytest.mark.parametrize("error", [FAILURE, BROKEN, NEVER_SENT])
def test_only_an_answer_with_a_status_brings_it_back(error: CallFailed):
    clock = Clock()
    health = UpstreamHealth(clock)
    fail(health, 5)
    clock.now += ejection.FIRST_REST
    fail(health, 1, error)
    assert health.ejected
    clock.now += ejection.FIRST_REST * 2
    fail(health, 1, REFUSAL)
    assert not health.ejected


def test_each_trial_that_fails_doubles_the_rest_up_to_a_limit():
    clock = Clock()
    health = UpstreamHealth(clock)
    fail(health, 5)
    rest = ejection.FIRST_REST
    for _ in range(8):
        clock.now += rest
        assert health.ready
        fail(health)
        rest = min(rest * 2, ejection.LONGEST_REST)
        clock.now += rest - 1
        assert not health.ready
        clock.now -= rest - 1
    assert rest == ejection.LONGEST_REST


# Mistakes of a document


def test_a_base_url_and_upstreams_exclude_each_other():
    config = {"base_url": "https://a.com", "upstreams": ["https://b.com"]}
    assert "exclude each other" in dict(HttpClient.check(config, {"path": "/"}))["upstreams"]
    assert dict(HttpClient.check({"upstreams": ["https://b.com"]}, {"path": "/"})) == {}


@pytest.mark.parametrize(
    "upstreams", [[], "https://a.com", ["a.com"], [{"url": "https://a.com"}], [{"headers": {}}], [5]]
)
def test_upstreams_are_urls_or_urls_with_headers(upstreams: Any):
    with pytest.raises(ValidationError):
        HttpClient.Config.model_validate({"upstreams": upstreams})


async def test_a_raw_stream_of_the_second_is_read_as_any(client: Client, upstream: Upstream, other: Upstream):
    upstream.queue("/bytes", json_answer({}, 502))
    api = await client(**places(upstream, other))
    assert b"".join(await everything(api.run(HttpClientInput(path="/bytes")))) == bytes(range(256))
