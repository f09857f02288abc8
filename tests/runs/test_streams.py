"""How streams flow out of a run, between its jobs, and to several readers."""

import asyncio
from contextlib import aclosing

import pytest

from deployments.runs.events import Delta, Finished, Invocation, JobDone, RunFailed, Started
from deployments.runs.site import Limits
from graphs.component import Whole
from graphs.errors import ComponentFailed, TooLarge
from graphs.plan import OnError, Retry
from graphs.stream import Note, Stream
from tests.runs.builders import (
    Components,
    Source,
    chunks,
    job,
    joining,
    never,
    next_of,
    output,
    passing,
    ran,
    start,
    statuses,
    template,
    until,
    workflow,
)


async def test_a_result_that_is_a_stream_goes_out_in_the_batches_it_came_in():
    source = Source()
    source.give("a")
    source.give("b", "c")
    source.end()
    events = await ran(workflow(job("a")), Components(a=source))
    assert events == [
        Started("run-1", "w"), JobDone("a", "completed"), Delta(["a"]), Delta(["b", "c"]), Finished(None, streamed=True),
    ]  # fmt: skip
    assert source.closed == 1


async def test_a_chunk_goes_out_before_the_next_one_exists():
    source = Source("first", ends=False)
    async with aclosing(start(workflow(job("a")), Components(a=source))) as events:
        assert await next_of(events, Delta) == Delta(["first"])


async def test_nothing_is_read_ahead_of_the_reader():
    source = Source(*"abc")
    async with aclosing(start(workflow(job("a")), Components(a=source))) as events:
        await next_of(events, Delta)
        for _ in range(20):
            await asyncio.sleep(0)
        assert source.pulled == 1


async def test_the_output_maps_every_chunk():
    events = await ran(workflow(job("a"), output="${output[].t}"), Components(a=Source({"t": "x"}, {}, {"t": "y"})))
    assert chunks(events) == ["x", "y"]


async def test_a_stream_spliced_into_text_is_joined():
    assert await output(workflow(job("a"), output="<${output}>"), Components(a=Source("x", "y"))) == "<xy>"


async def test_an_empty_stream_still_counts_as_streamed():
    source = Source()
    source.end()
    assert (await ran(workflow(job("a")), Components(a=source)))[-1] == Finished(None, streamed=True)


async def test_notes_go_out_in_their_place_and_again_at_the_end():
    note = Note({"finish_reason": "stop"})
    events = await ran(workflow(job("a")), Components(a=Source("x", note)))
    assert chunks(events) == ["x", note]
    assert events[-1] == Finished(None, streamed=True, notes=(note,))


async def test_the_notes_of_a_plain_answer_come_with_the_result():
    async def answer(invocation: Invocation) -> Whole:
        return Whole({"text": "x"}, {"usage": 3})

    events = await ran(workflow(job("a")), Components(a=answer))
    assert events[-1] == Finished({"text": "x"}, streamed=False, notes=(Note({"usage": 3}),))


async def test_the_notes_of_a_joined_result_come_with_it():
    note = Note({"usage": 3})
    w = workflow(job("a"), output={"deep": {"text": "${output}"}})
    assert (await ran(w, Components(a=Source("x", note))))[-1] == Finished(
        {"deep": {"text": "x"}}, streamed=False, notes=(note,)
    )


async def test_a_job_that_needs_it_whole_gets_the_joined_stream():
    components = Components(a=Source("x", "y"), b=passing)
    assert await output(workflow(job("a"), job("b", "${jobs.a.output}", whole=("a",))), components) == "xy"
    assert components.called("b") == ["xy"]


