"""A call in this process: a question in, the answer out, however either side behaves."""

import asyncio
import contextlib
import contextvars
import sys
from collections.abc import AsyncIterator

import pytest

from deployments.answering import answerer
from deployments.local import invoke
from deployments.local.pipe import COST, WINDOW
from graphs.component import Chunk, Note, Whole
from graphs.errors import ComponentFailed, NotFound, TimedOut, UpstreamFailed
from graphs.stream import Stream
from tests.local.acting import Does, Given, acting, calling, component, read, turns, yielding

VARIABLE: contextvars.ContextVar[str] = contextvars.ContextVar("variable")


async def outcome(does: Does, text=None, secrets=(), **asked) -> tuple:
    async with calling(component(acting(does), secrets)) as call:
        return await call.outcome(text, **asked)


# --- what comes ------------------------------------------------------------------------------------------------------


async def test_a_whole_answer_comes_with_its_notes():
    assert await outcome(yielding(Whole({"a": [1]}))) == ("whole", {"a": [1]}, None)
    assert await outcome(yielding(Whole("a", {"usage": 1}))) == ("whole", "a", {"usage": 1})


async def test_a_stream_comes_with_its_notes_in_between_and_may_be_empty():
    assert await outcome(yielding("a", Note({"n": 1}), b"b", {"c": 1})) == (
        "stream", ["a", Note({"n": 1}), b"b", {"c": 1}], None,
    )  # fmt: skip
    assert await outcome(yielding()) == ("stream", [], None)


async def test_twenty_thousand_chunks_keep_their_order():
    assert await outcome(yielding(*map(str, range(20_000)))) == ("stream", list(map(str, range(20_000))), None)


async def test_a_chunk_larger_than_the_window_passes_alone():
    large = "x" * (2 * WINDOW)
    assert await outcome(yielding("a", large, "b", large, large)) == ("stream", ["a", large, "b", large, large], None)


async def test_an_unknown_component_and_an_unknown_action_are_named():
    async with calling(component(acting(yielding()))) as call:
        with pytest.raises(NotFound, match="there is no component 'gone'; there is it"):
            await call(id="gone")
        with pytest.raises(NotFound, match="component 'it' has no action 'gone'"):
            await call(action="gone")


# --- backpressure ----------------------------------------------------------------------------------------------------


async def test_a_reader_that_stops_stops_its_own_component_within_the_window_and_no_other():
    made: dict[str, int] = {"slow": 0, "quick": 0}

    async def run(input: Given) -> AsyncIterator[Chunk]:
        for _ in range(5_000):
            made[input.text] += 1
            yield "x" * 1000

    async with calling(component(acting(run))) as call:
        slow, quick = await call("slow"), await call("quick")
        assert len((await read(quick))[0]) == made["quick"] == 5_000
        await turns(1000)
        most = WINDOW // (1000 + COST) + 1
        assert made["slow"] == most
        assert len((await read(slow))[0]) == made["slow"] == 5_000


async def test_a_component_that_never_waits_lets_other_calls_have_their_turn():
    async def endless(input: Given) -> AsyncIterator[Chunk]:
        while True:
            yield ""

    async def busy(input: Given) -> AsyncIterator[Chunk]:
        while True:
            yield "a"

    async with calling(component(acting(busy)), component(acting(yielding(Whole(1))), id="other")) as call:
        stream = await call()
        batches = stream.batches()
        for _ in range(3):
            assert await anext(batches)
            assert await call(id="other") == 1
        await batches.aclose()


# --- components that fail --------------------------------------------------------------------------------------------


def raising(error: BaseException, *before: Chunk) -> Does:
    async def run(input: Given) -> AsyncIterator[Chunk]:
        for chunk in before:
            yield chunk
        raise error

    return run


FAILURES = [
    (ValueError("no"), "component_failed", "component 'it' failed: ValueError: no"),
    (UpstreamFailed("busy"), "upstream_failed", "busy"),
    (SystemExit(3), "component_failed", "component 'it' failed: SystemExit: 3"),
    (KeyboardInterrupt(), "component_failed", "component 'it' failed: KeyboardInterrupt"),
    (asyncio.CancelledError(), "component_failed", "component 'it' cancelled itself"),
]


