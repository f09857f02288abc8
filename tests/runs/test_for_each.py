"""for-each: a list or a stream of items, in order, a bounded number at once."""

import asyncio
from contextlib import aclosing

import pytest

from deployments.runs.events import Delta, Finished
from deployments.runs.site import Limits
from graphs.errors import ComponentFailed, InvalidInput
from graphs.plan import OnError
from tests.runs.builders import (
    Components,
    Source,
    chunks,
    failure,
    for_each,
    job,
    next_of,
    output,
    passing,
    ran,
    start,
    template,
    until,
    workflow,
)


def by_item(**sources):
    """A component that answers each item with a Source or a value of its own."""

    async def answers(invocation):
        answer = sources[invocation.input]
        return answer.stream if isinstance(answer, Source) else answer

    return answers


async def test_every_items_whole_output_stands_in_a_list_in_order():
    components = Components(f=by_item(a=Source("x", "y"), b="z", c=Source(1, 2)))
    assert await output(workflow(for_each("f", "${input}")), components, ["a", "b", "c"]) == ["xy", "z", [1, 2]]


async def test_item_and_index_are_seen_and_each_output_is_mapped():
    w = workflow(for_each("f", "${input}", {"n": "${index}", "is": "${item}"}, item_output="${output.n}=${output.is}"))
    assert await output(w, Components(f=passing), ["a", "b"]) == ["0=a", "1=b"]


@pytest.mark.parametrize("streaming", [None, "${true}"])
async def test_an_items_stream_stands_whole_in_two_places_be_it_cast_or_not(streaming):
    both = {"a": "${output as text}", "b": "${output}"}
    w = workflow(for_each("f", ["i"], streaming=streaming, item_output=both))
    events = await ran(w, Components(f=Source("x", "y")))
    assert (chunks(events) or events[-1].output) == [{"a": "xy", "b": "xy"}]


async def test_an_empty_list_gives_an_empty_list():
    assert await output(workflow(for_each("f", [])), Components()) == []


@pytest.mark.parametrize(("items", "kind"), [({"a": 1}, "a mapping"), ("abc", "text"), (None, "null")])
@pytest.mark.parametrize(
    ("written", "name", "field"), [("${input.rows}", "input.rows", "rows"), ("${jobs.a.output}", "input", "input")]
)
async def test_items_that_are_no_list_are_called_as_the_caller_knows_them(items, kind, written, name, field):
    w = workflow(job("a"), for_each("f", written, whole=("a",)))
    error = await failure(w, Components(a=items), {"rows": items})
    assert isinstance(error, InvalidInput)
    assert (error.details["job"], error.details["field"]) == ("f", field)
    assert f"job 'f', component 'f': {name}: expected a list of items, got {kind};" in error.message


@pytest.mark.parametrize("streaming", ["${false}", "${true}"])
async def test_no_more_than_the_limit_run_at_once(streaming):
    running, most, turn = 0, 0, asyncio.Semaphore(0)

    async def counts(_):
        nonlocal running, most
        running += 1
        most = max(most, running)
        await turn.acquire()
        running -= 1
        return "x"

    components = Components(f=counts)
    task = asyncio.ensure_future(
        ran(workflow(for_each("f", "${input}", limit=3, streaming=streaming)), components, [*"abcdefg"])
    )
    for _ in range(7):
        await until(lambda: running == min(3, 7 - len(components.calls) + running))
        turn.release()
    await task
    assert most == 3


async def test_order_is_kept_whoever_ends_first():
    gates = {item: asyncio.Event() for item in "abc"}

    async def waits(invocation):
        await gates[invocation.input].wait()
        return invocation.input

    components = Components(f=waits)
    task = asyncio.ensure_future(output(workflow(for_each("f", "${input}", limit=3)), components, [*"abc"]))
    await until(lambda: len(components.calls) == 3)
    for item in "cba":
        gates[item].set()
    assert await task == ["a", "b", "c"]


async def test_a_streams_chunks_are_items_taken_up_as_slots_get_free():
    items = Source(*"abcd")
    gate = asyncio.Event()

    async def waits(invocation):
        await gate.wait()
        return invocation.input.upper()

    components = Components(a=items, f=waits)
    w = workflow(job("a"), for_each("f", "${jobs.a.output}", flows=("a",)))
    task = asyncio.ensure_future(output(w, components))
    await until(lambda: len(components.called("f")) == 2)
    for _ in range(10):
        await asyncio.sleep(0)
    assert items.pulled == 2
    gate.set()
    assert await task == ["A", "B", "C", "D"]
    assert items.closed == 1


