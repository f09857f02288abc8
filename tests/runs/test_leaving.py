"""Whoever leaves, and wherever the run is then: everything stops, every stream is closed, no task is left."""

import asyncio
from collections.abc import Callable

import pytest

from deployments.runs.events import Delta, Finished, RunFailed
from graphs.errors import ComponentFailed
from graphs.plan import DelayJob, Retry
from tests.runs.builders import (
    Components,
    Source,
    StoppedClock,
    base,
    calling,
    for_each,
    job,
    never,
    next_of,
    passing,
    plan,
    start,
    template,
    until,
    workflow,
)


class Stage:
    """A run brought to some point, and how to see that it is there and what must be closed afterwards."""

    def __init__(self, given, components: Components, there: Callable[[], bool], *sources: Source, **more):
        self.events = start(given, components, ["i", "j"], **more)
        self.components, self.there, self.sources = components, there, sources


def waiting_for_a_component() -> Stage:
    components = Components(a=never)
    return Stage(workflow(job("a")), components, lambda: bool(components.calls))


def before_the_first_chunk() -> Stage:
    source = Source()
    return Stage(workflow(job("a")), Components(a=source), source.asked.is_set, source)


def before_the_first_chunk_of_a_job_with_retry() -> Stage:
    source = Source()
    return Stage(workflow(job("a", retry=Retry(2))), Components(a=source), source.asked.is_set, source)


def mid_stream() -> Stage:
    source = Source("x", ends=False)
    return Stage(workflow(job("a")), Components(a=source), source.asked.is_set, source)


def mid_stream_with_a_side_job() -> Stage:
    source = Source("x", ends=False)
    return Stage(workflow(job("side"), job("a")), Components(a=source, side=never), source.asked.is_set, source)


def mid_stream_side_by_side() -> Stage:
    one, two = Source("x", ends=False), Source("y", ends=False)
    w = workflow(job("a"), job("b"), output={"a": "${jobs.a.output}", "b": "${jobs.b.output}"}, reads=("a", "b"))
    return Stage(w, Components(a=one, b=two), lambda: one.asked.is_set() and two.asked.is_set(), one, two)


def mid_stream_in_two_places() -> Stage:
    source = Source("x", ends=False)
    w = workflow(job("a"), output={"a": "${output as text}", "b": "${output}"})
    return Stage(w, Components(a=source), source.asked.is_set, source)


def mid_stream_while_another_entry_waits() -> Stage:
    source = Source("x", ends=False)
    w = workflow(job("a"), job("b"), output={"a": "${jobs.a.output}", "b": "${jobs.b.output}"}, reads=("a", "b"))
    return Stage(w, Components(a=source, b=never), source.asked.is_set, source)


def in_the_middle_of_a_chain() -> Stage:
    source = Source("x", ends=False)
    w = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",)), job("c", "${jobs.b.output}", flows=("b",)))
    return Stage(w, Components(a=source, b=passing, c=passing), source.asked.is_set, source)


def in_a_join() -> Stage:
    source = Source("x", ends=False)
    w = workflow(job("a"), job("b", "${jobs.a.output}", whole=("a",)))
    return Stage(w, Components(a=source, b=passing), source.asked.is_set, source)


def between_two_readers() -> Stage:
    source = Source("x", ends=False)
    w = workflow(
        job("a"), job("b", "${jobs.a.output}", flows=("a",)), job("c", "${jobs.a.output}", flows=("a",)),
        output={"b": "${jobs.b.output}", "c": "${jobs.c.output}"}, reads=("b", "c"),
    )  # fmt: skip
    return Stage(w, Components(a=source, b=passing, c=passing), source.asked.is_set, source)


def in_a_for_each() -> Stage:
    source = Source("x", ends=False)
    return Stage(workflow(for_each("f", "${input}", limit=1)), Components(f=source), source.asked.is_set, source)


def in_a_streaming_for_each() -> Stage:
    source = Source("x", ends=False)
    w = workflow(for_each("f", "${input}", limit=1, streaming=True))
    return Stage(w, Components(f=source), source.asked.is_set, source)


