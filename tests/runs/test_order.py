"""When jobs start, what they see, and which are skipped."""

import asyncio

from deployments.runs.events import Finished, JobDone, Started
from graphs.errors import ComponentFailed, NoResult, UpstreamFailed
from graphs.plan import Case, IfJob, OnError, RandomJob, SwitchJob
from tests.runs.builders import (
    Components,
    Source,
    base,
    failure,
    job,
    output,
    passing,
    ran,
    start,
    statuses,
    template,
    until,
    workflow,
)


async def test_a_run_starts_tells_of_its_jobs_and_finishes():
    events = await ran(workflow(job("a")), Components(a="hello"))
    assert events == [Started("run-1", "w"), JobDone("a", "completed"), Finished("hello", streamed=False)]


async def test_a_job_sees_the_input_the_run_the_session_and_what_it_needs():
    seen = {
        "given": "${input.x}",
        "run": "${run.id} ${run.workflow}",
        "session": "${session.id}",
        "a": "${jobs.a.output.y}",
    }
    components = Components(a={"y": 2}, b=passing)
    assert await output(workflow(job("a"), job("b", seen, whole=("a",))), components, {"x": 1}) == {
        "given": 1, "run": "run-1 w", "session": "session-1", "a": 2,
    }  # fmt: skip


async def test_a_jobs_output_template_sees_its_result():
    assert await output(workflow(job("a", output={"text": "${output.t}!"})), Components(a={"t": "hi"})) == {
        "text": "hi!"
    }


async def test_an_output_that_leaves_out_the_result_still_lets_the_stream_run_to_its_end():
    source = Source("x", "y")
    assert await output(workflow(job("a", output="done")), Components(a=source)) == "done"
    assert (source.pulled, source.closed) == (2, 1)


async def test_jobs_that_need_nothing_of_each_other_run_side_by_side():
    both = asyncio.Barrier(2)

    async def meets(_):
        await both.wait()
        return "met"

    w = workflow(job("a"), job("b"), output={"a": "${jobs.a.output}", "b": "${jobs.b.output}"}, reads=("a", "b"))
    assert await output(w, Components(a=meets, b=meets)) == {"a": "met", "b": "met"}


