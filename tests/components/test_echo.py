"""Echo: its words are the text again, at the pace that was asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import aclosing
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from deployments.components.echo import Echo, EchoInput
from graphs.component import ComponentConfig, Note, Setup, Stream, Whole
from graphs.errors import ComponentFailed
from graphs.stream import Batch


def say(text: Any, **action: Any) -> AsyncIterator[Any]:
    component = Echo(ComponentConfig(), Setup(id="echo"))
    return component.run(EchoInput.model_validate({"text": text, **action}))


async def everything(chunks: AsyncIterator[Any]) -> list[Any]:
    return [chunk async for chunk in chunks]


def stream(*batches: Batch) -> Stream:
    async def source() -> AsyncIterator[Batch]:
        for batch in batches:
            yield batch

    return Stream(source())


async def test_each_chunk_is_a_word_with_the_space_before_it():
    assert await everything(say("Once upon  a\ntime")) == ["Once", " upon", "  a", "\ntime"]


@given(text=st.text(alphabet="ab \n\t안🙂"), repeat=st.integers(0, 3))
def test_joined_chunks_are_the_text_again(text: str, repeat: int):
    chunks = asyncio.run(everything(say(text, repeat=repeat)))
    assert "".join(chunks) == text * repeat
    assert len(chunks) == (len(text.split()) or bool(text)) * repeat


async def test_without_streaming_the_text_comes_whole():
    assert await everything(say("a b ", streaming="off", repeat=2)) == [Whole("a b a b ")]


@pytest.mark.parametrize("value", [{"a": 1}, ["a"], 5, None, False, b"raw"])
async def test_what_is_no_text_comes_back_as_it_is(value: Any):
    assert await everything(say(value)) == [Whole(value)]


async def test_a_stream_is_passed_on_chunk_by_chunk_with_its_notes():
    note = Note({"usage": 1})
    assert await everything(say(stream(["a b", "c"], [note, {"d": 1}]))) == ["a b", "c", note, {"d": 1}]


async def test_a_stream_chunk_leaves_before_the_next_one_comes():
    more = asyncio.Event()

    async def source() -> AsyncIterator[Batch]:
        yield ["a"]
        await more.wait()
        yield ["b"]

    chunks = say(Stream(source()))
    assert await anext(chunks) == "a"
    more.set()
    assert await everything(chunks) == ["b"]


async def test_a_stream_is_joined_to_be_repeated_or_whole():
    assert await everything(say(stream(["a b"]), repeat=2)) == ["a", " b", "a", " b"]
    assert await everything(say(stream(["a ", "b"]), streaming=False)) == [Whole("a b")]


async def test_a_reader_that_leaves_closes_the_stream_it_was_given():
    closed = asyncio.Event()

    async def close() -> None:
        closed.set()

    async def source() -> AsyncIterator[Batch]:
        while True:
            yield ["a"]

    async with aclosing(say(Stream(source(), close))) as chunks:  # pyright: ignore[reportArgumentType]
        assert await anext(chunks) == "a"
    assert closed.is_set()


async def test_it_fails_after_as_many_chunks_as_asked():
    chunks = say("a b c", fail_after=2)
    assert [await anext(chunks), await anext(chunks)] == ["a", " b"]
    with pytest.raises(ComponentFailed, match="asked to fail after 2 chunks"):
        await anext(chunks)


@pytest.mark.parametrize(("text", "count"), [("a b", 2), ("", 0), ("a b", 0)])
async def test_it_fails_even_when_the_text_ends_there(text: str, count: int):
    with pytest.raises(ComponentFailed, match=f"after {count} chunks"):
        await everything(say(text, fail_after=count))


async def test_a_text_that_ends_sooner_does_not_fail():
    assert await everything(say("a b", fail_after=3)) == ["a", " b"]


async def test_the_pace_is_kept_on_the_clock_not_between_chunks(monkeypatch: pytest.MonkeyPatch):
    now = 100.0
    loop = asyncio.get_running_loop()

    def pass_time(until: float) -> None:
        nonlocal now
        now = until + 0.005  # work that a pause after each chunk would add to

    async def sleep(pause: float) -> None:
        pass_time(now + pause)

    def call_at(when: float, callback: Callable[..., object], *args: object) -> None:
        pass_time(when)
        loop.call_soon(callback, *args)

    clock = SimpleNamespace(time=lambda: now, create_future=loop.create_future, call_at=call_at)
    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(asyncio, "get_running_loop", lambda: clock)
    times = [now async for _ in say("a b c d", interval="20ms", delay=1)]
    assert times == pytest.approx([101.010, 101.025, 101.045, 101.065], abs=0.002)


async def test_who_leaves_in_a_pause_does_not_hold_up_the_others():
    echo = Echo(ComponentConfig(), Setup("echo"))
    runs = [echo.run(EchoInput(text="a b", interval=0.02)) for _ in range(3)]
    for run in runs:
        assert await anext(run) == "a"
    waiting = [asyncio.ensure_future(anext(run)) for run in runs]
    await asyncio.sleep(0)
    waiting[0].cancel()
    assert (await asyncio.gather(*waiting, return_exceptions=True))[1:] == [" b", " b"]


@pytest.mark.parametrize(
    "wrong", [{"repeat": -1}, {"interval": "soon"}, {"delay": -1}, {"fail_after": -1}, {"speed": 1}]
)
def test_wrong_input_is_refused(wrong: dict[str, Any]):
    with pytest.raises(ValidationError):
        say("a", **wrong)


def test_text_is_required():
    with pytest.raises(ValidationError, match="text"):
        EchoInput.model_validate({})
