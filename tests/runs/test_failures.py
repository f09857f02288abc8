"""How a run fails: whose error it is, what is tried again, and what takes over."""

import asyncio
import logging
from contextlib import aclosing, suppress

import pytest

from deployments.runs.events import Delta, Finished, JobDone, RunCancelled, RunFailed
from deployments.runs.site import Clock, Limits
from graphs import errors
from graphs.context import RunContext
from graphs.errors import BindingFailed, ComponentFailed, InvalidInput, NotFound, Overloaded, TimedOut, UpstreamFailed
from graphs.plan import OnError, Retry
from tests.runs.builders import (
    Components,
    Source,
    StoppedClock,
    chunks,
    failure,
    job,
    joining,
    never,
    next_of,
    output,
    passing,
    plan,
    ran,
    start,
    statuses,
    template,
    until,
    workflow,
)

CONVERTED = [("${output[] as integer}", "x"), ("${output as text}", float("nan"))]
"""Conversions of a stream, chunk by chunk, and a chunk that each can't convert."""


async def test_the_error_names_workflow_job_component_and_cause():
    error = await failure(
        workflow(job("a", component="c"), id="w"), Components(c=UpstreamFailed("no", upstream={"status": 400}))
    )
    assert error.to_data() == {
        "type": "upstream_failed", "message": "workflow 'w', job 'a', component 'c': no",
        "workflow": "w", "job": "a", "component": "c", "upstream": {"status": 400},
    }  # fmt: skip


async def test_one_job_fails_and_its_siblings_are_cancelled():
    other = asyncio.Event()

    async def fails(_):
        await other.wait()
        raise ComponentFailed("boom")

    async def waits(invocation):
        other.set()
        await never(invocation)

    components = Components(a=fails, b=waits)
    events = await ran(workflow(job("a"), job("b")), components)
    assert events[-2:] == [JobDone("a", "failed"), events[-1]]
    assert isinstance(events[-1], RunFailed)
    assert components.cancelled == ["b"]


async def test_the_first_failure_is_the_runs_error():
    async def fails_when_cancelled(_):
        try:
            await asyncio.Event().wait()
        finally:
            raise ComponentFailed("second")

    w = workflow(job("a"), job("b"))
    assert "first" in (await failure(w, Components(a=fails_when_cancelled, b=ComponentFailed("first")))).message


async def test_what_nobody_foresaw_is_in_the_log_and_not_in_the_error(caplog):
    with caplog.at_level(logging.ERROR, "anabranch.run"):
        error = await failure(workflow(job("a")), Components(a=ZeroDivisionError("secret")))
    assert error.to_data() == {
        "type": "internal_error", "workflow": "w", "job": "a", "component": "a",
        "message": "workflow 'w', job 'a', component 'a': internal error; see the log of run run-1",
    }  # fmt: skip
    assert "run run-1" in caplog.text
    assert "ZeroDivisionError: secret" in caplog.text


async def test_a_stream_that_breaks_unforeseen_is_an_internal_error(caplog):
    source = Source("x", ends=False)
    source.fail(RuntimeError("secret"))
    events = await ran(workflow(job("a")), Components(a=source))
    assert chunks(events) == ["x"]
    assert "secret" not in events[-1].error.message
    assert "RuntimeError: secret" in caplog.text


async def test_a_callee_that_cancels_itself_fails_the_run_instead_of_hanging_it():
    assert (
        await failure(workflow(job("a"), job("b", after=("a",))), Components(a=asyncio.CancelledError()))
    ).status == 500


async def test_a_component_that_says_cancelled_makes_the_run_cancelled():
    events = await ran(workflow(job("a")), Components(a=errors.Cancelled("stopped by its owner")))
    assert events[-1] == RunCancelled("workflow 'w', job 'a', component 'a': stopped by its owner")


async def test_a_binding_that_fails_names_the_job():
    error = await failure(workflow(job("a", "${input as integer}")), Components(), "x")
    assert isinstance(error, BindingFailed)
    assert error.details["job"] == "a"


async def test_an_output_that_fails_names_the_workflow():
    error = await failure(workflow(job("a"), output="${output as integer}"), Components(a="x"))
    assert isinstance(error, BindingFailed)
    assert error.message.startswith("workflow 'w': ")


