"""What a workflow's `output` makes of its jobs: each entry as soon as it is known, and nothing kept for nobody."""

import asyncio
from contextlib import aclosing

import pytest

from deployments.runs.events import Delta, Finished, RunFailed
from deployments.runs.site import Limits
from graphs.component import Whole
from graphs.errors import BindingFailed, ComponentFailed, NoResult
from graphs.plan import OnError
from graphs.stream import Note
from tests.runs.builders import (
    Components,
    Source,
    chunks,
    failure,
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

BOTH = {"answer": "${jobs.a.output}", "summary": "${jobs.b.output}"}


def both(output=BOTH, **fields):
    """A workflow of two jobs, `b` maybe with fields of its own."""
    return workflow(job("a"), job("b", **fields), output=output, reads=("a", "b"))


class Gate:
    """A component that answers when it is let go on."""

    def __init__(self, answer=None):
        self.open = asyncio.Event()
        self._answer = answer

    async def __call__(self, invocation):
        await self.open.wait()
        if isinstance(self._answer, BaseException):
            raise self._answer
        return self._answer.stream if isinstance(self._answer, Source) else self._answer


async def deltas(events, count):
    return [await next_of(events, Delta) for _ in range(count)]


# --- as soon as it is known ------------------------------------------------------------------------------------------


async def test_a_stream_goes_out_while_the_job_of_another_entry_has_not_begun():
    late = Gate(Source("s1", "s2"))
    async with aclosing(start(both(), Components(a=Source("a1", "a2"), b=late))) as events:
        assert await deltas(events, 2) == [Delta(["a1"], "answer"), Delta(["a2"], "answer")]
        late.open.set()
        assert await deltas(events, 2) == [Delta(["s1"], "summary"), Delta(["s2"], "summary")]
        assert await next_of(events, Finished) == Finished(None, streamed=True)


async def test_a_job_after_the_streams_end_does_not_hold_the_stream_back():
    source = Source("x", ends=False)
    async with aclosing(start(both(after=("a",)), Components(a=source, b="B"))) as events:
        assert await next_of(events, Delta) == Delta(["x"], "answer")
        source.end()
        assert await next_of(events, Delta) == Delta(["B"], "summary", whole=True)


async def test_a_plain_value_comes_whole_when_it_is_there_be_it_before_or_after_a_stream():
    quick, late = Gate(Source("a1", "a2")), Gate("B")
    w = workflow(job("a"), job("b"), job("c"), output={**BOTH, "c": "${jobs.c.output}", "n": 5}, reads=("a", "b", "c"))
    async with aclosing(start(w, Components(a=quick, b=late, c="C"))) as events:
        first = asyncio.ensure_future(deltas(events, 4))
        await asyncio.sleep(0)
        quick.open.set()
        assert [(each.name, each.chunks) for each in await first] == [
            ("c", ["C"]), ("n", [5]), ("answer", ["a1"]), ("answer", ["a2"]),
        ]  # fmt: skip
        late.open.set()
        assert await next_of(events, Delta) == Delta(["B"], "summary", whole=True)


async def test_a_stream_deeper_in_an_entry_is_joined_while_the_others_flow():
    deep = Source("d1", ends=False)
    w = both({"answer": "${jobs.a.output}", "deep": ["${jobs.b.output}"]})
    async with aclosing(start(w, Components(a=Source("a1", "a2"), b=deep))) as events:
        assert await deltas(events, 2) == [Delta(["a1"], "answer"), Delta(["a2"], "answer")]
        deep.give("d2")
        deep.end()
        assert await next_of(events, Delta) == Delta([["d1d2"]], "deep", whole=True)


async def test_a_stream_flows_under_one_name_and_is_joined_into_text_under_another():
    source = Source("x", ends=False)
    w = workflow(job("a"), output={"flows": "${output}", "text": "<${output}>"})
    async with aclosing(start(w, Components(a=source))) as events:
        assert await next_of(events, Delta) == Delta(["x"], "flows")
        source.give("y")
        source.end()
        rest = [event async for event in events]
    assert (chunks(rest, "flows"), chunks(rest, "text")) == (["y"], ["<xy>"])


async def test_a_jobs_mapping_of_streams_flows_side_by_side_too():
    w = workflow(job("a", output={"n": 1, "one": "${output}", "deep": ["${output}"]}))
    events = await ran(w, Components(a=Source("x", "y")))
    assert [chunks(events, name) for name in ("n", "one", "deep")] == [[1], ["x", "y"], [["xy"]]]


async def test_entries_of_which_none_streams_are_one_plain_result_in_the_order_they_are_written():
    first, second = Gate("A"), Gate("B")
    w = both({"answer": "${jobs.a.output}", "n": 5, "summary": "${jobs.b.output}"})
    reading = asyncio.ensure_future(ran(w, Components(a=first, b=second)))
    second.open.set()
    await asyncio.sleep(0)
    first.open.set()
    told = await reading
    assert [event for event in told if isinstance(event, Delta)] == []
    assert list(told[-1].output.items()) == [("answer", "A"), ("n", 5), ("summary", "B")]


async def test_the_notes_of_all_entries_come_with_a_plain_result_once():
    said, usage = Note({"finish_reason": "stop"}), Note({"usage": 3})

    async def answer(_):
        return Whole("A", {"usage": 1})

    w = both({"answer": "${jobs.a.output}", "one": ["${jobs.b.output}"], "two": "<${jobs.b.output}>"})
    last = (await ran(w, Components(a=answer, b=Source("x", said, usage))))[-1]
    assert last.output == {"answer": "A", "one": ["x"], "two": "<x>"}
    assert last.notes == (Note({"usage": 1}), said, usage)


# --- defaults --------------------------------------------------------------------------------------------------------

EITHER = "${jobs.a.output | ${jobs.b.output}}"


async def test_a_default_that_is_not_needed_is_not_waited_for_and_its_stream_is_closed():
    unneeded = Source("unneeded", ends=False)
    late = Gate(unneeded)
    source = Source("x", ends=False)
    async with aclosing(start(both(EITHER), Components(a=source, b=late))) as events:
        assert await next_of(events, Delta) == Delta(["x"])
        late.open.set()
        await unneeded.gone.wait()
        source.end()
        assert await next_of(events, Finished)
    assert unneeded.pulled == 0


async def test_a_default_is_waited_for_when_the_first_gives_nothing():
    late = Gate(Source("x", "y"))
    w = workflow(job("a", condition="${false}"), job("b"), output=EITHER, reads=("a", "b"))
    reading = asyncio.ensure_future(ran(w, Components(b=late)))
    late.open.set()
    assert chunks(await reading) == ["x", "y"]


async def test_a_default_may_be_the_output_of_the_last_job():
    w = workflow(job("a", condition="${false}"), job("b"), output="${jobs.a.output | ${output}}", reads=("a",))
    assert chunks(await ran(w, Components(b=Source("x")))) == ["x"]
    w = workflow(job("a"), job("b"), output="${jobs.a.output | ${output}}", reads=("a",))
    effect = Source("y")
    assert chunks(await ran(w, Components(a=Source("x"), b=effect))) == ["x"]
    assert (effect.pulled, effect.closed) == (1, 1)


@pytest.mark.parametrize("output", [EITHER, {"it": EITHER}])
async def test_what_only_a_default_would_have_read_is_not_kept(output):
    w = workflow(
        job("b"), job("a", "${jobs.b.output}", flows=("b",)), output=output, reads=("a", "b")
    )  # fmt: skip
    draft = Source(*["12345"] * 5)
    events = await ran(w, Components(a=passing, b=draft), limits=Limits(behind=10))
    assert isinstance(events[-1], Finished), events[-1]
    assert chunks(events, None if output is EITHER else "it") == ["12345"] * 5


async def test_a_stream_that_may_yet_be_a_default_holds_back_and_does_not_fail():
    w = both({"one": "${jobs.a.output}", "two": "${jobs.b.output | ${jobs.a.output}}"})
    for answer, two in ((None, ["12345"] * 6), ("B", ["B"])):
        source, late = Source(*["12345"] * 6), Gate(answer)
        reading = asyncio.ensure_future(ran(w, Components(a=source, b=late), limits=Limits(behind=10)))
        await until(lambda source=source: source.pulled == 3)
        for _ in range(20):
            await asyncio.sleep(0)
        assert source.pulled == 3
        late.open.set()
        events = await reading
        assert isinstance(events[-1], Finished), events[-1]
        assert (chunks(events, "one"), chunks(events, "two")) == (["12345"] * 6, two)
        assert source.closed == 1


async def test_a_stream_that_the_last_output_might_have_been_flows_at_once():
    late = Gate("B")
    w = workflow(job("a"), job("b"), output={"a": "${jobs.a.output}", "last": "${output}"}, reads=("a",))
    async with aclosing(start(w, Components(a=Source("x", "y"), b=late))) as events:
        assert await deltas(events, 2) == [Delta(["x"], "a"), Delta(["y"], "a")]
        late.open.set()
        assert await next_of(events, Delta) == Delta(["B"], "last", whole=True)
    skipped = workflow(
        job("a"), job("b", condition="${false}"), output={"a": "${jobs.a.output}", "last": "${output}"}, reads=("a",)
    )
    events = await ran(skipped, Components(a=Source("x", "y")))
    assert (chunks(events, "a"), chunks(events, "last")) == (["x", "y"], ["x", "y"])


async def test_a_template_of_chunks_waits_for_all_that_it_reads():
    late = Gate(Source("1", "2"))
    w = workflow(job("b"), job("a"), output={"c": "${output[]}", "b": "${jobs.b.output}"}, reads=("b",))
    reading = asyncio.ensure_future(ran(w, Components(a=Source("x", "y"), b=late)))
    late.open.set()
    assert chunks(await reading) == [{"c": "x", "b": "12"}, {"c": "y", "b": "12"}]


# --- failing and skipping --------------------------------------------------------------------------------------------


async def test_an_entry_that_fails_ends_the_streams_of_the_others():
    source, late = Source("x", ends=False), Gate("no number")
    w = both({"answer": "${jobs.a.output}", "n": "${jobs.b.output as integer}"})
    async with aclosing(start(w, Components(a=source, b=late))) as events:
        assert await next_of(events, Delta) == Delta(["x"], "answer")
        late.open.set()
        assert isinstance((await next_of(events, RunFailed)).error, BindingFailed)
    assert source.closed == 1


async def test_a_job_that_fails_late_ends_the_streams_that_flow():
    source, late = Source("x", ends=False), Gate(ComponentFailed("boom"))
    async with aclosing(start(both(), Components(a=source, b=late))) as events:
        assert await next_of(events, Delta) == Delta(["x"], "answer")
        late.open.set()
        assert (await next_of(events, RunFailed)).error.details["job"] == "b"
    assert source.closed == 1


async def test_on_error_takes_over_for_one_entry_while_another_flows():
    late = Gate(ComponentFailed("boom"))
    w = both(on_error=OnError(template("instead")))
    async with aclosing(start(w, Components(a=Source("x"), b=late))) as events:
        assert await next_of(events, Delta) == Delta(["x"], "answer")
        late.open.set()
        assert await next_of(events, Delta) == Delta(["instead"], "summary", whole=True)


async def test_an_entry_whose_job_was_skipped_is_null_beside_the_others():
    assert await output(both(condition="${false}"), Components(a="A")) == {"answer": "A", "summary": None}
    events = await ran(both(condition="${false}"), Components(a=Source("x")))
    assert (chunks(events, "answer"), chunks(events, "summary")) == (["x"], [None])


@pytest.mark.parametrize("entry", ["${jobs.a.output}", "${jobs.a.output < 5}"])
async def test_entries_whose_jobs_were_all_skipped_are_no_result(entry):
    off = {"condition": "${input.on}"}
    w = workflow(job("a", **off), job("b", **off), output={"x": entry, "y": "${jobs.b.output}"}, reads=("a", "b"))
    error = await failure(w, Components(), {"on": False})
    assert isinstance(error, NoResult)
    assert "'a' was skipped because ${input.on} is false, 'b' was" in error.message
