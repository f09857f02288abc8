"""Calls that only start a job: the http-client asks for its state until it is done, and answers with what it is told then."""

from __future__ import annotations

import asyncio
from functools import partial
from typing import Any

import pytest

from deployments.components.http_client import HttpClient, HttpClientInput
from deployments.upstream import polling
from deployments.upstream.call_fields import Completion
from deployments.upstream.exchange import Fetched
from deployments.upstream.polling import until_done
from deployments.upstream.request import build_request
from deployments.upstream.upstreams import Target
from graphs.component import Unknown, Waiting, Whole
from graphs.errors import InvalidInput, TimedOut, UpstreamFailed
from tests.fakes.calls import Client, failure, one
from tests.fakes.http_server import Answer, Hang, Upstream
from tests.fakes.http_server.answers import json_answer

SOON = {"interval": 0.001}
job_status = partial(Fetched, Target(build_request("GET", "http://jobs/7", {}, None, None)))


def job(*states: Any, **more: Any) -> dict[str, Any]:
    return {"type": "polling", "path": "/jobs/7", "status": "status", **SOON, **more}


def queue(upstream: Upstream, *states: str, **more: Any) -> None:
    upstream.queue("/jobs", json_answer({"id": 7}, 202))
    upstream.queue("/jobs/7", *(json_answer({"status": state, **more}) for state in states))


async def test_a_job_is_asked_for_until_it_is_done(client: Client, upstream: Upstream):
    queue(upstream, "queued", "running", "completed", output="a cat")
    found = await one(await client(), path="/jobs", body={"prompt": "a cat"}, completion=job())
    assert found == [Whole({"status": "completed", "output": "a cat"})]
    assert [(call.method, call.path) for call in upstream.calls] == [("POST", "/jobs"), *[("GET", "/jobs/7")] * 3]


async def test_bindings_read_the_answer_that_started_the_job(client: Client, upstream: Upstream):
    queue(upstream, "completed")

    async def give(names: Any) -> Completion:
        assert names["result"] == names["response"] == {"id": 7}
        return Completion(**{**job(), "path": f"/jobs/{names['response']['id']}"})

    assert await one(await client(), path="/jobs", completion=Waiting(give)) == [Whole({"status": "completed"})]


async def test_a_job_that_failed_is_an_error_with_its_reason(client: Client, upstream: Upstream):
    queue(upstream, "running", "failed", error={"message": "no such model"})
    api = await client()
    error = await failure(api.run(HttpClientInput(path="/jobs", completion=Completion(**job()))))
    assert isinstance(error, UpstreamFailed)
    assert error.message == (
        f"component 'api': GET {upstream.authority}/jobs/7: the job ended as 'failed': no such model"
    )
    told: Any = error.details["upstream"]
    assert told["body"]["error"] == {"message": "no such model"}


async def test_the_states_may_be_named_and_stand_deep_inside(client: Client, upstream: Upstream):
    upstream.queue("/jobs", json_answer({}))
    upstream.queue("/jobs/7", *(json_answer({"data": [{"ready": state}]}) for state in (False, False, True)))
    completion = job(status="data.0.ready", success_when=True)
    await one(await client(), path="/jobs", completion=completion)
    assert len(upstream.calls) == 4


async def test_without_a_state_the_http_status_tells(client: Client, upstream: Upstream):
    upstream.queue("/jobs", json_answer({}))
    upstream.queue("/jobs/7", json_answer({}, 202), json_answer({}, 202), json_answer({"text": "done"}))
    found = await one(await client(), path="/jobs", completion={"type": "polling", "path": "/jobs/7", **SOON})
    assert found == [Whole({"text": "done"})]


async def test_a_question_goes_with_its_own_headers_and_params(client: Client, upstream: Upstream):
    queue(upstream, "done")
    api = await client(headers={"Authorization": "Bearer key", "X-Mode": "start"})
    asked = job(method="post", headers={"X-Mode": "ask"}, params={"full": True}, body={"a": 1})
    await one(api, path="/jobs", completion=asked)
    call = upstream.calls[1]
    assert (call.method, call.query, call.json()) == ("POST", {"full": ["true"]}, {"a": 1})
    assert (call.headers["Authorization"], call.headers["X-Mode"]) == ("Bearer key", "ask")