def in_a_for_each_over_a_stream() -> Stage:
    items = Source("x", ends=False)
    w = workflow(job("a"), for_each("f", "${jobs.a.output}", flows=("a",)))
    return Stage(w, Components(a=items, f="y"), items.asked.is_set, items)


def in_a_delay() -> Stage:
    clock = StoppedClock(lasting=True)
    delay = DelayJob(**base("d"), duration=template("5s"), time=None, timezone=None)
    return Stage(workflow(delay), Components(), clock.asleep.is_set, clock=clock)


def in_a_retry_wait() -> Stage:
    clock, broken = StoppedClock(lasting=True), Source()
    broken.fail(ComponentFailed("no"))
    return Stage(
        workflow(job("a", retry=Retry(2, delay=1))), Components(a=broken), clock.asleep.is_set, broken, clock=clock
    )


def in_a_workflow_in_the_workflow() -> Stage:
    source = Source("x", ends=False)
    w = plan(workflow(calling("b", "inner")), workflow(job("a"), id="inner"))
    return Stage(w, Components(a=source), source.asked.is_set, source)


def in_a_drain() -> Stage:
    source = Source("x", ends=False)
    return Stage(workflow(job("a"), job("b", after=("a",))), Components(a=source, b="B"), source.asked.is_set, source)


STAGES = [
    waiting_for_a_component, before_the_first_chunk, before_the_first_chunk_of_a_job_with_retry, mid_stream,
    mid_stream_with_a_side_job, mid_stream_side_by_side, mid_stream_in_two_places, mid_stream_while_another_entry_waits,
    in_the_middle_of_a_chain, in_a_join, between_two_readers, in_a_for_each, in_a_streaming_for_each, in_a_for_each_over_a_stream, in_a_delay, in_a_retry_wait,
    in_a_workflow_in_the_workflow, in_a_drain,
]  # fmt: skip


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.__name__)
async def test_cancelling_who_reads_stops_everything_at_once(stage):
    run = stage()
    reader = asyncio.ensure_future(next_of(run.events, Finished))
    await until(run.there)
    reader.cancel()
    await asyncio.wait([reader])
    assert reader.cancelled()
    assert [source.closed for source in run.sources] == [1] * len(run.sources)
    assert run.components.cancelled == run.components.calls_of(never)
    assert asyncio.all_tasks() == {asyncio.current_task()}


STREAMING = [stage for stage in STAGES if stage.__name__ in {
    "mid_stream", "mid_stream_with_a_side_job", "mid_stream_side_by_side", "mid_stream_in_two_places",
    "mid_stream_while_another_entry_waits", "in_the_middle_of_a_chain", "between_two_readers", "in_a_streaming_for_each", "in_a_workflow_in_the_workflow",
}]  # fmt: skip


@pytest.mark.parametrize("stage", STREAMING, ids=lambda stage: stage.__name__)
async def test_closing_the_events_between_two_chunks_stops_everything_before_it_returns(stage):
    run = stage()
    await next_of(run.events, Delta)
    await run.events.aclose()
    assert [source.closed for source in run.sources] == [1] * len(run.sources)
    assert asyncio.all_tasks() == {asyncio.current_task()}
    with pytest.raises(StopAsyncIteration):
        await anext(run.events)


@pytest.mark.parametrize("read", [0, 1, 2])
async def test_closing_before_the_first_chunk_was_asked_for(read):
    source = Source("x", ends=False)
    components = Components(a=source)
    events = start(workflow(job("a")), components)
    for _ in range(read):
        await anext(events)
    await events.aclose()
    assert source.closed == len(components.calls)
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def test_a_failure_closes_every_stream_before_it_is_told():
    source, held = Source("x", ends=False), Source("y", ends=False)

    async def fails(_):
        await source.asked.wait()
        raise ComponentFailed("boom")

    w = workflow(
        job("bad"), job("a"), job("b", after=("a",)),
        job("held"), job("c", "${jobs.held.output}", flows=("held",), after=("bad",)),
    )  # fmt: skip
    events = [event async for event in start(w, Components(bad=fails, a=source, held=held, c=passing))]
    assert isinstance(events[-1], RunFailed)
    assert (source.closed, held.closed) == (1, 1)
    assert asyncio.all_tasks() == {asyncio.current_task()}
