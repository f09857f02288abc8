"""What a worker does with a question, without Ray and without sockets."""

import asyncio
import enum
import logging
import math
import re
import sys
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from typing import Any

import pytest

from deployments.answering.answerer import Answerer
from deployments.answering.messages import Answered, Erred, Question, Reply, Stopped, Streamed
from deployments.streams.codec import Left, Lost
from deployments.telemetry.redaction import Redactor
from graphs.component import ActionInput, Chunk, Component, ComponentConfig, Note, Setup, Stream, Streamable, Whole
from graphs.context import RunContext
from graphs.errors import UpstreamFailed
from graphs.language import parse
from graphs.language.nodes import Constant, ListTemplate, MappingTemplate, Template
from graphs.plan import ActionPlan, ComponentPlan, Options
from tests.fakes.local import Basket

Run = Callable[["Given"], AsyncIterator[Chunk]]


class Given(ActionInput):
    text: Streamable[Any] = None


class Told(Component[ComponentConfig, Given]):
    """Does what the test's function does."""

    type = "told"
    Input = Given
    does: Run

    async def run(self, input: Given) -> AsyncIterator[Chunk]:
        chunks = self.does(input)
        try:
            async for chunk in chunks:
                yield chunk
        finally:
            await chunks.aclose()


def yielding(*chunks: Chunk) -> Run:
    async def run(input: Given) -> AsyncIterator[Chunk]:
        for chunk in chunks:
            yield chunk

    return run


def answerer(
    does: Run, output: Template | None = None, secrets: tuple[str, ...] = (), model: type[ActionInput] = Given
) -> Answerer:
    action = ActionPlan("go", MappingTemplate((("text", parse("${input.text}")),)), output)
    plan = ComponentPlan("it", "told", {}, {"go": action}, "go", Options(), "t.yaml:1:1")
    component = Told(ComponentConfig(), Setup("it"))
    component.does = does
    component.Input = model
    return Answerer(plan, component, Redactor(secrets))


def question(input: Any = None, action: str = "go", remaining: float | None = None) -> Question:
    deadline = None if remaining is None else asyncio.get_running_loop().time() + remaining
    return Question(action, input or {}, RunContext("run-1", "w", "session-1", deadline))


class Failing:
    """Equals the reply of a call that failed with an error that is shown so."""

    def __init__(self, data: dict[str, Any]) -> None:
        self.data = data

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Erred) and other.error.to_data() == self.data

    def __repr__(self) -> str:
        return f"Failing({self.data})"


async def answer(
    does: Run, output: Template | None = None, secrets: tuple[str, ...] = (), **asked: Any
) -> tuple[list[Chunk], Reply]:
    basket = Basket()
    reply = await answerer(does, output, secrets).answer(question(**asked), lambda: basket)
    return basket.take(), reply


async def test_chunks_go_out_and_the_reply_counts_them():
    assert await answer(yielding("a", Note({"n": 1}), "b")) == (["a", Note({"n": 1}), "b"], Streamed(3))


async def test_empty_chunks_are_left_out_and_false_ones_are_not():
    assert await answer(yielding(None, "", b"", 0, False, [], {})) == ([0, False, [], {}], Streamed(4))


async def test_a_whole_is_a_value_with_its_notes():
    assert await answer(yielding(Whole(3, {"usage": 1}))) == ([], Answered(3, {"usage": 1}))


@pytest.mark.parametrize("more", [Whole(2), "a", 0, Note({"n": 1})], ids=repr)
async def test_more_beside_a_whole_is_an_error(more):
    error = {"type": "component_failed"} | {
        "message": "expected a Whole to be yielded once, alone, got more beside it; yield chunks, or all of it in one Whole"
    }
    assert await answer(yielding(Whole(1), more)) == ([], Failing(error))
    assert await answer(yielding("a", Whole(2)), parse("<${result}>")) == ([], Failing(error))


async def test_a_component_may_do_more_after_its_whole():
    done = []

    async def run(input: Given) -> AsyncIterator[Chunk]:
        yield Whole(1)
        done.append(True)
        yield None

    assert await answer(run) == ([], Answered(1))
    assert done == [True]


LOOP: list = []
LOOP.append(LOOP)


@pytest.mark.parametrize(
    ("thing", "said"),
    [
        (object(), "an? object in it"),
        ({"a": [{1, 2}]}, "a set in it"),
        ({(1, 2): 3}, "keys must be str"),
        (LOOP, "Circular reference"),
    ],
    ids=["object", "set", "key", "loop"],
)
async def test_what_is_no_json_is_refused_however_it_is_yielded(thing, said: str):
    for run in (yielding(Whole(thing)), yielding(Whole(1, {"note": thing})), yielding(thing)):
        chunks, reply = await answer(run)
        assert chunks == []
        assert isinstance(reply, Erred)
        assert reply.error.type == "component_failed"
        assert re.match(f"expected .*JSON values, got one with {said}", reply.error.message)
    _, reply = await answer(yielding(thing), ListTemplate((parse("${result}"),)))
    assert isinstance(reply, Erred)