async def test_a_single_reader_gets_the_very_stream():
    source = Source("x")
    components = Components(a=source, b=joining)
    await ran(workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",))), components)
    assert components.called("b") == [source.stream]


async def test_a_stream_flows_through_two_jobs_chunk_by_chunk():
    source = Source("x", ends=False)
    w = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",)))
    async with aclosing(start(w, Components(a=source, b=passing))) as events:
        assert await next_of(events, Delta) == Delta(["x"])
        source.give("y")
        assert await next_of(events, Delta) == Delta(["y"])
        source.end()
        assert await next_of(events, Finished)


async def test_two_readers_of_one_stream_get_all_of_it_and_it_is_read_once():
    source = Source(*"abc")
    w = workflow(
        job("a"),
        job("b", "${jobs.a.output}", flows=("a",)),
        job("c", "${jobs.a.output}", flows=("a",)),
        output={"b": "${jobs.b.output}", "c": "${jobs.c.output}"},
        reads=("b", "c"),
    )
    events = await ran(w, Components(a=source, b=passing, c=passing))
    assert (chunks(events, "b"), chunks(events, "c")) == (["a", "b", "c"], ["a", "b", "c"])
    assert (source.pulled, source.closed) == (3, 1)


@pytest.mark.parametrize("readers", [(passing, joining), (joining, passing), (passing, passing), (joining, joining)])
async def test_a_diamond_does_not_wait_for_itself(readers):
    async def both(invocation):
        """Reads its first input to the end before it looks at the second."""
        left, right = invocation.input["left"], invocation.input["right"]
        return [await each.join() if isinstance(each, Stream) else each for each in (left, right)]

    w = workflow(
        job("a"),
        job("b", "${jobs.a.output}", flows=("a",)),
        job("c", "${jobs.a.output}", flows=("a",)),
        job("d", {"left": "${jobs.b.output}", "right": "${jobs.c.output}"}, flows=("b", "c")),
    )
    components = Components(a=Source(*"abc"), b=readers[0], c=readers[1], d=both)
    assert await output(w, components) == ["abc", "abc"]


async def test_the_fastest_reader_sets_the_pace_and_the_slowest_misses_nothing():
    source, slow = Source(*"abcdef"), asyncio.Event()

    async def waits(invocation):
        await slow.wait()
        return await invocation.input.join()

    w = workflow(
        job("a"), job("fast", "${jobs.a.output}", flows=("a",)), job("slow", "${jobs.a.output}", flows=("a",)),
        output={"fast": "${jobs.fast.output}", "slow": "${jobs.slow.output}"}, reads=("fast", "slow"),
    )  # fmt: skip
    components = Components(a=source, fast=joining, slow=waits)
    task = asyncio.ensure_future(output(w, components))
    await until(lambda: source.closed == 1)
    slow.set()
    assert await task == {"fast": "abcdef", "slow": "abcdef"}


async def test_a_shared_stream_is_read_only_as_fast_as_its_fastest_reader_asks():
    source = Source(*"abcdef")
    first_only = asyncio.Event()

    async def one(invocation):
        async with aclosing(invocation.input.batches()) as batches:
            await anext(batches)
            first_only.set()
            await asyncio.Event().wait()

    w = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",)), job("c", "${jobs.a.output}", flows=("a",)))
    async with aclosing(start(w, Components(a=source, b=one, c=never))) as events:
        task = asyncio.ensure_future(next_of(events, Finished))
        await first_only.wait()
        for _ in range(20):
            await asyncio.sleep(0)
        assert source.pulled == 1
        task.cancel()
        await asyncio.wait([task])
    assert source.closed == 1


async def test_a_reader_too_far_behind_fails_the_run_naming_the_job():
    w = workflow(job("a"), job("fast", "${jobs.a.output}", flows=("a",)), job("slow", "${jobs.a.output}", flows=("a",)))
    components = Components(a=Source("12345", "12345", "1"), fast=joining, slow=never)
    error = (await ran(w, components, limits=Limits(behind=10)))[-1].error
    assert isinstance(error, TooLarge)
    assert error.message.startswith("workflow 'w', job 'a', component 'a': several jobs read this stream")


async def test_a_reader_that_leaves_early_does_not_end_it_for_the_other():
    source = Source("x", ends=False)

    async def first(invocation):
        async with aclosing(invocation.input.batches()) as batches:
            return (await anext(batches))[0]

    w = workflow(
        job("a"), job("b", "${jobs.a.output}", flows=("a",)), job("c", "${jobs.a.output}", flows=("a",)),
        output={"b": "${jobs.b.output}", "c": "${jobs.c.output}"}, reads=("b", "c"),
    )  # fmt: skip
    task = asyncio.ensure_future(output(w, Components(a=source, b=first, c=joining)))
    await until(source.asked.is_set)
    source.give("y")
    source.end()
    assert await task == {"b": "x", "c": "xy"}


async def test_one_reads_it_whole_and_one_as_it_flows():
    w = workflow(
        job("a"), job("flow", "${jobs.a.output}", flows=("a",)), job("whole", "${jobs.a.output}", whole=("a",)),
        output={"flow": "${jobs.flow.output}", "whole": "${jobs.whole.output}"}, reads=("flow", "whole"),
    )  # fmt: skip
    events = await ran(w, Components(a=Source("x", "y"), flow=passing, whole=passing))
    assert chunks(events, "flow") == ["x", "y"]
    assert Delta(["xy"], "whole", whole=True) in events


async def test_a_stream_whose_readers_are_all_skipped_is_closed_unread():
    source = Source("x", ends=False)
    w = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",), condition="${false}"), output="${input}")
    assert await output(w, Components(a=source), "in") == "in"
    assert (source.pulled, source.closed) == (0, 1)


async def test_a_reader_that_takes_only_a_part_closes_the_rest():
    source = Source("x", ends=False)

    async def nothing(_):
        return "enough"

    w = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",)))
    assert await output(w, Components(a=source, b=nothing)) == "enough"
    assert source.closed == 1


async def test_what_a_job_was_handed_is_closed_when_its_own_stream_ends_and_not_only_with_the_run():
    source, mine = Source("x", ends=False), Source("y")

    async def waits_for_the_close(_):
        await until(lambda: source.closed == 1)
        return "closed"

    w = workflow(
        job("a"), job("b", "${jobs.a.output}", flows=("a",)), job("side"), output={"b": "${jobs.b.output}", "s": 1}, reads=("b",)
    )  # fmt: skip
    events = await ran(w, Components(a=source, b=mine, side=waits_for_the_close))
    assert chunks(events, "b") == ["y"]
    assert statuses(events)["side"] == "completed"


async def test_a_shared_stream_is_closed_when_its_last_reader_leaves_and_not_only_with_the_run():
    source = Source("x", ends=False)

    async def first(invocation):
        async with aclosing(invocation.input.batches()) as batches:
            return (await anext(batches))[0]

    async def waits_for_the_close(_):
        await until(lambda: source.closed == 1)
        return "closed"

    flows = {"flows": ("a",)}
    w = workflow(job("a"), job("b", "${jobs.a.output}", **flows), job("c", "${jobs.a.output}", **flows), job("side"))
    assert await output(w, Components(a=source, b=first, c=first, side=waits_for_the_close)) == "closed"


async def test_what_the_result_takes_and_does_not_read_holds_nothing_up():
    source = Source("x", ends=False)

    async def first(invocation):
        async with aclosing(invocation.input.batches()) as batches:
            return (await anext(batches))[0]

    jobs = job("a"), job("b", "${jobs.a.output}", flows=("a",))
    plain = workflow(*jobs, output={"n": "${input | ${jobs.a.output}}", "b": "${jobs.b.output}"}, reads=("a", "b"))
    assert await output(plain, Components(a=source, b=first), 1) == {"n": 1, "b": "x"}
    assert source.closed == 1
    source, last = Source("x", ends=False), Source("y", "z")
    streams = workflow(*jobs, job("c", after=("b",)), output="${output | ${jobs.a.output}}", reads=("a",))
    assert chunks(await ran(streams, Components(a=source, b=first, c=last))) == ["y", "z"]
    assert source.closed == 1


async def test_a_stream_that_only_comes_before_another_job_is_read_to_its_end_first():
    source = Source("x", ends=False)
    components = Components(a=source, b="B")
    task = asyncio.ensure_future(output(workflow(job("a"), job("b", after=("a",))), components))
    await until(source.asked.is_set)
    assert (source.pulled, components.called("b")) == (1, [])
    source.end()
    assert await task == "B"


async def test_a_side_jobs_stream_that_nobody_reads_runs_to_its_end():
    source = Source("x", "y")
    assert await output(workflow(job("side"), job("last")), Components(side=source, last="done")) == "done"
    assert (source.pulled, source.closed) == (2, 1)


async def test_a_job_after_the_end_and_one_that_reads_the_flow_do_not_block_each_other():
    w = workflow(job("a"), job("b", after=("a",)), job("c", "${jobs.a.output}", flows=("a",), after=("b",)))
    assert chunks(await ran(w, Components(a=Source("x", "y"), b="B", c=passing))) == ["x", "y"]


async def test_several_streams_flow_side_by_side_under_their_names():
    answer, summary = Source("a1", ends=False), Source("s1", ends=False)
    w = workflow(
        job("a"),
        job("s"),
        output={"answer": "${jobs.a.output}", "n": 5, "summary": "${jobs.s.output}"},
        reads=("a", "s"),
    )
    async with aclosing(start(w, Components(a=answer, s=summary))) as events:
        assert await next_of(events, Delta) == Delta([5], "n", whole=True)
        assert {(await next_of(events, Delta)).name for _ in range(2)} == {"answer", "summary"}
        summary.give("s2")
        assert await next_of(events, Delta) == Delta(["s2"], "summary")
        summary.end()
        answer.give("a2")
        assert await next_of(events, Delta) == Delta(["a2"], "answer")
        answer.end()
        assert await next_of(events, Finished) == Finished(None, streamed=True)


async def test_side_by_side_each_stream_is_read_one_batch_ahead_at_most():
    answer, summary = Source(*"abcd"), Source(*"efgh")
    w = workflow(job("a"), job("s"), output={"a": "${jobs.a.output}", "s": "${jobs.s.output}"}, reads=("a", "s"))
    async with aclosing(start(w, Components(a=answer, s=summary))) as events:
        await next_of(events, Delta)
        for _ in range(20):
            await asyncio.sleep(0)
        assert max(answer.pulled, summary.pulled) <= 2


async def test_one_stream_in_a_mapping_is_named_too():
    w = workflow(job("a"), output={"text": "${output}", "n": 1})
    events = await ran(w, Components(a=Source("x", "y")))
    assert (chunks(events, "text"), chunks(events, "n")) == (["x", "y"], [1])


async def test_the_same_stream_under_two_names_comes_twice():
    w = workflow(job("a"), output={"one": "${output}", "two": "${jobs.a.output}"}, reads=("a",))
    events = await ran(w, Components(a=Source("x", "y")))
    assert (chunks(events, "one"), chunks(events, "two")) == (["x", "y"], ["x", "y"])


CAST_AND_NOT = [
    {"a": "${output as text}", "b": "${output}"},
    {"a": "${output}", "b": "${output as text}"},
    {"a": "${output as text}", "b": "${output as text;sse-text}"},
    {"a": "${output}", "b": "${jobs.a.output as text}"},
]


@pytest.mark.parametrize("output", CAST_AND_NOT)
async def test_one_stream_in_two_places_comes_whole_in_both_be_it_cast_or_not(output):
    source = Source("x", "y")
    events = await ran(workflow(job("a"), output=output, reads=("a",)), Components(a=source))
    assert (chunks(events, "a"), chunks(events, "b")) == (["x", "y"], ["x", "y"])
    assert (source.pulled, source.closed) == (2, 1)


@pytest.mark.parametrize("fields", [{}, {"on_error": OnError(template("never"))}, {"retry": Retry(2)}])
@pytest.mark.parametrize("output", CAST_AND_NOT[:3])
async def test_so_it_does_in_a_jobs_output(output, fields):
    source = Source("x", "y")
    events = await ran(workflow(job("a", output=output, **fields)), Components(a=source))
    assert (chunks(events, "a"), chunks(events, "b")) == (["x", "y"], ["x", "y"])
    assert (source.pulled, source.closed) == (2, 1)


async def test_so_it_does_where_both_are_joined():
    w = workflow(job("a"), output=["${output as text}", "${output}", "${jobs.a.output as json;sse-json}"], reads=("a",))
    assert await output(w, Components(a=Source(1, 2))) == ["12", [1, 2], [1, 2]]
    mapped = job("a", output={"a": "${output as text}", "b": "${output}", "c": "${output}"})
    reader = job("b", "${jobs.a.output}", whole=("a",))
    assert await output(workflow(mapped, reader), Components(a=Source(1, 2), b=passing)) == {
        "a": "12", "b": [1, 2], "c": [1, 2],
    }  # fmt: skip


async def test_a_character_split_over_two_chunks_arrives_whole_in_every_place():
    halves = "é".encode()
    w = workflow(job("a", output={"a": "${output as text}", "b": "${output as text}", "raw": "${output}"}))
    events = await ran(w, Components(a=Source(halves[:1], halves[1:])))
    assert [chunks(events, name) for name in ("a", "b", "raw")] == [["é"], ["é"], [halves[:1], halves[1:]]]


async def test_casts_upon_casts_of_one_stream_all_come_whole():
    w = workflow(
        job("a", output={"text": "${output as text}", "raw": "${output}"}),
        output={"json": "${jobs.a.output.text as json;sse-json}", "text": "${jobs.a.output.text}", "all": "${output}"},
        reads=("a",),
    )
    events = await ran(w, Components(a=Source(b"1", b"2")))
    assert (chunks(events, "json"), chunks(events, "text")) == (["1", "2"], ["1", "2"])
    assert chunks(events, "all") == [{"text": "12", "raw": b"12"}]


async def test_a_side_jobs_stream_in_two_places_is_read_once_to_its_end():
    source = Source("x", "y")
    w = workflow(job("side", output=CAST_AND_NOT[0]), job("last"))
    assert await output(w, Components(side=source, last="done")) == "done"
    assert (source.pulled, source.closed) == (2, 1)


async def test_what_a_job_was_handed_is_closed_when_it_is_given_on_in_two_places():
    source = Source("x", "y")
    w = workflow(job("a"), job("b", "${jobs.a.output}", flows=("a",), output=CAST_AND_NOT[0]))
    events = await ran(w, Components(a=source, b=passing))
    assert (chunks(events, "a"), chunks(events, "b")) == (["x", "y"], ["x", "y"])
    assert source.closed == 1


async def test_streams_nested_deeper_are_joined():
    w = workflow(job("a"), output={"deep": ["${output}"]})
    assert await output(w, Components(a=Source("x", "y"))) == {"deep": ["xy"]}


async def test_a_stream_that_breaks_fails_the_run_after_what_it_gave():
    source = Source("x", ends=False)
    source.fail(ComponentFailed("boom"))
    events = await ran(workflow(job("a")), Components(a=source))
    assert chunks(events) == ["x"]
    assert isinstance(events[-1], RunFailed)
    assert events[-1].error.message == "workflow 'w', job 'a', component 'a': boom"
    assert source.closed == 1


async def test_side_jobs_are_told_of_while_the_result_streams():
    released = asyncio.Event()

    async def waits(_):
        await released.wait()

    source = Source("x", ends=False)
    async with aclosing(start(workflow(job("side"), job("a")), Components(side=waits, a=source))) as events:
        assert await next_of(events, Delta) == Delta(["x"])
        released.set()
        assert await next_of(events, JobDone) == JobDone("side", "completed")
        source.end()
        assert await next_of(events, Finished)


async def test_joined_inside_a_job_counts_as_done_when_joined():
    source = Source("x", ends=False)
    components = Components(a=source, b=passing)
    async with aclosing(start(workflow(job("a"), job("b", "${jobs.a.output}", whole=("a",))), components)) as events:
        reading = asyncio.ensure_future(next_of(events, JobDone))
        await until(source.asked.is_set)
        assert not reading.done()
        source.end()
        assert await reading == JobDone("a", "completed")
        rest = [event async for event in events]
    assert statuses(rest) == {"b": "completed"}