@pytest.mark.parametrize(("raised", "type", "message"), FAILURES, ids=lambda value: repr(value))
async def test_a_failure_ends_its_own_call_and_no_other(raised: BaseException, type: str, message: str):
    error = {"type": type, "message": message}
    others = component(acting(yielding("b", "c")), id="other")
    for does, expected in ((raising(raised), ("error", error)), (raising(raised, "a"), ("stream", ["a"], error))):
        async with calling(component(acting(does)), others) as call:
            beside = await call(id="other")
            assert await call.outcome() == expected
            assert await read(beside) == (["b", "c"], None)


async def test_an_exit_in_a_thread_of_the_component_ends_its_call_alone():
    async def run(input: Given) -> AsyncIterator[Chunk]:
        yield await asyncio.to_thread(sys.exit, 3)

    error = {"type": "component_failed", "message": "component 'it' failed: SystemExit: 3"}
    assert await outcome(run) == ("error", error)


async def test_what_is_no_json_fails_as_over_the_channel():
    kind, error = await outcome(yielding(Whole(object())))
    assert (kind, error["type"]) == ("error", "component_failed")
    assert error["message"] == "expected chunks of text, bytes or JSON values, got one with an object in it"
    assert await outcome(yielding("a", {1, 2})) == (
        "stream", ["a"],
        {"type": "component_failed", "message": "expected chunks of text, bytes or JSON values, got one with a set in it"},
    )  # fmt: skip


async def test_an_input_that_holds_itself_is_refused():
    loop: list = []
    loop.append(loop)
    assert await outcome(yielding(Whole(1)), loop) == (
        "error", {"type": "invalid_input", "message": "the input is nested too deep to travel, or holds itself; make it flatter"},
    )  # fmt: skip


async def test_secrets_are_redacted_in_errors():
    does = raising(UpstreamFailed("no key-4711", upstream={"body": "key-4711"}), "a")
    assert await outcome(does, secrets=("key-4711",)) == (
        "stream", ["a"], {"type": "upstream_failed", "message": "no ***", "upstream": {"body": "***"}},
    )  # fmt: skip


# --- leaving ---------------------------------------------------------------------------------------------------------


def waiting(ended: asyncio.Event, *before: Chunk) -> Does:
    async def run(input: Given) -> AsyncIterator[Chunk]:
        try:
            for chunk in before:
                yield chunk
            await asyncio.Event().wait()
        finally:
            ended.set()

    return run


async def test_leaving_a_stream_stops_its_component():
    ended = asyncio.Event()
    async with calling(component(acting(waiting(ended, "a")))) as call:
        stream = await call()
        batches = stream.batches()
        assert await anext(batches) == ["a"]
        await batches.aclose()
        assert ended.is_set()


async def test_leaving_a_stream_stops_a_component_that_waits_for_its_reader():
    ended = asyncio.Event()

    async def run(input: Given) -> AsyncIterator[Chunk]:
        try:
            while True:
                yield "x" * WINDOW
        finally:
            ended.set()

    async with calling(component(acting(run))) as call:
        stream = await call()
        await stream.aclose()
        assert ended.is_set()


async def test_a_call_that_is_cancelled_before_its_first_chunk_stops_its_component():
    ended, begun = asyncio.Event(), asyncio.Event()

    async def run(input: Given) -> AsyncIterator[Chunk]:
        begun.set()
        try:
            await asyncio.Event().wait()
            yield "never"
        finally:
            ended.set()

    async with calling(component(acting(run))) as call:
        asking = asyncio.ensure_future(call())
        await begun.wait()
        asking.cancel()
        await asyncio.wait([asking])
        assert asking.cancelled()
        assert ended.is_set()