async def test_an_output_may_take_what_is_json_out_of_what_is_not():
    run = yielding(Whole({"tensor": object(), "text": "a"}))
    assert await answer(run, parse("${result.text}")) == ([], Answered("a"))


async def test_a_whole_and_a_chunk_are_the_same_json():
    class Level(enum.IntEnum):
        HIGH = 3

    given = {1: (Level.HIGH, OrderedDict(a=b"\xff")), "b": [math.inf, "\ud83d"]}
    told = {"1": [3, {"a": b"\xff"}], "b": [math.inf, "\ud83d"]}
    _, whole = await answer(yielding(Whole(given)))
    (chunk,), _ = await answer(yielding(given))
    for got in (whole.value, chunk):
        assert got == told
        assert type(got["1"][0]) is int
        assert type(got["1"][1]) is dict


async def test_a_plain_whole_is_not_copied():
    value = {"vectors": [[0.5, 1], [None, True]], "raw": b"a", "of": [{"a": ["b"]}]}
    _, reply = await answer(yielding(Whole(value)))
    assert reply.value is value


async def test_nothing_yielded_is_an_empty_stream():
    assert await answer(yielding()) == ([], Streamed(0))


@pytest.mark.parametrize(
    ("template", "chunks", "reply"),
    [
        ("${result[]}!", ["a!", "b!"], Streamed(2)),
        ("${response[] as text}", ["a", "b"], Streamed(2)),
        ("${result}", ["a", "b"], Streamed(2)),
        ("<${result}>", [], Answered("<ab>")),
    ],
)
async def test_the_output_template_decides_whether_a_stream_stays_one(template, chunks, reply):
    assert await answer(yielding("a", "b"), parse(template)) == (chunks, reply)


async def test_a_stream_inside_a_mapping_is_joined():
    template = MappingTemplate(
        (("all", parse("${result}")), ("run", parse("${run.id}")), ("s", parse("${session.id}")))
    )
    reply = Answered({"all": "ab", "run": "run-1", "s": "session-1"})
    assert await answer(yielding("a", "b"), template) == ([], reply)


async def test_a_stream_stands_whole_in_two_places_be_it_cast_or_not():
    run = yielding(1, Note({"usage": 3}), 2)
    places = parse("${result as text}"), parse("${response}"), parse("${result as json;sse-json}")
    assert await answer(run, ListTemplate(places)) == ([], Answered(["12", [1, 2], [1, 2]], {"usage": 3}))


async def test_the_notes_of_a_stream_that_was_joined_come_with_the_answer():
    run = yielding("a", Note({"usage": 3}), "b", Note({"finish_reason": "stop"}))
    notes = {"usage": 3, "finish_reason": "stop"}
    assert await answer(run, parse("<${result}>")) == ([], Answered("<ab>", notes))


async def test_an_output_that_ignores_the_answer_still_lets_the_component_finish():
    done = []

    async def run(input: Given) -> AsyncIterator[Chunk]:
        yield "a"
        done.append(True)

    assert await answer(run, Constant("fine")) == ([], Answered("fine"))
    assert done == [True]


async def test_a_chunk_template_reads_a_whole_answer_as_its_chunk():
    assert await answer(yielding(Whole({"delta": "hi"})), parse("${response[].delta}")) == ([], Answered("hi"))


async def test_a_foreseen_error_crosses_as_it_is():
    async def run(input: Given) -> AsyncIterator[Chunk]:
        yield "a"
        raise UpstreamFailed("no key-4711", upstream={"status": 401, "body": {"key-4711": ["key-4711"]}})

    chunks, reply = await answer(run, secrets=("key-4711",))
    assert chunks == ["a"]
    assert reply == Failing(
        {"type": "upstream_failed", "message": "no ***", "upstream": {"status": 401, "body": {"***": ["***"]}}}
    )


async def test_an_unforeseen_error_crosses_in_one_line_and_its_traceback_is_logged(caplog):
    async def run(input: Given) -> AsyncIterator[Chunk]:
        raise ValueError("first key-4711\nsecond")
        yield

    _, reply = await answer(run, secrets=("key-4711",))
    message = "component 'it' failed: ValueError: first ***"
    assert reply == Failing({"type": "component_failed", "message": message})
    assert "run run-1: component 'it' failed" in caplog.text
    assert "Traceback" in caplog.text


class Odd(BaseException):
    """What a library may raise past every `except Exception`."""


@pytest.mark.parametrize("chunks", [(), ("a",), (Whole(1),)], ids=["at once", "later", "after a Whole"])
@pytest.mark.parametrize("raised", [SystemExit(3), KeyboardInterrupt("3"), Odd("3"), GeneratorExit("3")], ids=repr)
async def test_what_would_end_the_process_ends_the_call_alone(caplog, raised: BaseException, chunks):
    async def run(input: Given) -> AsyncIterator[Chunk]:
        for chunk in chunks:
            yield chunk
        raise raised

    _, reply = await answer(run)
    message = f"component 'it' failed: {type(raised).__name__}: 3"
    assert reply == Failing({"type": "component_failed", "message": message})
    assert "run run-1: component 'it' failed" in caplog.text
    assert "Traceback" in caplog.text