async def test_a_job_starts_only_when_all_it_needs_has_settled():
    released = asyncio.Event()

    async def waits(_):
        await released.wait()
        return "late"

    components = Components(a="early", b=waits, c=passing)
    events = start(workflow(job("a"), job("b"), job("c", after=("a", "b"))), components)
    task = asyncio.ensure_future(_all(events))
    await until(lambda: len(components.calls) == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert components.called("c") == []
    released.set()
    await task
    assert components.called("c") == [None]


async def test_a_skipped_jobs_output_is_null_and_its_dependants_run():
    w = workflow(job("a", condition="${input.on}"), job("b", {"a": "${jobs.a.output}"}, whole=("a",)))
    components = Components(b=passing)
    events = await ran(w, components, {"on": "off"})
    assert events[-1] == Finished({"a": None}, streamed=False)
    assert statuses(events) == {"a": "skipped", "b": "completed"}


async def test_when_all_jobs_that_could_give_the_output_are_skipped_the_run_names_the_conditions():
    w = workflow(
        job("one", condition="${input.model == '1'}"), job("two", condition="${input.model == '2'}"), id="pick"
    )
    error = await failure(w, Components(), {"model": "3"})
    assert isinstance(error, NoResult)
    assert error.message == (
        "workflow 'pick' has no result: 'one' was skipped because ${input.model == '1'} is false, "
        "'two' was skipped because ${input.model == '2'} is false; "
        "write a condition that holds, or give the workflow an output"
    )


async def test_all_jobs_an_output_reads_being_skipped_is_no_result_either():
    w = workflow(job("a", condition="${false}"), job("b"), output={"a": ["${jobs.a.output}"]}, reads=("a",))
    assert isinstance(await failure(w, Components(b="b")), NoResult)
    spliced = workflow(job("a", condition="${false}"), output="It says: ${output}")
    assert isinstance(await failure(spliced, Components()), NoResult)


async def test_a_default_in_the_output_answers_for_skipped_jobs():
    w = workflow(job("a", condition="${false}"), output="${jobs.a.output | nothing}", reads=("a",))
    assert await output(w, Components()) == "nothing"


async def test_an_output_that_reads_no_job_needs_none():
    assert await output(workflow(job("a", condition="${false}"), output="${input}"), Components(), 7) == 7


async def test_if_chooses_the_first_case_that_holds():
    route = IfJob(
        **base("r"),
        cases=(Case(template("${input.n > 5}"), "big"), Case(template("${input.n > 1}"), "mid")),
        otherwise="small",
    )
    w = workflow(route, *(job(id, routed_by=("r",)) for id in ("big", "mid", "small")))
    components = Components(big="B", mid="M", small="S")
    assert [await output(w, components, {"n": n}) for n in (9, 3, 0)] == ["B", "M", "S"]


async def test_a_router_that_was_skipped_chooses_nobody():
    route = IfJob(**base("r", condition="${false}"), cases=(Case(template("${true}"), "a"),), otherwise="a")
    error = await failure(workflow(route, job("a", routed_by=("r",))), Components(a="A"))
    assert "'a' was skipped because no way led to it" in error.message


async def test_one_of_several_routers_is_enough():
    routes = [
        IfJob(**base(id), cases=(Case(template(on), "a"),), otherwise=None)
        for id, on in (("r", "${false}"), ("q", "${true}"))
    ]
    assert await output(workflow(*routes, job("a", routed_by=("r", "q"))), Components(a="A")) == "A"


async def test_switch_compares_as_the_language_does():
    route = SwitchJob(
        **base("r"),
        input=template("${input}"),
        cases=(Case(template("${1}"), "one"), Case(template("1"), "text")),
        otherwise="other",
    )
    w = workflow(route, *(job(id, routed_by=("r",)) for id in ("one", "text", "other")))
    components = Components(one="1", text="'1'", other="?")
    assert [await output(w, components, value) for value in (1, 1.0, "1", True, None)] == ["1", "1", "'1'", "?", "?"]


async def test_a_random_router_follows_the_weights():
    w = workflow(
        RandomJob(**base("r"), routes=(("a", 1.0), ("b", 3.0))), job("a", routed_by=("r",)), job("b", routed_by=("r",))
    )
    components = Components(a="A", b="B")
    assert [await output(w, components, chance=lambda at=at: at) for at in (0.0, 0.24, 0.26, 0.999)] == [
        "A",
        "A",
        "B",
        "B",
    ]


async def test_a_router_reads_the_outputs_of_jobs():
    route = IfJob(**base("r", whole=("a",)), cases=(Case(template("${jobs.a.output == 'yes'}"), "b"),), otherwise=None)
    assert await output(workflow(job("a"), route, job("b", routed_by=("r",))), Components(a="yes", b="B")) == "B"


async def test_the_run_finishes_only_when_all_jobs_have_settled():
    released = asyncio.Event()

    async def waits(_):
        await released.wait()

    components = Components(side=waits, last="done")
    task = asyncio.ensure_future(_all(start(workflow(job("side"), job("last")), components)))
    await until(lambda: len(components.calls) == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert not task.done()
    released.set()
    assert (await task)[-1] == Finished("done", streamed=False)


async def _all(events):
    return [event async for event in events]


async def test_a_job_that_ran_for_another_which_was_skipped_is_named_and_how_to_make_it_the_result():
    w = workflow(
        job("english"), job("audit", after=("english",), condition="${false}"), job("other", condition="${false}")
    )
    error = await failure(w, Components(english="hello"))
    assert isinstance(error, NoResult)
    assert error.message == (
        "workflow 'w' has no result: 'audit' was skipped because ${false} is false, "
        "'other' was skipped because ${false} is false, "
        "'english' ran, but is not the result because 'audit' waits for it; "
        "write `output: ${jobs.english.output}` on the workflow"
    )


async def test_what_ran_is_not_offered_where_the_output_names_what_it_reads():
    w = workflow(job("a"), job("b", after=("a",), condition="${false}"), output="${jobs.b.output}", reads=("b",))
    assert "'a' ran" not in (await failure(w, Components(a="a"))).message


async def test_where_another_job_took_over_that_the_output_does_not_read_the_error_is_the_first_ones():
    w = workflow(
        job("a", on_error=OnError(to="b")), job("b", routed_by=("a",)),
        output="${jobs.a.output}", reads=("a",),
    )  # fmt: skip
    error = await failure(w, Components(a=UpstreamFailed("boom", upstream={"status": 500}), b="b"))
    assert error.to_data() == {
        "type": "upstream_failed", "workflow": "w", "job": "a", "component": "a", "upstream": {"status": 500},
        "message": "workflow 'w', job 'a', component 'a': boom; "
        "'b' took over, but the workflow's output does not read it; write ${jobs.b.output} there",
    }  # fmt: skip
    assert error.status == 502


async def test_where_the_job_that_took_over_was_skipped_the_error_is_the_first_ones_and_says_so():
    w = workflow(
        job("a", on_error=OnError(to="b")), job("b", routed_by=("a",), condition="${false}"),
        output=["${jobs.a.output}", "${jobs.b.output}"], reads=("a", "b"),
    )  # fmt: skip
    error = await failure(w, Components(a=ComponentFailed("boom")))
    assert error.type == "component_failed"
    assert error.message.endswith("boom; 'b' took over, but 'b' was skipped because ${false} is false")
