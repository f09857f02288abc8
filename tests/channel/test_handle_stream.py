"""The way around the channel, without Ray: an answer's frames, as a handle's own stream brings them."""

import asyncio
import functools
import warnings
from contextlib import aclosing
from types import SimpleNamespace

import pytest

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    from deployments.serve.envelopes import LARGE, unseal
    from deployments.serve.handle_stream import HandleCall, answer_in_frames

from deployments.answering.messages import Answered, Erred, Question, Reply, Streamed
from deployments.channel.flow import WINDOW
from deployments.runs.events import Invocation
from deployments.telemetry.redaction import Redactor
from graphs.component import Whole
from graphs.context import RunContext
from graphs.errors import InvalidInput, Unavailable, UpstreamFailed
from graphs.stream import Note, Stream

CONTEXT = RunContext("run-1", "w")


class Component:
    """Stands for an answerer: sends chunks, then replies."""

    def __init__(self, *chunks, reply: Reply | None = None) -> None:
        self.chunks = chunks
        self.reply = reply
        self.sent = 0
        self.stopped = asyncio.Event()

    async def answer(self, question, open):
        sink = None
        try:
            for chunk in self.chunks:
                sink = sink or open()
                self.sent += 1
                if not sink.put(chunk):
                    await sink.room()
            if self.reply is None:
                (sink or open()).finish()
                return Streamed(self.sent)
            if isinstance(self.reply, Erred) and sink is not None:
                sink.fail(self.reply.error)
            return self.reply
        finally:
            self.stopped.set()


class Handle:
    """A handle of that component, in this process. `lost`: so many pieces of the answer never arrive."""

    def __init__(self, component: Component, lost: int = 0) -> None:
        self.component = component
        self.lost = lost
        self.pieces: list[bytes] = []

    def options(self, **_) -> "Handle":
        return self

    def remote(self, envelope: bytes):
        async def items():
            async for piece in answer_in_frames(self.component, unseal(envelope).question):  # type: ignore[arg-type]
                self.pieces.append(piece)
            for piece in self.pieces[: len(self.pieces) - self.lost]:
                yield piece

        return items()


async def answered(handle: Handle, **input):
    return await HandleCall(Invocation("it", "go", input, CONTEXT), Redactor({"abcd"})).answer(handle)  # type: ignore[arg-type]


async def read(answer, got: list | None = None) -> list:
    assert isinstance(answer, Stream)
    got = [] if got is None else got
    async for batch in answer.batches():
        got += batch
    return got


async def test_every_kind_of_chunk_arrives_in_order():
    chunks = ["한국어", b"\x00\xff", {"a": [1, b"b"]}, Note({"usage": 1}), 7]
    assert await read(await answered(Handle(Component(*chunks)))) == chunks


async def test_an_empty_stream_is_a_stream():
    assert await read(await answered(Handle(Component()))) == []


async def test_a_large_chunk_arrives_in_pieces_that_grpc_takes():
    handle = Handle(Component("x" * (3 * LARGE), "y"))
    assert await read(await answered(handle)) == ["x" * (3 * LARGE), "y"]
    assert max(map(len, handle.pieces)) <= LARGE


@pytest.mark.parametrize(
    ("reply", "answer"),
    [
        (Answered({"a": 1}), {"a": 1}),
        (Answered("x" * (3 * LARGE)), "x" * (3 * LARGE)),
        (Answered("a", {"usage": 3}), Whole("a", {"usage": 3})),
    ],
    ids=["small", "large", "with notes"],
)
async def test_a_whole_answer_is_a_value(reply: Reply, answer):
    assert await answered(Handle(Component(reply=reply))) == answer


@pytest.mark.parametrize("more", ["", "x" * (3 * LARGE)], ids=["small", "large"])
async def test_an_error_before_the_first_chunk_is_raised_by_the_call(more: str):
    with pytest.raises(UpstreamFailed, match=r"^no \*\*\*$"):
        await answered(Handle(Component(reply=Erred(UpstreamFailed("no abcd", body=more)))))


async def test_an_error_after_chunks_is_raised_after_them():
    answer = await answered(Handle(Component("a", "b", reply=Erred(UpstreamFailed("no abcd")))))
    got: list = []
    with pytest.raises(UpstreamFailed, match=r"^no \*\*\*$"):
        await read(answer, got)
    assert got == ["a", "b"]


async def test_a_stream_whose_end_is_lost_is_a_failure():
    answer = await answered(Handle(Component("x" * (2 * LARGE), "y" * (2 * LARGE)), lost=1))
    with pytest.raises(Unavailable, match="component 'it' stopped answering before the end of its answer"):
        await read(answer)


async def test_a_component_stays_no_more_than_a_window_ahead_of_its_reader():
    component = Component(*["x" * 1000] * 10_000)
    async with aclosing(answer_in_frames(component, Question("go", None, CONTEXT))) as pieces:  # type: ignore[arg-type]
        taken = 0
        for _ in range(5):
            taken += len(await anext(pieces))
            for _ in range(1000):  # as long as anything has something to do
                await asyncio.sleep(0)
            assert component.sent * 1000 <= taken + 2 * WINDOW
        assert component.sent < 10_000
    assert component.stopped.is_set()


async def test_an_input_nested_too_deep_is_the_callers_fault():
    deep = functools.reduce(lambda inner, _: [inner], range(2000), [])
    with pytest.raises(InvalidInput, match="the input is nested too deep to travel"):
        await answered(Handle(Component()), deep=deep)


async def test_what_a_handle_raises_is_one_of_ours():
    async def broken():
        raise RuntimeError("a bug with abcd")
        yield

    handle = SimpleNamespace(options=lambda **_: SimpleNamespace(remote=lambda _: broken()))
    with pytest.raises(Exception, match="component 'it' failed: RuntimeError; see the log") as caught:
        await answered(handle)  # type: ignore[arg-type]
    assert "abcd" not in str(caught.value)