async def test_a_mapped_chunk_that_fails_ends_the_stream_with_the_error():
    source = Source("1", "x", "2")
    events = await ran(workflow(job("a"), output="${output[] as integer}"), Components(a=source))
    assert chunks(events) == [1]
    assert isinstance(events[-1].error, BindingFailed)
    assert source.closed == 1


@pytest.mark.parametrize(("output", "given"), CONVERTED)
async def test_chunks_before_the_failing_one_come_even_if_all_came_together(output, given):
    source = Source()
    source.give("1", given, "3")
    events = await ran(workflow(job("a"), output=output), Components(a=source))
    assert [str(chunk) for chunk in chunks(events)] == ["1"]
    assert isinstance(events[-1].error, BindingFailed)
    assert source.closed == 1


async def test_a_stream_in_two_places_that_breaks_is_located_error_on_its_own_job():
    source = Source("x", ends=False)
    source.fail(ComponentFailed("boom"))
    w = workflow(job("a", output={"a": "${output as text}", "b": "${output}"}))
    assert (await ran(w, Components(a=source)))[-1].error.message == "workflow 'w', job 'a', component 'a': boom"
    assert source.closed == 1


async def test_a_stream_in_the_middle_that_breaks_is_located_error_on_its_own_job():
    source = Source("x", ends=False)
    source.fail(ComponentFailed("boom"))

    async def hides(invocation):
        try:
            return await invocation.input.join()
        except ComponentFailed:
            raise ComponentFailed("my input broke") from None

    w = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",), on_error=OnError(template("never mind"))))
    assert (await failure(w, Components(a=source, b=hides))).message == "workflow 'w', job 'a', component 'a': boom"


async def test_a_shared_stream_that_breaks_is_located_error_on_its_own_job():
    source = Source("x", ends=False)
    source.fail(ComponentFailed("boom"))
    w = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",)), job("c", "${jobs.a.output}", flows=("a",)))
    error = await failure(w, Components(a=source, b=passing, c=joining))
    assert error.message == "workflow 'w', job 'a', component 'a': boom"


async def test_a_failing_side_job_ends_a_silent_stream():
    fail = asyncio.Event()

    async def fails(_):
        await fail.wait()
        raise ComponentFailed("boom")

    source = Source("x", ends=False)
    async with aclosing(start(workflow(job("side"), job("a")), Components(side=fails, a=source))) as events:
        await next_of(events, Delta)
        fail.set()
        assert (await next_of(events, RunFailed)).error.details["job"] == "side"
    assert source.closed == 1


async def test_a_run_past_its_deadline_times_out_wherever_it_waits():
    loop = asyncio.get_running_loop()
    source = Source("x", ends=False)
    for components in (Components(a=never), Components(a=source)):
        error = await failure(workflow(job("a")), components, deadline=loop.time() + 0.3, clock=Clock())
        assert isinstance(error, TimedOut)
        assert error.message.startswith("workflow 'w': it did not finish within 0.")
    assert source.closed == 1


async def test_the_deadline_closes_a_stream_whose_reader_is_busy_elsewhere():
    source = Source("x", ends=False)
    events = start(
        workflow(job("a")), Components(a=source), deadline=asyncio.get_running_loop().time() + 0.3, clock=Clock()
    )
    async with asyncio.timeout(5), aclosing(events):
        await next_of(events, Delta)
        await source.gone.wait()
        assert (await anext(events)).error.type == "timed_out"


async def test_the_deadline_closes_what_the_result_does_not_read_too():
    read, unread = Source("x", ends=False), Source("y", ends=False)
    w = workflow(job("a"), job("b"), output="${jobs.a.output | ${jobs.b.output}}", reads=("a", "b"))
    deadline = asyncio.get_running_loop().time() + 0.3
    assert (await failure(w, Components(a=read, b=unread), deadline=deadline, clock=Clock())).type == "timed_out"
    assert (read.closed, unread.closed) == (1, 1)


async def test_a_reader_cancelled_as_the_deadline_passes_stays_cancelled():
    source, loop = Source("x", ends=False), asyncio.get_running_loop()
    deadline = loop.time() + 0.3
    events = start(workflow(job("a")), Components(a=source), deadline=deadline, clock=Clock())

    async def reads():
        async with aclosing(events):
            return [event async for event in events]

    task = asyncio.ensure_future(reads())
    await until(source.asked.is_set)
    loop.call_at(deadline, task.cancel)
    await asyncio.wait([task])
    assert task.cancelled()
    assert source.closed == 1


