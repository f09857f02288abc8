"""How long a job and a run may take: whose `timeout` strikes, what it cancels, and what takes over."""

import asyncio
from contextlib import aclosing

import pytest

from deployments.runs.events import Delta, Finished, JobDone, RunFailed
from graphs.errors import ComponentFailed, TimedOut
from graphs.plan import OnError, Retry
from tests.runs.builders import (
    Components,
    Source,
    StoppedClock,
    calling,
    chunks,
    for_each,
    job,
    joining,
    never,
    next_of,
    output,
    plan,
    ran,
    start,
    template,
    until,
    workflow,
)

LATE = "workflow 'w', job 'a', component 'a': it did not finish within its timeout of 5 s"


async def timed(given, components, clock, ready, **more):
    """All events of a run whose first alarm goes off once it is ready."""
    reading = asyncio.ensure_future(ran(given, components, clock=clock, **more))
    await until(ready)
    clock.alarms[0].go_off()
    return await reading


def asleep(clock):
    return lambda: clock.asleep.is_set()


async def test_a_job_that_takes_too_long_is_cancelled_and_fails_the_run_naming_it():
    clock, components = StoppedClock(), Components(a=never)
    events = await timed(workflow(job("a", timeout=5)), components, clock, lambda: components.calls)
    assert clock.alarms[0].seconds == 5
    assert events[-2] == JobDone("a", "failed")
    assert isinstance(events[-1].error, TimedOut)
    assert (events[-1].error.message, events[-1].error.details["job"]) == (LATE, "a")
    assert components.cancelled == ["a"]


async def test_a_job_within_its_time_is_left_alone_and_its_timer_cancelled():
    clock = StoppedClock()
    assert await output(workflow(job("a", timeout=5)), Components(a="x"), clock=clock) == "x"
    assert [alarm.cancelled for alarm in clock.alarms] == [True]


async def test_the_time_begins_once_what_the_job_needs_is_there():
    clock, components = StoppedClock(), Components(a=never, b="b")
    w = workflow(job("a"), job("b", whole=("a",), timeout=5))
    async with aclosing(start(w, components, clock=clock)) as events:
        reading = asyncio.ensure_future(next_of(events, RunFailed))
        await until(lambda: components.calls)
        assert clock.alarms == []
        reading.cancel()
        await asyncio.wait([reading])


async def test_all_attempts_and_their_pauses_share_the_time():
    clock, components = StoppedClock(lasting=True), Components(a=ComponentFailed("no"))
    w = workflow(job("a", retry=Retry(9, delay=1), timeout=5))
    events = await timed(w, components, clock, asleep(clock))
    assert events[-1].error.message == LATE
    assert (len(components.calls), len(clock.alarms)) == (1, 1)


async def test_a_job_that_timed_out_is_not_tried_again():
    clock, components = StoppedClock(), Components(a=never)
    events = await timed(workflow(job("a", retry=Retry(9), timeout=5)), components, clock, lambda: components.calls)
    assert isinstance(events[-1].error, TimedOut)
    assert len(components.calls) == 1


async def test_on_error_takes_over_from_a_job_that_timed_out():
    clock, components = StoppedClock(), Components(a=never)
    w = workflow(job("a", timeout=5, on_error=OnError(template("instead of ${error.type}"))))
    events = await timed(w, components, clock, lambda: components.calls)
    assert events[-1] == Finished("instead of timed_out", streamed=False)


async def test_on_error_takes_over_from_a_stream_whose_first_chunk_is_late():
    clock, source = StoppedClock(), Source()
    w = workflow(job("a", timeout=5, on_error=OnError(template("instead"))))
    events = await timed(w, Components(a=source), clock, source.asked.is_set)
    assert events[-1] == Finished("instead", streamed=False)
    assert source.closed == 1


async def test_a_component_that_answers_its_cancellation_has_timed_out_all_the_same():
    clock, waiting = StoppedClock(), asyncio.Event()

    async def stubborn(_):
        try:
            waiting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return "too late"

    events = await timed(workflow(job("a", timeout=5)), Components(a=stubborn), clock, waiting.is_set)
    assert isinstance(events[-1].error, TimedOut)


async def test_an_answer_in_the_moment_the_time_is_over_is_late():
    clock = StoppedClock()

    async def strikes(_):
        clock.alarms[0].go_off()
        return "x"

    assert isinstance(
        (await ran(workflow(job("a", timeout=5)), Components(a=strikes), clock=clock))[-1].error, TimedOut
    )


async def test_a_stream_still_flowing_when_the_time_is_over_ends_with_the_error_after_its_chunks():
    clock, source = StoppedClock(), Source("x", ends=False)
    events = await timed(workflow(job("a", timeout=5)), Components(a=source), clock, source.asked.is_set)
    assert chunks(events) == ["x"]
    assert events[-1].error.message == LATE
    assert source.closed == 1