async def test_a_stream_that_is_closed_while_it_is_read_ends_its_reader():
    async with calling(component(acting(waiting(asyncio.Event(), "a")))) as call:
        stream = await call()
        reading = asyncio.ensure_future(read(stream))
        await turns()
        await stream.aclose()
        got, error = await reading
        assert got == ["a"]
        assert error is not None
        assert error.to_data() == {
            "type": "cancelled", "message": "the answer of component 'it' was closed while it was read",
        }  # fmt: skip


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A component that won't stop is given up at once."""
    monkeypatch.setattr(invoke, "LEAVE", 0.0)
    monkeypatch.setattr(invoke, "GRACE", 0.0)
    monkeypatch.setattr(answerer, "STOP_DEADLINE", 0.0)


def stubborn(release: asyncio.Event, *before: Chunk) -> Does:
    """A component that doesn't hear that it is cancelled."""

    async def run(input: Given) -> AsyncIterator[Chunk]:
        for chunk in before:
            yield chunk
        while not release.is_set():
            try:
                await release.wait()
            except asyncio.CancelledError:
                continue
        yield "late"

    return run


async def test_a_component_that_ignores_that_its_reader_left_holds_up_neither_the_reader_nor_others(impatient: None):
    release = asyncio.Event()
    async with calling(
        component(acting(stubborn(release, "a")), max_concurrent_count=1),
        component(acting(yielding(Whole(1))), id="other"),
    ) as call:
        stream = await call()
        await stream.aclose()
        assert await call(id="other") == 1
        again = await call()  # the place is free again
        await again.aclose()
        release.set()
        await turns()


async def test_a_component_that_ignores_its_deadline_is_left_and_the_call_has_timed_out(impatient: None):
    release = asyncio.Event()
    message = "component 'it' did not finish before the run's deadline"
    async with calling(
        component(acting(stubborn(release))), component(acting(stubborn(release, "a")), id="begun")
    ) as call:
        with pytest.raises(TimedOut, match=message):
            await call(remaining=0.0)
        got, error = await read(await call(id="begun", remaining=0.05))
        assert got == ["a"]
        assert isinstance(error, TimedOut)
        release.set()
        await turns()


async def test_a_component_that_streams_on_past_its_deadline_does_not_put_off_the_error(impatient: None):
    async def run(input: Given) -> AsyncIterator[Chunk]:
        while True:
            with contextlib.suppress(asyncio.CancelledError):
                await asyncio.sleep(0)
            yield "a"

    async with calling(component(acting(run))) as call:
        _, error = await read(await call(remaining=0.02))
        assert isinstance(error, TimedOut)


async def test_the_deadline_strikes_before_the_first_chunk_and_in_the_stream():
    ended = asyncio.Event()
    error = {"type": "timed_out", "message": "component 'it' did not finish before the run's deadline"}
    assert await outcome(waiting(ended), remaining=0.0) == ("error", error)
    assert await outcome(waiting(ended, "a"), remaining=0.05) == ("stream", ["a"], error)
    assert ended.is_set()


# --- what belongs to whom --------------------------------------------------------------------------------------------


async def test_a_component_that_changes_its_input_changes_nothing_for_others():
    async def run(input: Given) -> AsyncIterator[Chunk]:
        input.text["of"].append("mine")
        input.text["new"] = 1
        yield Whole(input.text)

    given = {"of": ["ours"]}
    async with calling(component(acting(run))) as call:
        assert await call(given) == {"of": ["ours", "mine"], "new": 1}
    assert given == {"of": ["ours"]}


async def test_a_component_that_changes_the_chunks_of_its_input_changes_nothing_for_others():
    ours = [{"a": []}, Note({"n": []})]

    async def batches():
        yield list(ours)

    async def run(input: Given) -> AsyncIterator[Chunk]:
        async for batch in input.text.batches():
            for chunk in batch:
                (chunk.data if isinstance(chunk, Note) else chunk)["mine"] = 1
                yield chunk
            batch.clear()

    assert await outcome(run, Stream(batches())) == ("stream", [{"a": [], "mine": 1}, Note({"n": [], "mine": 1})], None)
    assert ours == [{"a": []}, Note({"n": []})]