async def test_a_question_that_fails_for_a_moment_is_asked_again(client: Client, upstream: Upstream):
    upstream.queue("/jobs", json_answer({}))
    upstream.queue("/jobs/7", json_answer({}, 503), json_answer({"status": "done"}))
    await one(await client(max_retries=1, retry_delay=0), path="/jobs", completion=job())
    assert len(upstream.calls) == 3


async def test_an_answer_without_the_state_is_an_error_that_shows_it(client: Client, upstream: Upstream):
    upstream.queue("/jobs", json_answer({}))
    upstream.queue("/jobs/7", json_answer({"state": "done"}))
    api = await client()
    error = await failure(api.run(HttpClientInput(path="/jobs", completion=Completion(**job()))))
    assert "expected the job's state under 'status', got" in error.message
    assert "'state': 'done'" in error.message


async def test_a_refused_start_is_told_and_nothing_is_asked(client: Client, upstream: Upstream):
    upstream.queue("/jobs", json_answer({"error": "no credit"}, 402))
    api = await client()
    error = await failure(api.run(HttpClientInput(path="/jobs", completion=Completion(**job()))))
    assert error.message.endswith("answered 402: no credit")
    assert len(upstream.calls) == 1


async def test_the_url_that_the_upstream_gives_may_be_asked(client: Client, upstream: Upstream):
    upstream.queue("/jobs", json_answer({}))
    upstream.queue("/state", json_answer({"status": "done"}))
    asked = {**job(endpoint=f"{upstream.base_url}/state"), "path": None}
    assert await one(await client(), path="/jobs", completion=asked) == [Whole({"status": "done"})]


async def test_bindings_that_leave_nothing_to_ask_are_wrong_input(client: Client, upstream: Upstream):
    upstream.queue("/jobs", json_answer({}))
    api = await client()
    asked = Completion(**{**job(), "path": None})
    error = await failure(api.run(HttpClientInput(path="/jobs", completion=asked)))
    assert isinstance(error, InvalidInput)
    assert error.details["field"] == "completion.path"


async def test_who_leaves_ends_the_asking(client: Client, upstream: Upstream):
    upstream.queue("/jobs", json_answer({}))
    upstream.queue("/jobs/7", json_answer({"status": "running"}), Answer(first=[Hang()]))
    api = await client()
    async with asyncio.TaskGroup() as tasks:
        call = tasks.create_task(one(api, path="/jobs", completion=job()))
        hanging = await upstream.called(3)
        call.cancel()
    async with asyncio.timeout(5):
        await hanging.left.wait()
    assert len(upstream.calls) == 3


