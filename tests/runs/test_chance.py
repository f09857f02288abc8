"""Whatever the order in which jobs end, the result is the same, and all ends well."""

import asyncio

from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from deployments.gateway.gateway import Running
from deployments.runs.events import Finished, Run
from graphs.context import RunContext
from tests.runs.builders import Components, Source, chunks, job, passing, ran, start, workflow

JOBS = ("a", "b", "c", "d")


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    order=st.permutations(JOBS), off=st.sets(st.sampled_from(JOBS), max_size=3), streams=st.sets(st.sampled_from(JOBS))
)
def test_the_result_is_the_last_job_that_ran_whoever_ended_last(order, off, streams):
    async def check():
        turns = {id: asyncio.Event() for id in JOBS}
        turns[order[0]].set()

        async def answers(invocation):
            id = invocation.component
            await turns[id].wait()
            following = [*order[order.index(id) + 1 :], id]
            turns[following[0]].set()
            return Source(id, id).stream if id in streams else id + id

        for id in off:
            turns[order[(order.index(id) + 1) % len(order)]].set()
        w = workflow(*(job(id, condition=f"${{{'false' if id in off else 'true'}}}") for id in JOBS))
        events = await ran(w, Components(**dict.fromkeys(JOBS, answers)))
        last = max(set(JOBS) - off)
        assert isinstance(events[-1], Finished)
        assert ("".join(chunks(events)) if last in streams else events[-1].output) == last * 2

    asyncio.run(check())


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_any_graph_gives_with_streams_what_it_gives_without_and_closes_them_all(data):
    ids = [f"j{n}" for n in range(data.draw(st.integers(1, 6)))]
    jobs, sources, behaviours = [], {}, {}
    for n, id in enumerate(ids):
        needs = data.draw(st.sets(st.sampled_from(ids[:n]))) if n else set()
        kinds = {need: data.draw(st.sampled_from(("whole", "flows", "after"))) for need in sorted(needs)}
        by_kind = {kind: tuple(need for need in kinds if kinds[need] == kind) for kind in ("whole", "flows", "after")}
        read = {need: f"${{jobs.{need}.output}}" for need in kinds if kinds[need] != "after"}
        condition = data.draw(st.sampled_from((None, None, "${false}")))
        jobs.append(job(id, next(iter(read.values())) if len(read) == 1 else read, condition=condition, **by_kind))
        if len(read) == 1 and data.draw(st.booleans()):
            behaviours[id] = passing
        else:
            sources[id] = data.draw(st.sampled_from(("stream", "plain")))

    places = (
        "${jobs.ID.output | none}", "${jobs.ID.output as text | none}", "<${jobs.ID.output | none}>",
        "${input | ${jobs.ID.output | none}}", "${jobs.ID.output | ${output | none}}", "${output | ${jobs.ID.output | none}}",
    )  # fmt: skip
    written = {id: data.draw(st.lists(st.sampled_from(places), min_size=1, max_size=3)) for id in ids}
    output = {id: [each.replace("ID", id) for each in listed] for id, listed in written.items()}
    output = {id: listed[0] if len(listed) == 1 else listed for id, listed in output.items()}
    w = workflow(*jobs, output=output, reads=tuple(ids))

    async def check():
        made = {id: Source("x", "y", "z") for id in sources if sources[id] == "stream"}
        components = Components(**behaviours, **{id: made.get(id, "xyz") for id in sources})
        running = Running(Run(RunContext("run-1", "w"), None), w, start(w, components))
        async with asyncio.timeout(5):
            finished = await running.finish()
        started = {call.component for call in components.calls}
        assert {id for id in made if made[id].closed == 1} == started & set(made)
        assert asyncio.all_tasks() == {asyncio.current_task()}
        plain = (await ran(w, Components(**behaviours, **dict.fromkeys(sources, "xyz"))))[-1]
        assert finished.output == plain.output

    asyncio.run(check())