async def test_a_component_that_changes_the_value_of_a_stream_that_was_joined_changes_nothing_for_others():
    async def batches():
        yield [{"a": 1}, {"b": 2}]

    async def run(input: Given) -> AsyncIterator[Chunk]:
        input.text[0]["mine"] = 1
        yield Whole(len(input.text))

    stream = Stream(batches())
    await stream.join()
    assert await outcome(run, stream) == ("whole", 2, None)
    assert await stream.join() == [{"a": 1}, {"b": 2}]


async def test_a_component_that_goes_on_to_change_what_it_gave_changes_nothing_for_others():
    kept: list = [{"n": 0}]

    async def wholes(input: Given) -> AsyncIterator[Chunk]:
        kept[0]["n"] += 1
        yield Whole(kept, {"note": kept})

    async def chunks(input: Given) -> AsyncIterator[Chunk]:
        for _ in range(3):
            kept[0]["n"] += 1
            yield kept

    async with calling(component(acting(wholes)), component(acting(chunks), id="chunks")) as call:
        first, second = await call(), await call()
        assert (first.value, first.notes) == ([{"n": 1}], {"note": [{"n": 1}]})
        assert second.value == [{"n": 2}]
        assert await call.outcome(id="chunks") == ("stream", [[{"n": 3}], [{"n": 4}], [{"n": 5}]], None)


async def test_an_answer_that_is_nested_deep_comes_whole():
    value: list = []
    for _ in range(600):
        value = [value]
    assert await outcome(yielding(Whole(value))) == ("whole", value, None)


async def test_a_call_runs_apart_from_the_context_of_its_caller():
    seen = []

    async def run(input: Given) -> AsyncIterator[Chunk]:
        seen.append(VARIABLE.get(None))
        yield Whole(1)

    VARIABLE.set("the caller's")
    await outcome(run)
    assert seen == [None]


# --- streams of the input --------------------------------------------------------------------------------------------


class Source:
    """A stream that tells whether it has been closed."""

    def __init__(self, *chunks: Chunk, error: Exception | None = None, ends: bool = True) -> None:
        self.closed = 0
        self._chunks, self._error, self._ends = chunks, error, ends
        self.stream = Stream(self._batches(), self._close)

    async def _batches(self):
        for chunk in self._chunks:
            yield [chunk]
        if self._error is not None:
            raise self._error
        if not self._ends:
            await asyncio.Event().wait()

    async def _close(self) -> None:
        self.closed += 1


async def passing(input: Given) -> AsyncIterator[Chunk]:
    async for chunk in input.text:
        yield chunk


async def test_a_stream_of_the_input_flows_through_and_is_closed_at_its_end():
    source = Source("a", "b")
    assert await outcome(passing, source.stream) == ("stream", ["a", "b"], None)
    assert source.closed == 1


async def test_a_stream_of_the_input_is_closed_when_it_is_never_read_or_the_component_fails():
    for does in (yielding("a"), yielding(Whole(1)), raising(ValueError()), raising(ValueError(), "a")):
        source = Source("a", ends=False)
        await outcome(does, source.stream)
        assert source.closed == 1


async def test_a_stream_of_the_input_that_fails_fails_the_component_that_reads_it():
    source = Source("a", error=ComponentFailed("gone"))
    assert await outcome(passing, source.stream) == ("stream", ["a"], {"type": "component_failed", "message": "gone"})
    assert source.closed == 1


async def test_a_stream_of_the_input_is_closed_when_the_reader_of_the_answer_leaves():
    source = Source("a", ends=False)
    async with calling(component(acting(passing))) as call:
        stream = await call(source.stream)
        batches = stream.batches()
        assert await anext(batches) == ["a"]
        await batches.aclose()
    assert source.closed == 1


async def test_a_stream_of_the_input_that_stands_in_two_places_is_one_stream_there():
    async def run(input: Given) -> AsyncIterator[Chunk]:
        yield Whole(input.text)

    stream = Source("a", "b").stream
    assert await outcome(run, [stream, stream]) == ("whole", ["ab", "ab"], None)
