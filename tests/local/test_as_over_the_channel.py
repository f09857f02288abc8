"""A component behaves in this process as it does in a deployment: the same calls, here and over a real channel."""

import asyncio
import enum
import math
import warnings
from collections import OrderedDict
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    from deployments.serve.handles import HandlesInvoke
    from deployments.serve.worker import Worker

from deployments.answering.answerer import Answerer
from deployments.channel.dialer import Dialer
from deployments.telemetry.redaction import Redactor
from graphs.component import Chunk, ComponentConfig, Note, Setup, Whole
from graphs.errors import ComponentFailed, Overloaded, UpstreamFailed
from graphs.language import parse
from graphs.language.nodes import ListTemplate, Template
from graphs.stream import Stream
from tests.local.acting import Acting, Caller, Does, Given, acting, calling, component, plan, yielding

SECRET = "key-4711"


class Handle:
    """Stands for Ray's handle: its calls are tasks of a worker in this process."""

    def __init__(self, worker: Worker) -> None:
        self._worker = worker

    @property
    def answer(self) -> "Handle":
        return self

    def remote(self, envelope: bytes) -> asyncio.Task[bytes]:
        return asyncio.ensure_future(self._worker.answer(envelope))


@asynccontextmanager
async def over_a_channel(type: type[Acting], output: Template | None) -> AsyncIterator[Caller]:
    worker = Worker.__new__(Worker)
    worker._answerer = Answerer(plan(output=output), type(ComponentConfig(), Setup("it")), Redactor({SECRET}))
    worker._dialer = Dialer()
    invoke = HandlesInvoke({"it": Handle(worker)}, Redactor({SECRET}), host="127.0.0.1", channel=True)  # type: ignore[dict-item]
    try:
        yield Caller(invoke)
    finally:
        await invoke.aclose()
        await worker._dialer.aclose()


class Level(enum.IntEnum):
    HIGH = 3


def streaming(*chunks: Chunk, error: Exception | None = None) -> Callable[[], Stream]:
    async def batches():
        for chunk in chunks:
            yield [chunk]
        if error is not None:
            raise error

    return lambda: Stream(batches())


def raising(error: BaseException, *before: Chunk) -> Does:
    async def run(input: Given) -> AsyncIterator[Chunk]:
        for chunk in before:
            yield chunk
        raise error

    return run


async def passing(input: Given) -> AsyncIterator[Chunk]:
    async for batch in input.text.batches():
        for chunk in batch:
            yield chunk


async def back(input: Given) -> AsyncIterator[Chunk]:
    yield Whole(input.text)


async def changing(input: Given) -> AsyncIterator[Chunk]:
    said = {"content": "a"}
    for text in "bcd":
        yield said
        said["content"] = text


async def hanging(input: Given) -> AsyncIterator[Chunk]:
    yield "a"
    await asyncio.Event().wait()


async def late(input: Given) -> AsyncIterator[Chunk]:
    await asyncio.Event().wait()
    yield "never"


def deep(levels: int) -> list:
    value: list = []
    for _ in range(levels):
        value = [value]
    return value


LOOP: list = []
LOOP.append(LOOP)
BIG = "x" * (2 << 20)

BEHAVIOURS: dict[str, tuple[Does, dict[str, Any]]] = {
    "chunks": (yielding("a", b"b", {"c": [1, None]}, 7, Note({"n": 1})), {}),
    "no chunks": (yielding(), {}),
    "empty chunks": (yielding("", None, b"", 0, False, [], {}), {}),
    "other kinds of JSON": (yielding((1, 2), {1: Level.HIGH}, OrderedDict(a=b"\xff"), math.inf, "\ud83d", True), {}),
    "large chunks": (yielding(BIG, BIG.encode(), [BIG]), {}),
    "a whole": (yielding(Whole({"a": (1, Level.HIGH), 2: b"b"}, {"usage": {"n": 1}})), {}),
    "a whole that is large": (yielding(Whole([BIG], {"n": 1})), {}),
    "a whole that is deep": (yielding(Whole(deep(500))), {}),
    "null": (yielding(Whole(None)), {}),
    "more beside a whole": (yielding(Whole(1), "a"), {}),
    "a whole after a chunk": (yielding("a", Whole(1)), {}),
    "no JSON": (yielding(object()), {}),
    "no JSON later": (yielding("a", {1, 2}), {}),
    "no JSON in a whole": (yielding(Whole({"a": object()})), {}),
    "no JSON in a note": (yielding("a", Note({"n": object()})), {}),
    "what holds itself": (yielding(Whole(LOOP)), {}),
    "raises": (raising(ValueError(f"no {SECRET}\nsecond line")), {}),
    "raises later": (raising(UpstreamFailed(SECRET, upstream={"status": 418, "body": SECRET}), "a"), {}),
    "raises with details that are no JSON": (raising(UpstreamFailed("no", upstream=b"\xff"), "a"), {}),
    "is overloaded": (raising(Overloaded("full", retry_after=7)), {}),
    "exits": (raising(SystemExit(3), "a"), {}),
    "cancels itself": (raising(asyncio.CancelledError(), "a"), {}),
    "cancels itself at once": (raising(asyncio.CancelledError()), {}),
    "a deadline before the first chunk": (late, {"remaining": 0.05}),
    "a deadline in the stream": (hanging, {"remaining": 0.1}),
    "an unknown action": (yielding("a"), {"action": "gone"}),
    "an input": (back, {"text": {"a": [1, {"b": b"c"}]}}),
    "an input that holds itself": (back, {"text": LOOP}),
    "a stream": (passing, {"text": streaming("a", {"b": 1}, Note({"n": 1}), "c")}),
    "a stream, joined": (yielding("a"), {"text": streaming("a")}),
    "flat mappings": (yielding({"content": "a"}, {}, {"content": "", "refusal": None}, {1: "a"}, {"\ud800": "\0base64"}), {}),
    "one mapping that changes": (changing, {}),
    "an empty stream": (passing, {"text": streaming()}),
    "a stream that fails": (passing, {"text": streaming("a", error=ComponentFailed("gone", component="other"))}),
    "a stream inside a list": (back, {"text": lambda: [streaming("a", "b")(), 1]}),
    "an output that maps chunks": (yielding({"t": "a"}, Note({"n": 1}), {"t": "b"}), {"output": parse("${result[].t}")}),
    "an output that joins": (yielding("a", Note({"n": 1}), "b"), {"output": parse("<${result}>")}),
    "an output that fails": (yielding("a", "b"), {"output": parse("${result[] as integer}")}),
    "an output of streams in a list": (yielding("a", "b"), {"output": ListTemplate((parse("${result}"), parse("${result}")))}),
}  # fmt: skip


@pytest.mark.parametrize("behaviour", BEHAVIOURS)
async def test_a_call_gives_the_same_in_this_process_as_over_a_channel(behaviour: str):
    does, asked = BEHAVIOURS[behaviour]
    asked = dict(asked)
    text, output = asked.pop("text", None), asked.pop("output", None)
    type = acting(does)
    async with over_a_channel(type, output) as far, calling(component(type, {SECRET}, output=output)) as near:
        there = await far.outcome(text() if callable(text) else text, **asked)
        here = await near.outcome(text() if callable(text) else text, **asked)
    assert here == there
    assert exact(here) == exact(there)


def exact(value: Any) -> Any:
    """The value with the type of each part: 3 equals Level.HIGH, and True equals 1."""
    match value:
        case dict():
            return {key: exact(item) for key, item in value.items()} | {"": type(value)}
        case list() if len(repr(value)) < 1000:
            return [type(value), *map(exact, value)]
        case _:
            return type(value)
