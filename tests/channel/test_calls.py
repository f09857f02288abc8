"""How a call ends: two roads lead back from a worker, the call's return and the socket, and either may be cut."""

import asyncio
import functools
import warnings
from collections.abc import Callable

import pytest

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    from ray.exceptions import ActorUnavailableError
    from ray.serve.exceptions import BackPressureError, RequestCancelledError

    from deployments.serve import channel_call
    from deployments.serve.channel_call import ChannelCall
    from deployments.serve.envelopes import NoChannel, seal_reply, unseal

from deployments.answering.messages import Answered, Erred, Reply, Streamed
from deployments.channel.flow import Outlet
from deployments.channel.frames import END, encode_number, header
from deployments.runs.events import Invocation
from deployments.streams.codec import TEXT
from deployments.telemetry.redaction import Redactor
from graphs.component import Whole
from graphs.context import RunContext
from graphs.errors import Cancelled, ComponentFailed, InvalidInput, Overloaded, TimedOut, Unavailable, UpstreamFailed
from graphs.stream import Stream
from tests.channel.conftest import Pair


class Response:
    """What a handle's call gives."""

    def __init__(self) -> None:
        self.reply: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        self.cancelled = asyncio.Event()

    def __await__(self):
        return self.reply.__await__()

    def cancel(self) -> None:
        self.cancelled.set()
        self.reply.cancel()


class Worker:
    """Stands for a handle, and for the replica behind it, which does what the test says."""

    def __init__(self, pair: Pair, call: ChannelCall, detached: list[asyncio.Task[None]]) -> None:
        self.pair = pair
        self.call = call
        self.detached = detached
        self.response = Response()
        self.stream = 0

    @property
    def answer(self) -> "Worker":
        return self

    def remote(self, question: bytes) -> Response:
        reply_to = unseal(question).reply_to
        assert reply_to is not None
        self.stream = reply_to.stream
        return self.response

    def open(self, *chunks: str) -> Outlet:
        outlet = self.pair.far.write(self.stream)
        outlet.open()
        for chunk in chunks:
            outlet.put(chunk)
        return outlet

    def returns(self, reply: Reply | NoChannel) -> None:
        self.response.reply.set_result(seal_reply(reply))

    def raises(self, error: BaseException) -> None:
        self.response.reply.set_exception(error)


@pytest.fixture
async def calling(pair: Pair):
    workers: list[Worker] = []

    def calling(remaining: float | None = None, **input) -> Worker:
        deadline = None if remaining is None else asyncio.get_running_loop().time() + remaining
        detached: list[asyncio.Task[None]] = []
        call = ChannelCall(
            Invocation("it", "go", input, RunContext("run-1", "w", deadline=deadline)),
            pair.listener,
            Redactor({"abcd"}),
            lambda rest: detached.append(asyncio.ensure_future(rest)),
        )
        workers.append(worker := Worker(pair, call, detached))
        call.start(worker)
        return worker

    yield calling
    for worker in workers:
        await worker.call.aclose()
        await asyncio.gather(*worker.detached)
    assert not pair.listener._expected
    assert not pair.listener._offers


Calling = Callable[..., Worker]


async def read(worker: Worker, got: list | None = None) -> list:
    answer = await worker.call.answer()
    assert isinstance(answer, Stream)
    return await rest_of(answer, got)


async def rest_of(answer: Stream, got: list | None = None) -> list:
    got = [] if got is None else got
    async for batch in answer.batches():
        got += batch
    return got


async def test_a_complete_stream_of_a_call_that_returned_well_is_a_success(calling: Calling):
    worker = calling()
    worker.open("a", "b").finish()
    worker.returns(Streamed(2))
    assert await read(worker) == ["a", "b"]
    assert not worker.response.cancelled.is_set()


async def test_a_return_that_overtakes_the_stream_waits_for_it(calling: Calling):
    worker = calling()
    worker.returns(Streamed(2))
    reading = asyncio.ensure_future(read(worker))
    await asyncio.sleep(0)
    worker.open("a", "b").finish()
    assert await reading == ["a", "b"]


@pytest.mark.parametrize("opened", [True, False])
async def test_an_end_that_never_comes_after_the_return_is_a_failure(calling: Calling, monkeypatch, opened: bool):
    monkeypatch.setattr(channel_call, "END_DEADLINE", 0.02)
    worker = calling()
    if opened:
        worker.open("a")
    worker.returns(Streamed(1))
    with pytest.raises(Unavailable, match="component 'it' stopped answering before the end of its answer"):
        await read(worker)


async def test_an_end_that_is_under_way_when_the_call_returns_is_waited_for(calling: Calling):
    worker = calling()
    worker.open("a")
    worker.returns(Streamed(2))
    batches = (await worker.call.answer()).batches()
    assert await anext(batches) == ["a"]
    frame = header(TEXT, worker.stream, 1000) + b"x" * 1000
    for at in (0, 300, 600):
        worker.pair.near.data_received(frame[at : at + 300])
        await asyncio.sleep(0)
    worker.pair.near.data_received(frame[900:] + header(END, worker.stream, 8) + encode_number(2))
    assert [batch async for batch in batches] == [["x" * 1000]]


async def test_a_return_that_never_comes_after_the_end_is_a_failure(calling: Calling, monkeypatch):
    monkeypatch.setattr(channel_call, "END_DEADLINE", 0.02)
    worker = calling()
    worker.open("a").finish()
    got = []
    with pytest.raises(Unavailable, match="stopped answering"):
        await read(worker, got)
    assert got == ["a"]


