"""A workflow called by a job of another runs inside the same run."""

import asyncio
from contextlib import aclosing
from dataclasses import replace

from deployments.runs.events import Delta, Finished, Invocation, JobDone
from deployments.runs.site import Clock
from graphs.component import Whole
from graphs.errors import ComponentFailed
from graphs.plan import OnError
from graphs.stream import Note
from tests.runs.builders import (
    Components,
    Source,
    calling,
    chunks,
    failure,
    job,
    next_of,
    output,
    passing,
    plan,
    ran,
    start,
    template,
    until,
    workflow,
)


def nested(*inner, outer=None, **fields):
    return plan(workflow(outer or calling("call", "inner", "${input}")), workflow(*inner, id="inner", **fields))


async def test_its_input_is_what_the_job_gives_and_its_result_is_the_jobs_output():
    p = plan(
        workflow(calling("call", "inner", {"x": "${input}"}, output={"said": "${result}"})),
        workflow(job("a", "${input.x} in ${run.workflow}"), id="inner"),
    )
    components = Components(a=passing)
    assert await output(p, components, 1) == {"said": "1 in inner"}
    assert components.calls[0].context.id == "run-1"


async def test_its_stream_flows_through():
    source = Source("x", ends=False)
    async with aclosing(start(nested(job("a")), Components(a=source))) as events:
        assert await next_of(events, Delta) == Delta(["x"])
        source.give("y", "z")
        assert await next_of(events, Delta) == Delta(["y", "z"])
        source.end()
        assert await next_of(events, Finished) == Finished(None, streamed=True)


async def test_its_chunks_are_mapped():
    call = calling("call", "inner", output="<${response[]}>")
    assert chunks(await ran(nested(job("a"), outer=call), Components(a=Source("x", "y")))) == ["<x>", "<y>"]


async def test_its_stream_stands_whole_wherever_its_output_is_read():
    call = calling("call", "inner", output={"a": "${result as text}", "b": "${result}"})
    spliced = nested(job("a"), outer=replace(call, output=template("${output.a}-${output.b}")))
    assert await output(spliced, Components(a=Source("1", "2"))) == "12-12"


async def test_its_streams_side_by_side_are_joined():
    p = nested(
        job("a"), job("b"), output={"a": "${jobs.a.output}", "b": "${jobs.b.output}", "n": [1]}, reads=("a", "b")
    )
    assert await output(p, Components(a=Source("x", "y"), b=Source({}, {}))) == {"a": "xy", "b": [{}, {}], "n": [1]}


async def test_its_jobs_are_not_told_of():
    events = await ran(nested(job("a")), Components(a="A"))
    assert [event for event in events if isinstance(event, JobDone)] == [JobDone("call", "completed")]


async def test_the_notes_of_a_plain_answer_pass():
    async def answer(invocation: Invocation) -> Whole:
        return Whole("x", {"usage": 1})

    finished = (await ran(nested(job("a")), Components(a=answer)))[-1]
    assert finished == Finished("x", streamed=False, notes=(Note({"usage": 1}),))


async def test_its_notes_pass():
    note = Note({"usage": 1})
    assert (await ran(nested(job("a")), Components(a=Source("x", note))))[-1].notes == (note,)


async def test_its_errors_name_both_workflows_and_both_jobs():
    error = await failure(nested(job("a")), Components(a=ComponentFailed("boom")))
    assert error.message == "workflow 'w', job 'call', component 'sub': workflow 'inner', job 'a', component 'a': boom"
    assert error.details["job"] == "a"


async def test_a_stream_of_its_own_that_breaks_late_names_both_too():
    source = Source("x", ends=False)
    source.fail(ComponentFailed("boom"))
    events = await ran(nested(job("a")), Components(a=source))
    assert chunks(events) == ["x"]
    assert (
        events[-1].error.message
        == "workflow 'w', job 'call', component 'sub': workflow 'inner', job 'a', component 'a': boom"
    )


async def test_its_failure_can_be_caught():
    call = calling("call", "inner", on_error=OnError(template("instead")))
    assert await output(nested(job("a"), outer=call), Components(a=ComponentFailed("boom"))) == "instead"


async def test_a_side_job_of_its_own_that_fails_ends_the_stream():
    fail = asyncio.Event()

    async def fails(_):
        await fail.wait()
        raise ComponentFailed("boom")

    source = Source("x", ends=False)
    reading = asyncio.ensure_future(ran(nested(job("side"), job("a")), Components(side=fails, a=source)))
    await until(source.asked.is_set)
    fail.set()
    assert "job 'side'" in (await reading)[-1].error.message
    assert source.closed == 1


async def test_a_stream_of_its_own_that_nobody_takes_is_closed():
    source = Source("x", "y", ends=False)
    p = plan(
        workflow(
            calling("call", "inner"),
            job("b", "${jobs.call.output}", flows=("call",), condition="${false}"),
            output="done",
        ),
        workflow(job("a"), id="inner"),
    )
    assert await output(p, Components(a=source)) == "done"
    assert source.closed == 1


async def test_a_deadline_holds_inside_too():
    source = Source("x", ends=False)
    error = await failure(
        nested(job("a")), Components(a=source), deadline=asyncio.get_running_loop().time() + 0.3, clock=Clock()
    )
    assert error.type == "timed_out"
    assert source.closed == 1
