"""What an observer is told of the jobs of a run."""

from __future__ import annotations

from contextlib import aclosing

from deployments.runs.events import Delta, JobChunks, JobEnded, JobEvent, JobRetried, JobStarted, JobStreaming, Observer
from graphs.errors import ComponentFailed, Unavailable
from graphs.plan import OnError, Retry
from tests.runs.builders import (
    Components,
    Source,
    calling,
    chunks,
    for_each,
    job,
    next_of,
    passing,
    plan,
    ran,
    start,
    workflow,
)


async def told(given, components, input=None, *, every_chunk=False) -> list[JobEvent]:
    seen: list[JobEvent] = []
    await ran(given, components, input, observer=Observer(seen.append, every_chunk))
    return seen


async def test_of_a_plain_job_it_is_told_the_start_and_the_output():
    assert await told(workflow(job("a", "${input}")), Components(a=passing), 1) == [
        JobStarted("a"),
        JobEnded("a", "completed", 1),
    ]


async def test_of_a_streaming_job_it_is_told_the_first_chunk_and_the_end_once_all_is_read():
    seen: list[JobEvent] = []
    source = Source("x", ends=False)
    async with aclosing(start(workflow(job("a")), Components(a=source), observer=Observer(seen.append))) as events:
        await next_of(events, Delta)
        assert seen == [JobStarted("a"), JobStreaming("a")]
        source.end()
        async for _ in events:
            pass
    assert seen[2:] == [JobEnded("a", "completed", streamed=True)]


async def test_a_stream_that_a_job_needs_whole_is_told_with_its_output():
    given = workflow(job("a"), job("b", "${jobs.a.output}", whole=("a",)))
    assert await told(given, Components(a=Source("x", "y"), b=passing)) == [
        JobStarted("a"),
        JobStreaming("a"),
        JobEnded("a", "completed", "xy"),
        JobStarted("b"),
        JobEnded("b", "completed", "xy"),
    ]


async def test_a_skipped_job_is_told_with_the_reason():
    given = workflow(job("a", condition="${input}"), job("b", "x", after=("a",)))
    skipped, *_ = await told(given, Components(a=passing, b=passing), False)
    assert skipped == JobEnded("a", "skipped", why="'a' was skipped because ${input} is false")


async def test_every_failed_attempt_is_told():
    failures = [Unavailable("down"), Unavailable("still down"), "up"]
    seen = await told(workflow(job("a", retry=Retry(max_attempts=3))), Components(a=failures))
    retried = [(event.attempt, event.error.message) for event in seen if isinstance(event, JobRetried)]
    assert retried == [(1, "down"), (2, "still down")]
    assert seen[-1] == JobEnded("a", "completed", "up")


async def test_the_job_that_fails_is_told_with_its_error_and_its_siblings_are_not():
    given = workflow(job("a"), job("b"), output="${jobs.a.output}", reads=("a",))
    seen = await told(given, Components(a=ComponentFailed("broken"), b=Source("x", ends=False)))
    ended = [(event.job, event.status, event.error.type) for event in seen if isinstance(event, JobEnded)]
    assert ended == [("a", "failed", "component_failed")]


async def test_a_stream_that_fails_is_told_as_its_jobs_failure():
    source = Source("x", ends=False)
    source.fail(ComponentFailed("broken"))
    *_, last = await told(workflow(job("a")), Components(a=source))
    assert (last.job, last.status, last.streamed, last.error.type) == ("a", "failed", True, "component_failed")


async def test_a_job_that_another_takes_over_from_is_told_as_failed():
    given = workflow(
        job("a", on_error=OnError(output=None, to="b")), job("b", "x", after=("a",), routed_by=("a",)), reads=("b",),
        output="${jobs.b.output}",
    )  # fmt: skip
    seen = await told(given, Components(a=ComponentFailed("broken"), b=passing))
    ended = next(event for event in seen if isinstance(event, JobEnded))
    assert (ended.job, ended.status, ended.why) == ("a", "failed", "'b' took over from 'a'")


async def test_jobs_of_a_workflow_inside_are_told_under_its_id():
    given = plan(workflow(calling("call", "inner", "${input}")), workflow(job("a", "${input}"), id="inner"))
    assert await told(given, Components(a=passing), 1) == [
        JobStarted("call"),
        JobStarted("inner/a"),
        JobEnded("inner/a", "completed", 1),
        JobEnded("call", "completed", 1),
    ]


async def test_the_chunks_of_every_job_are_told_where_they_are_asked_for():
    given = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",)))
    seen = await told(given, Components(a=Source("x", "y"), b=passing), every_chunk=True)
    said = [(event.job, event.chunks) for event in seen if isinstance(event, JobChunks)]
    assert said == [("a", ["x"]), ("b", ["x"]), ("a", ["y"]), ("b", ["y"])]


async def test_watching_the_chunks_of_a_for_each_leaves_its_items_apart():
    given = workflow(for_each("each", ["p", "q"], streaming=True), job("b", "${jobs.each.output}", whole=("each",)))
    components = Components(each=[Source("x", "y"), Source("z")], b=passing)
    seen: list[JobEvent] = []
    events = await ran(given, components, observer=Observer(seen.append, chunks=True))
    assert events[-1].output == ["xy", "z"]
    assert not chunks(events)