def test_an_unknown_workflow_is_not_found():
    from deployments.runs.events import Run
    from deployments.runs.runner import run

    with pytest.raises(NotFound, match="unknown workflow 'x'"):
        run(plan(workflow()), Run(RunContext("1", "x"), None), Components())


# --- retry -----------------------------------------------------------------------------------------------------------


async def test_a_job_is_tried_again_with_growing_pauses():
    clock = StoppedClock()
    components = Components(a=[*[ComponentFailed("no")] * 4, "yes"])
    w = workflow(job("a", retry=Retry(5, delay=1, backoff=3, max_delay=5)))
    assert await output(w, components, clock=clock) == "yes"
    assert clock.slept == [1, 3, 5, 5]


async def test_the_last_attempts_error_is_the_jobs():
    components = Components(a=[ComponentFailed("first"), ComponentFailed("second")])
    assert "second" in (await failure(workflow(job("a", retry=Retry(2))), components)).message


@pytest.mark.parametrize(
    "error", [InvalidInput("x"), BindingFailed("x"), NotFound("x"), UpstreamFailed("x", upstream={"status": 404})]
)
async def test_what_cannot_get_better_is_not_tried_again(error):
    components = Components(a=[error, "yes"])
    assert type(await failure(workflow(job("a", retry=Retry(3))), components)) is type(error)
    assert len(components.calls) == 1


@pytest.mark.parametrize(
    "error", [Overloaded("x"), UpstreamFailed("x", upstream={"status": 429}), TimedOut("x"), KeyError("x")]
)
async def test_what_may_get_better_is_tried_again(error):
    assert await output(workflow(job("a", retry=Retry(2))), Components(a=[error, "yes"])) == "yes"


async def test_a_pause_is_as_long_as_the_upstream_asks():
    clock = StoppedClock()
    components = Components(a=[Overloaded("busy", retry_after=7), "yes"])
    await output(workflow(job("a", retry=Retry(2, delay=1))), components, clock=clock)
    assert clock.slept == [7]


async def test_a_stream_that_breaks_before_its_first_chunk_is_tried_again():
    broken, good = Source(), Source("x")
    broken.fail(ComponentFailed("boom"))
    events = await ran(workflow(job("a", retry=Retry(2))), Components(a=[broken, good]))
    assert chunks(events) == ["x"]
    assert (broken.closed, good.closed) == (1, 1)


async def test_a_stream_that_breaks_after_its_first_chunk_is_not():
    broken = Source("x", ends=False)
    broken.fail(ComponentFailed("boom"))
    events = await ran(workflow(job("a", retry=Retry(2))), Components(a=[broken, Source("y")]))
    assert chunks(events) == ["x"]
    assert "boom" in events[-1].error.message


async def test_a_stream_all_need_whole_is_tried_again_even_late():
    broken = Source("x", ends=False)
    broken.fail(ComponentFailed("boom"))
    w = workflow(job("a", retry=Retry(2)), job("b", "${jobs.a.output}", whole=("a",)))
    assert await output(w, Components(a=[broken, Source("y", "z")], b=passing)) == "yz"


async def test_every_attempt_is_given_what_a_stream_held():
    async def fails_once(invocation, tries=[]):  # noqa: B006
        tries.append(invocation.input)
        if len(tries) == 1:
            raise ComponentFailed("no")
        return tries

    w = workflow(job("a"), job("b", "${jobs.a.output}", whole=("a",), retry=Retry(2)))
    assert await output(w, Components(a=Source("x", "y"), b=fails_once)) == ["xy", "xy"]


# --- on_error --------------------------------------------------------------------------------------------------------


async def test_on_error_output_takes_the_place_of_the_failure():
    w = workflow(job("a", on_error=OnError(template("${error.type}: ${error.message} (${input})"))))
    assert await output(w, Components(a=ComponentFailed("boom")), "in") == "component_failed: boom (in)"


async def test_on_error_to_runs_the_other_job():
    w = workflow(job("a", on_error=OnError(to="b")), job("b", {"a": "${jobs.a.output}"}, routed_by=("a",)))
    events = await ran(w, Components(a=ComponentFailed("boom"), b=passing))
    assert statuses(events) == {"a": "failed", "b": "completed"}
    assert events[-1] == Finished({"a": None}, streamed=False)