async def test_a_question_that_hangs_is_given_up_with_the_job(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(polling, "LAST_WORD", 0.01)
    upstream.queue("/jobs", json_answer({}))
    upstream.queue("/jobs/7", Answer(first=[Hang()]))
    api = await client(timeout=30)
    async with asyncio.timeout(10):
        error = await failure(api.run(HttpClientInput(path="/jobs", completion=Completion(**job(timeout=0.05)))))
        await upstream.calls[1].left.wait()
    assert isinstance(error, TimedOut)
    assert error.message.endswith(
        "the job was not done within 0.05 s (completion.timeout); no question about it was answered"
    )


async def test_a_pause_that_the_start_asks_for_is_kept(
    client: Client, upstream: Upstream, monkeypatch: pytest.MonkeyPatch
):
    queue(upstream, "done")
    upstream.queue("/late", json_answer({}, 202, **{"Retry-After": "4"}))
    waits: list[float | None] = []

    async def told(*_: Any, first_wait: float | None) -> None:
        waits.append(first_wait)

    monkeypatch.setattr(polling, "until_done", told)
    for path in ("/jobs", "/late"):
        await one(await client(), path=path, completion=job())
    assert waits == [None, 4]


# The loop itself, on a clock of its own


class Clock:
    def __init__(self) -> None:
        self.now = 0.0
        self.slept: list[float] = []

    def __call__(self) -> float:
        return self.now

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.now += seconds


async def ask_until_done(completion: Completion, clock: Clock, *told: Fetched, first_wait: float | None = None) -> None:
    left = list(told)

    async def ask() -> Fetched:
        return left.pop(0) if len(left) > 1 else left[0]

    await until_done(completion, ask, "here", clock, clock.sleep, first_wait)


async def test_a_job_that_is_never_done_is_given_up_in_time():
    clock = Clock()
    completion = Completion(type="polling", path="/", status="status", interval=2, timeout=7)
    with pytest.raises(TimedOut, match=r"here: the job was not done within 7 s .* its last state was 'running'"):
        await ask_until_done(completion, clock, job_status(200, {"status": "running"}))
    assert clock.slept == [2, 2, 2, 1]


@pytest.mark.parametrize(
    ("interval", "first", "told", "slept"),
    [
        (5, None, [], [2]),
        (0.5, 3, [], [2]),
        (0.5, None, [job_status(202, None, 3)], [0.5, 1.5]),
        (0.5, 1, [job_status(202, None, float("inf"))], [1, 1]),
    ],
)
async def test_the_last_question_comes_when_the_time_is_up(
    interval: float, first: float | None, told: list[Fetched], slept: list[float]
):
    clock = Clock()
    completion = Completion(type="polling", path="/", interval=interval, timeout=2)
    await ask_until_done(completion, clock, *told, job_status(200, "done"), first_wait=first)
    assert clock.slept == slept


async def test_a_longer_pause_that_the_upstream_asks_for_is_kept():
    clock = Clock()
    completion = Completion(type="polling", path="/", interval=2, timeout=60)
    await ask_until_done(completion, clock, job_status(202, None, 10), job_status(202, None, 1), job_status(200, None))
    assert clock.slept == [2, 10, 2]


@pytest.mark.parametrize("state", ["COMPLETED", "Succeeded", "success", "done"])
async def test_states_are_known_in_any_case(state: str):
    clock = Clock()
    await ask_until_done(Completion(type="polling", path="/", status="s"), clock, job_status(200, {"s": state}))
    assert clock.slept == [2]


# Mistakes of a document


def mistakes(completion: Any, config: dict[str, Any] | None = None, **action: Any) -> dict[str, str]:
    written = {"base_url": "https://a.com"} if config is None else config
    return dict(HttpClient.check(written, {"path": "/jobs", **action, "completion": completion}))


def test_polling_needs_to_know_what_to_ask():
    assert "write `path: /jobs/${response.id}`" in mistakes({"type": "polling"})["completion.path"]
    both = {"type": "polling", "path": "/a", "endpoint": "https://a.com"}
    assert "exclude each other" in mistakes(both)["completion.endpoint"]
    alone = dict(HttpClient.check({}, {"endpoint": "https://a.com", "completion": {"type": "polling", "path": "/a"}}))
    assert "needs a base_url" in alone["completion.path"]


def test_a_state_means_one_thing():
    asked = {"type": "polling", "path": "/a", "success_when": ["Done", "ok"], "fail_when": "done"}
    assert "'done' can't mean both" in mistakes(asked)["completion.fail_when"]


def test_a_pause_is_no_longer_than_all_the_time_there_is():
    late = mistakes({"type": "polling", "path": "/a", "interval": "5s", "timeout": 2})["completion.interval"]
    assert late.startswith(
        "the first question would come after 5 s, when the timeout of 2 s has passed; write a shorter"
    )
    assert "completion.interval" in mistakes({"type": "polling", "path": "/a", "interval": "1h"})
    for fits in ({"interval": 5, "timeout": "5s"}, {"timeout": 1}, {"interval": "soon", "timeout": 1}):
        assert not mistakes({"type": "polling", "path": "/a", **fits})
    assert not mistakes({"type": "polling", "path": "/a", "interval": Unknown(), "timeout": 1})


def test_a_job_is_asked_for_under_the_base_url():
    assert "stays under base_url" in mistakes({"type": "polling", "path": "/../a"})["completion.path"]


def test_a_job_has_no_stream():
    assert "comes whole" in mistakes({"type": "polling", "path": "/a"}, stream_format="json")["stream_format"]