async def test_an_exit_in_a_thread_in_a_stream_or_while_closing_ends_the_call_alone():
    async def in_a_thread(input: Given) -> AsyncIterator[Chunk]:
        yield await asyncio.to_thread(sys.exit, 3)

    async def batches():
        yield ["a"]
        sys.exit(3)

    async def of_a_stream(input: Given) -> AsyncIterator[Chunk]:
        async for chunk in input.text:
            yield chunk

    async def while_closing(input: Given) -> AsyncIterator[Chunk]:
        try:
            yield "a"
            yield object()
        finally:
            sys.exit(3)

    failed = Failing({"type": "component_failed", "message": "component 'it' failed: SystemExit: 3"})
    assert await answer(in_a_thread) == ([], failed)
    assert await answer(of_a_stream, input={"text": Stream(batches())}) == (["a"], failed)
    assert await answer(while_closing) == (["a"], failed)


async def test_a_component_that_exits_when_its_reader_leaves_was_stopped():
    async def run(input: Given) -> AsyncIterator[Chunk]:
        yield "a"
        try:
            await asyncio.Event().wait()
        finally:
            sys.exit(3)

    basket = Basket()
    answering = asyncio.ensure_future(answerer(run).answer(question(), lambda: basket))
    await basket.filled()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering


async def test_an_error_without_words_is_named():
    async def run(input: Given) -> AsyncIterator[Chunk]:
        raise TimeoutError
        yield

    _, reply = await answer(run)
    assert reply == Failing({"type": "component_failed", "message": "component 'it' failed: TimeoutError"})


async def test_an_unknown_action_is_not_found():
    _, reply = await answer(yielding(), action="gone")
    assert reply == Failing({"type": "not_found", "message": "component 'it' has no action 'gone'; it has go"})


async def test_wrong_input_is_an_error_before_the_component_runs():
    class Strict(ActionInput):
        text: int

    reply = await answerer(yielding("never"), model=Strict).answer(question({"text": "x"}), Basket)
    assert isinstance(reply, Erred)
    assert reply.error.details["field"] == "text"


def waiting(ended: asyncio.Event, *before: Chunk) -> Run:
    async def run(input: Given) -> AsyncIterator[Chunk]:
        try:
            for chunk in before:
                yield chunk
            await asyncio.Event().wait()
        finally:
            ended.set()

    return run


async def test_the_deadline_stops_the_component():
    ended = asyncio.Event()
    chunks, reply = await answer(waiting(ended, "a"), remaining=0.0)
    assert ended.is_set() or chunks == []
    assert reply == Failing({"type": "timed_out", "message": "component 'it' did not finish before the run's deadline"})


@pytest.mark.parametrize(("reason", "kind"), [(Left(), Stopped), (Lost("cut"), Erred)])
async def test_a_reader_that_leaves_stops_a_component_that_is_waiting(reason, kind):
    ended = asyncio.Event()
    basket = Basket()
    answering = asyncio.ensure_future(answerer(waiting(ended, "a")).answer(question(), lambda: basket))
    await basket.filled()
    basket.stopped = reason
    basket.on_stop()
    assert isinstance(await answering, kind)
    assert ended.is_set()


async def test_a_cancelled_call_stops_the_component_first():
    ended = asyncio.Event()
    basket = Basket()
    answering = asyncio.ensure_future(answerer(waiting(ended, "a")).answer(question(), lambda: basket))
    await basket.filled()
    answering.cancel()
    with pytest.raises(asyncio.CancelledError):
        await answering
    assert ended.is_set()


async def test_a_component_that_will_not_stop_is_left_and_named(monkeypatch, caplog):
    monkeypatch.setattr("deployments.answering.answerer.STOP_DEADLINE", 0.01)
    release = asyncio.Event()

    async def run(input: Given) -> AsyncIterator[Chunk]:
        yield "a"
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue

    basket = Basket()
    it = answerer(run)
    answering = asyncio.ensure_future(it.answer(question(), lambda: basket))
    await basket.filled()
    answering.cancel()
    with caplog.at_level(logging.ERROR), pytest.raises(asyncio.CancelledError):
        await answering
    assert "component 'it' did not stop within" in caplog.text
    (stubborn,) = it._stubborn
    release.set()
    await asyncio.wait([stubborn])


async def test_a_component_that_cancels_itself_has_failed():
    async def run(input: Given) -> AsyncIterator[Chunk]:
        raise asyncio.CancelledError
        yield

    _, reply = await answer(run)
    assert reply == Failing({"type": "component_failed", "message": "component 'it' cancelled itself"})


async def test_an_input_stream_flows_into_a_field_that_takes_one():
    async def batches():
        yield ["a"]
        yield ["b"]

    async def run(input: Given) -> AsyncIterator[Chunk]:
        assert isinstance(input.text, Stream)
        async for chunk in input.text:
            yield chunk.upper()

    assert await answer(run, input={"text": Stream(batches())}) == (["A", "B"], Streamed(2))