async def test_a_condition_that_fails_ends_the_run_whatever_on_error_and_retry_say():
    w = workflow(job("a", condition="${input > 5}", retry=Retry(3), on_error=OnError(template("instead"))))
    components = Components(a="A")
    error = await failure(w, components, "many")
    assert isinstance(error, BindingFailed)
    assert error.details["job"] == "a"
    assert components.calls == []


async def test_the_other_job_is_skipped_when_nothing_fails():
    w = workflow(job("a", on_error=OnError(to="b")), job("b", routed_by=("a",)))
    components = Components(a="A")
    events = await ran(w, components)
    assert statuses(events) == {"a": "completed", "b": "skipped"}
    assert events[-1] == Finished("A", streamed=False)


async def test_on_error_takes_over_before_the_first_chunk_only():
    early, late = Source(), Source("x", ends=False)
    early.fail(ComponentFailed("boom"))
    late.fail(ComponentFailed("boom"))
    w = workflow(job("a", on_error=OnError(template("instead"))))
    assert await output(w, Components(a=early)) == "instead"
    events = await ran(w, Components(a=late))
    assert chunks(events) == ["x"]
    assert isinstance(events[-1], RunFailed)
    assert (early.closed, late.closed) == (1, 1)


@pytest.mark.parametrize(("output", "given"), CONVERTED)
async def test_on_error_does_not_take_over_from_a_chunk_that_came_with_the_failing_one(output, given):
    source = Source()
    source.give("1", given)
    events = await ran(workflow(job("a", output=output, on_error=OnError(template("instead")))), Components(a=source))
    assert [str(chunk) for chunk in chunks(events)] == ["1"]
    assert isinstance(events[-1].error, BindingFailed)


async def test_on_error_closes_every_place_of_a_stream_of_which_one_failed():
    source = Source(float("nan"), ends=False)
    both = {"a": "${output as text}", "b": "${output}"}
    w = workflow(job("a", output=both, on_error=OnError(template("instead"))))
    assert await output(w, Components(a=source)) == "instead"
    assert source.closed == 1


async def test_a_component_that_answers_its_cancellation_with_an_error_is_not_tried_again():
    ready = asyncio.Event()

    async def stubborn(_):
        ready.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            raise ComponentFailed("interrupted") from None

    async def fails(_):
        await ready.wait()
        raise ComponentFailed("boom")

    clock = StoppedClock(lasting=True)
    components = Components(a=stubborn, b=fails)
    error = await failure(workflow(job("a", retry=Retry(3)), job("b")), components, clock=clock)
    assert "boom" in error.message
    assert clock.slept == []


async def test_a_component_that_answers_its_cancellation_with_a_stream_has_it_closed():
    ready, source = asyncio.Event(), Source("x", ends=False)

    async def stubborn(_):
        ready.set()
        try:
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            return source.stream

    async def fails(_):
        await ready.wait()
        raise ComponentFailed("boom")

    w = workflow(job("a"), job("b"), job("c", after=("a",)))
    assert "boom" in (await failure(w, Components(a=stubborn, b=fails))).message
    assert source.closed == 1


@pytest.mark.parametrize("fails_in", ["job", "result"])
async def test_a_component_that_does_not_stop_does_not_hold_up_the_end(caplog, fails_in: str):
    ready, released = asyncio.Event(), asyncio.Event()

    async def deaf(_):
        ready.set()
        while not released.is_set():
            with suppress(asyncio.CancelledError):
                await released.wait()

    async def fails(_):
        await ready.wait()
        if fails_in == "job":
            raise ComponentFailed("boom")
        return "boom"

    w = workflow(job("a"), job("b"), output="${jobs.b.output as integer}", reads=("b",))
    try:
        error = await failure(w, Components(a=deaf, b=fails), limits=Limits(grace=0.01))
    finally:
        released.set()
    assert "boom" in error.message
    assert "did not stop within" in caplog.text
    await until(lambda: len(asyncio.all_tasks()) == 1)


async def test_a_stream_that_cannot_be_closed_fails_the_run(caplog):
    source = Source("x", ends=False)

    async def breaks():
        raise RuntimeError("won't close")

    source.stream.then_close(breaks)
    w = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",), condition="${false}"), output="${input}")
    assert (await failure(w, Components(a=source))).type == "internal_error"
    assert source.closed == 1