async def test_a_complete_stream_of_a_call_that_failed_is_a_failure(calling: Calling):
    worker = calling()
    outlet = worker.open("a")
    reading = asyncio.ensure_future(read(worker))
    outlet.finish()
    worker.raises(ActorUnavailableError("gone", b"1" * 16))
    with pytest.raises(Unavailable, match="component 'it' died while answering"):
        await reading


async def test_a_call_that_fails_ends_an_open_stream_at_once(calling: Calling):
    worker = calling()
    worker.open("a")
    got = []
    reading = asyncio.ensure_future(rest_of(await worker.call.answer(), got))
    worker.raises(ActorUnavailableError("gone", b"1" * 16))
    with pytest.raises(Unavailable, match="component 'it' died while answering"):
        await reading
    assert got == ["a"]


async def test_an_error_is_read_after_the_chunks_although_its_return_came_first(calling: Calling):
    worker = calling()
    outlet = worker.open("a")
    await worker.call.answer()
    worker.returns(Erred(UpstreamFailed("refused")))
    outlet.put("b")
    outlet.fail(UpstreamFailed("refused abcd"))
    got = []
    with pytest.raises(UpstreamFailed, match=r"refused \*\*\*"):
        await read(worker, got)
    assert got == ["a", "b"]


async def test_the_calls_own_failure_is_told_when_the_connection_goes_first(calling: Calling):
    worker = calling()
    worker.open("a")
    reading = asyncio.ensure_future(rest_of(await worker.call.answer()))
    worker.pair.far._transport.abort()
    await worker.pair.far._closed
    worker.returns(Erred(ComponentFailed("component 'it' failed: MemoryError")))
    with pytest.raises(ComponentFailed, match="MemoryError"):
        await reading


async def test_a_lost_connection_is_a_failure_although_the_call_goes_on(calling: Calling, monkeypatch):
    monkeypatch.setattr(channel_call, "GRACE", 0.02)
    worker = calling()
    worker.open("a")
    reading = asyncio.ensure_future(rest_of(await worker.call.answer()))
    worker.pair.far._transport.abort()
    with pytest.raises(Unavailable, match="component 'it' died while answering: the connection was lost"):
        await reading
    await worker.response.cancelled.wait()


@pytest.mark.parametrize(
    ("error", "told"),
    [
        (BackPressureError(1, 1), Overloaded),
        (RequestCancelledError("1"), Unavailable),
        (asyncio.CancelledError(), Unavailable),
        (RuntimeError("a bug with abcd"), ComponentFailed),
    ],
)
async def test_what_a_handle_raises_is_told_as_one_of_ours(calling: Calling, error, told):
    worker = calling()
    worker.raises(error)
    with pytest.raises(told, match="component 'it'") as caught:
        await worker.call.answer()
    assert type(caught.value) is told
    assert "abcd" not in caught.value.message


async def test_an_input_nested_too_deep_is_the_callers_fault(calling: Calling):
    for depth in (700, 5000):
        with pytest.raises(InvalidInput, match="the input is nested too deep to travel, or holds itself"):
            calling(deep=functools.reduce(lambda inner, _: [inner], range(depth), []))


async def test_whole_answers_and_refusals_come_as_the_return(calling: Calling):
    worker = calling()
    worker.returns(Answered({"a": 1}))
    assert await worker.call.answer() == {"a": 1}
    worker = calling()
    worker.returns(Answered("a", {"usage": 3}))
    assert await worker.call.answer() == Whole("a", {"usage": 3})
    worker = calling()
    worker.returns(NoChannel("no way"))
    assert await worker.call.answer() == NoChannel("no way")
    worker = calling()
    worker.returns(Erred(UpstreamFailed("no")))
    with pytest.raises(UpstreamFailed, match="no"):
        await worker.call.answer()


async def test_a_stream_that_is_closed_tells_the_worker_and_cancels_a_call_that_goes_on(calling: Calling):
    worker = calling()
    outlet = worker.open("a")
    stopped = asyncio.Event()
    outlet.on_stop = stopped.set
    answer = await worker.call.answer()
    await answer.aclose()
    await stopped.wait()
    await worker.response.cancelled.wait()


async def test_a_worker_that_stops_when_told_is_not_cancelled(calling: Calling):
    worker = calling()
    outlet = worker.open("a")
    outlet.on_stop = lambda: worker.returns(Streamed(1))
    answer = await worker.call.answer()
    await answer.aclose()
    await asyncio.gather(*worker.detached)
    assert not worker.response.cancelled.is_set()


async def test_a_stream_closed_while_it_is_read_does_not_end_well(calling: Calling, monkeypatch):
    monkeypatch.setattr(channel_call, "GRACE", 0.02)
    worker = calling()
    worker.open("a")
    answer = await worker.call.answer()
    batches = answer.batches()
    assert await anext(batches) == ["a"]
    waiting = asyncio.ensure_future(anext(batches))
    await asyncio.sleep(0)
    await answer.aclose()
    with pytest.raises(Cancelled, match="closed while it was read"):
        await waiting


async def test_a_deadline_holds_although_the_worker_does_not_keep_it(calling: Calling, monkeypatch):
    monkeypatch.setattr(channel_call, "GRACE", 0.02)
    worker = calling(remaining=0.0)
    with pytest.raises(TimedOut, match="component 'it' did not finish before the run's deadline"):
        await worker.call.answer()
    worker = calling(remaining=0.02)
    worker.open("a")
    with pytest.raises(TimedOut):
        await read(worker)


async def test_streams_of_the_input_are_closed_with_the_call(calling: Calling):
    closed = asyncio.Event()

    async def batches():
        yield ["a"]

    async def close() -> None:
        closed.set()

    worker = calling(text=Stream(batches(), close))
    worker.returns(Answered("never read it"))
    assert await worker.call.answer() == "never read it"
    assert closed.is_set()