async def test_a_stream_that_has_ended_has_no_time_limit_any_more():
    clock, source = StoppedClock(), Source("x", "y")
    async with aclosing(start(workflow(job("a", timeout=5)), Components(a=source), clock=clock)) as events:
        await next_of(events, Delta)
        assert not clock.alarms[0].cancelled
        await next_of(events, Finished)
    assert clock.alarms[0].cancelled


async def test_a_stream_that_another_job_reads_is_timed_until_its_end():
    clock, source = StoppedClock(), Source("x", ends=False)
    w = workflow(job("a", timeout=5), job("b", "${jobs.a.output}", flows=("a",)))
    events = await timed(w, Components(a=source, b=joining), clock, source.asked.is_set)
    assert events[-1].error.message == LATE
    assert source.closed == 1


async def test_a_stream_that_is_joined_is_timed_until_its_end_and_on_error_takes_over():
    clock, source = StoppedClock(), Source("x", ends=False)
    w = workflow(job("a", timeout=5, on_error=OnError(template("instead"))), job("b", "${jobs.a.output}", whole=("a",)))
    events = await timed(w, Components(a=source, b=joining), clock, source.asked.is_set)
    assert events[-1] == Finished("instead", streamed=False)
    assert source.closed == 1


@pytest.mark.parametrize("streaming", ["${false}", "${true}"])
async def test_a_for_each_is_timed_as_a_whole(streaming):
    clock, source = StoppedClock(), Source("x", ends=False)
    w = workflow(for_each("a", ["one", "two"], streaming=streaming, limit=1, timeout=5))
    events = await timed(w, Components(a=source), clock, source.asked.is_set)
    assert events[-1].error.message == LATE
    assert source.closed == 1


async def test_a_run_that_takes_longer_than_its_workflow_allows_times_out():
    clock, components = StoppedClock(), Components(a=never)
    events = await timed(workflow(job("a"), timeout=5), components, clock, lambda: components.calls)
    assert events[-1].error.message == "workflow 'w': it did not finish within its timeout of 5 s"
    assert components.cancelled == ["a"]


async def test_components_are_told_when_the_run_must_have_ended():
    components, now = Components(a="x"), asyncio.get_running_loop().time()
    await output(workflow(job("a"), timeout=5), components)
    assert now + 5 <= components.calls[0].context.deadline <= asyncio.get_running_loop().time() + 5


@pytest.mark.parametrize(("deadline", "message"), [(3, "it did not finish within 3 s"), (9, "its timeout of 5 s")])
async def test_of_a_deadline_and_a_timeout_the_nearer_one_decides(deadline, message):
    clock, components = StoppedClock(), Components(a=never)
    deadline += asyncio.get_running_loop().time()
    w = workflow(job("a"), timeout=5)
    events = await timed(w, components, clock, lambda: components.calls, deadline=deadline)
    assert message in events[-1].error.message
    assert components.calls[0].context.deadline <= deadline


async def test_a_workflow_called_as_a_component_has_its_own_time():
    clock, components = StoppedClock(), Components(a=never)
    outer = workflow(calling("sub", "inner", on_error=OnError(template("${error.message}"))))
    inner = workflow(job("a"), id="inner", timeout=5)
    events = await timed(plan(outer, inner), components, clock, lambda: components.calls)
    assert events[-1] == Finished("workflow 'inner': it did not finish within its timeout of 5 s", streamed=False)


async def test_a_workflow_called_as_a_component_ends_with_the_run_around_it():
    clock, components = StoppedClock(), Components(a=never)
    outer = workflow(calling("sub", "inner"), timeout=5)
    inner = workflow(job("a"), id="inner", timeout=50)
    events = await timed(plan(outer, inner), components, clock, lambda: components.calls)
    assert events[-1].error.message == "workflow 'w': it did not finish within its timeout of 5 s"
    assert components.calls[0].context.deadline <= asyncio.get_running_loop().time() + 5


async def test_a_run_that_ends_leaves_no_timer_whatever_still_flowed():
    clock, fail = StoppedClock(), asyncio.Event()

    async def fails(_):
        await fail.wait()
        raise ComponentFailed("boom")

    source = Source("x", ends=False)
    w = workflow(job("b"), job("a", output="${output as text}", timeout=5), timeout=9)
    async with aclosing(start(w, Components(a=source, b=fails), clock=clock)) as events:
        await next_of(events, Delta)
        fail.set()
        await next_of(events, RunFailed)
    assert [alarm.cancelled for alarm in clock.alarms] == [True, True]


async def test_a_stream_that_is_never_read_leaves_no_timer_either():
    clock, fail, source = StoppedClock(), asyncio.Event(), Source("x", ends=False)

    async def fails(_):
        await fail.wait()
        raise ComponentFailed("boom")

    w = workflow(
        job("a", output="${output as text}", timeout=5), job("b"), output="${jobs.b.output | ${jobs.a.output}}", reads=("a", "b")
    )  # fmt: skip
    async with aclosing(start(w, Components(a=source, b=fails), clock=clock)) as events:
        await next_of(events, JobDone)
        fail.set()
        await next_of(events, RunFailed)
    assert [alarm.cancelled for alarm in clock.alarms] == [True]