async def test_streaming_gives_the_first_items_chunks_as_they_come_while_the_next_runs_ahead():
    a, b = Source("a1", ends=False), Source("b1", "b2")
    w = workflow(for_each("f", "${input}", streaming=True))
    async with aclosing(start(w, Components(f=by_item(a=a, b=b)), ["a", "b"])) as events:
        assert await next_of(events, Delta) == Delta(["a1"])
        await until(lambda: b.closed == 1)
        a.give("a2")
        assert await next_of(events, Delta) == Delta(["a2"])
        a.end()
        assert chunks([event async for event in events]) == ["b1", "b2"]


async def test_streaming_joined_is_the_list_of_whole_items():
    components = Components(f=by_item(a=Source("x", "y"), b=[1, 2], c=None), g=passing)
    w = workflow(for_each("f", "${input}", streaming=True), job("g", "${jobs.f.output}", whole=("f",)))
    assert await output(w, components, ["a", "b", "c"]) == ["xy", [1, 2], None]


async def test_streaming_joined_keeps_its_items_beside_another_reader():
    components = Components(f=by_item(a=Source("x", "y"), b="z"), g=passing, h=passing)
    w = workflow(
        for_each("f", "${input}", streaming=True),
        job("g", "${jobs.f.output}", whole=("f",)), job("h", "${jobs.f.output}", flows=("f",)),
        output={"g": "${jobs.g.output}", "h": "${jobs.h.output}"}, reads=("g", "h"),
    )  # fmt: skip
    events = await ran(w, components, ["a", "b"])
    assert (chunks(events, "g"), chunks(events, "h")) == ([["xy", "z"]], ["x", "y", "z"])


async def test_what_runs_ahead_is_bounded():
    a, b, c = Source("a", ends=False), Source(*"123456"), Source("c")
    components = Components(f=by_item(a=a, b=b, c=c))
    w = workflow(for_each("f", "${input}", streaming=True))
    async with aclosing(start(w, components, [*"abc"], limits=Limits(look_ahead=2))) as events:
        await next_of(events, Delta)
        for _ in range(50):
            await asyncio.sleep(0)
        assert (b.pulled, len(components.calls)) == (2, 2)
        a.end()
        assert chunks([event async for event in events]) == [*"123456", "c"]


@pytest.mark.parametrize("streaming", ["${false}", "${true}"])
async def test_an_item_that_fails_fails_the_job_and_cancels_the_others(streaming):
    waiting = Source("x", ends=False)

    async def answers(invocation):
        if invocation.input == "b":
            await waiting.asked.wait()
            raise ComponentFailed("boom")
        return waiting.stream

    error = await failure(workflow(for_each("f", "${input}", streaming=streaming)), Components(f=answers), ["a", "b"])
    assert error.message == "workflow 'w', job 'f', component 'f': boom"
    assert waiting.closed == 1


@pytest.mark.parametrize("streaming", ["${false}", "${true}"])
async def test_on_error_covers_the_whole_for_each(streaming):
    w = workflow(for_each("f", "${input}", streaming=streaming, on_error=OnError(template("instead"))))
    assert await output(w, Components(f=ComponentFailed("boom")), ["a", "b"]) == "instead"


@pytest.mark.parametrize("streaming", ["${false}", "${true}"])
async def test_a_callee_that_cancels_itself_does_not_hang_the_others(streaming):
    w = workflow(for_each("f", "${input}", streaming=streaming))
    assert (await failure(w, Components(f=asyncio.CancelledError()), ["a"])).status == 500


@pytest.mark.parametrize("streaming", ["${false}", "${true}"])
async def test_leaving_in_the_middle_closes_every_item(streaming):
    sources = {item: Source("x", ends=False) for item in "ab"}
    events = start(
        workflow(for_each("f", "${input}", streaming=streaming)), Components(f=by_item(**sources)), ["a", "b", "c"]
    )
    reading = asyncio.ensure_future(next_of(events, Finished))
    await until(lambda: all(source.asked.is_set() for source in sources.values()))
    reading.cancel()
    await asyncio.wait([reading])
    await events.aclose()
    assert [source.closed for source in sources.values()] == [1, 1]
