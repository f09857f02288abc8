"""Calls through real handles: their chunks over the channel, and over the handles' own streams."""

import asyncio
import os
import signal
import uuid
from collections.abc import AsyncIterator
from contextlib import aclosing

import pytest
import pytest_asyncio
from ray import serve

from deployments.runs.events import Invocation
from deployments.serve.handles import HandlesInvoke
from deployments.serve.worker import bind
from graphs.context import RunContext
from graphs.errors import (
    AnabranchError,
    ComponentFailed,
    InvalidInput,
    Overloaded,
    TimedOut,
    Unavailable,
    UpstreamFailed,
)
from graphs.language import parse
from graphs.language.nodes import MappingTemplate, Template
from graphs.plan import ActionPlan, ComponentPlan, Options
from graphs.stream import Note, Stream
from tests.serve.drill import SECRET, Drill, told

pytestmark = pytest.mark.asyncio(loop_scope="module")
"""As in a replica: handles, and all that is called through them, live on one loop."""

DEADLINE = 30
FIELDS = ("do", "text", "count", "event")
APPLICATIONS = ("drill", "twins", "narrow")


def action(id: str, output: Template | None = None) -> ActionPlan:
    items = tuple((name, parse(f"${{input.{name}}}")) for name in FIELDS)
    return ActionPlan(id, MappingTemplate(items), output)


def plan(id: str, **options) -> ComponentPlan:
    actions = (
        action("run"),
        action("shout", parse("${result[]}!")),
        action("joined", MappingTemplate((("all", parse("${result}")),))),
    )
    return ComponentPlan(id, "drill", {}, {each.id: each for each in actions}, "run", Options(**options), "t.yaml:1:1")


@pytest.fixture(scope="module")
def deployed(latch: None):
    plans = [plan("drill"), plan("twins", replicas=2), plan("narrow", max_concurrent_count=1, max_queued=1)]
    for each in plans:
        serve.run(bind(each, Drill, frozenset({SECRET})), name=each.id, route_prefix=None)


@pytest_asyncio.fixture(params=["channel", "handle"], loop_scope="module")
async def invoke(deployed, request) -> AsyncIterator[HandlesInvoke]:
    handles = {name: serve.get_deployment_handle(name, app_name=name) for name in APPLICATIONS}
    invoke = HandlesInvoke(handles, host="127.0.0.1", channel=request.param == "channel")
    before = asyncio.all_tasks()
    yield invoke
    assert not invoke._without, "a call went another way than this test is about"
    assert invoke._listener is None or request.param == "channel"
    await invoke.aclose()
    left = [task for task in asyncio.all_tasks() - before if "deployments" in str(task.get_coro())]
    assert not left


def asking(do: str, component: str = "drill", action: str = "run", remaining: float | None = None, **input):
    deadline = None if remaining is None else asyncio.get_running_loop().time() + remaining
    return Invocation(component, action, {"do": do, **input}, RunContext(uuid.uuid4().hex, "w", deadline=deadline))


async def chunks_of(answer) -> list:
    assert isinstance(answer, Stream)
    async with asyncio.timeout(DEADLINE):
        return [chunk async for batch in answer.batches() for chunk in batch]


def stream_of(*chunks, closed: asyncio.Event | None = None) -> Stream:
    async def batches():
        for chunk in chunks:
            yield [chunk]

    async def close() -> None:
        if closed is not None:
            closed.set()

    return Stream(batches(), close)


async def test_a_stream_arrives_whole_and_in_order(invoke):
    answer = await invoke(asking("stream", count=20_000))
    assert await chunks_of(answer) == [f"{n} " for n in range(20_000)]


async def test_every_kind_of_chunk_arrives_as_it_was_yielded(invoke):
    chunks = await chunks_of(await invoke(asking("kinds")))
    assert chunks == ["한국어", b"\x00\xff", {"a": [1, b"b"]}, Note({"usage": 1}), 7]


async def test_an_empty_stream_is_a_stream(invoke):
    assert await chunks_of(await invoke(asking("stream", count=0))) == []


async def test_a_whole_answer_is_a_value(invoke):
    assert (await invoke(asking("whole", text={"k": "가"})))["text"] == {"k": "가"}


async def test_a_large_whole_answer_arrives(invoke):
    assert await invoke(asking("large", count=6_000_000)) == {"text": "x" * 6_000_000}


@pytest.mark.parametrize("levels", [100, 300, 450, 900, 5000])
async def test_a_nested_answer_arrives_or_fails_in_our_words(invoke, levels):
    (answer,) = await asyncio.gather(invoke(asking("deep", count=levels)), return_exceptions=True)
    if isinstance(answer, ComponentFailed):
        assert levels > 300
        assert "nested too deep" in answer.message
        return
    for _ in range(levels):
        (answer,) = answer
    assert answer == []


async def test_a_large_input_arrives(invoke):
    assert (await invoke(asking("whole", text="x" * 6_000_000)))["text"] == "x" * 6_000_000


async def test_output_templates_map_chunks_or_the_whole(invoke):
    assert await chunks_of(await invoke(asking("stream", action="shout", count=2))) == ["0 !", "1 !"]
    assert await invoke(asking("stream", action="joined", count=3)) == {"all": "0 1 2 "}


async def test_a_stream_in_the_input_flows_through(invoke):
    closed = asyncio.Event()
    chunks = [f"{n} " for n in range(5000)]
    answer = await invoke(asking("pass", text=stream_of(*chunks, closed=closed)))
    assert "".join(await chunks_of(answer)) == "".join(chunks)
    assert closed.is_set()


async def test_a_stream_in_the_input_is_joined_where_the_component_needs_it_whole(invoke):
    closed = asyncio.Event()
    answer = await invoke(asking("whole", text=stream_of("a", "b", closed=closed)))
    assert answer["text"] == "ab"
    assert closed.is_set()


async def test_a_failing_stream_in_the_input_fails_the_call(invoke):
    async def batches():
        yield ["a"]
        raise UpstreamFailed("the well is dry")

    with pytest.raises(UpstreamFailed, match="the well is dry"):
        await chunks_of(await invoke(asking("pass", text=Stream(batches()))))


async def test_wrong_input_names_the_field(invoke):
    with pytest.raises(
        InvalidInput, match=r"input.count: expected a whole number, got text; component 'drill'"
    ) as caught:
        await invoke(asking("stream", count="many"))
    assert caught.value.details["field"] == "count"


async def test_an_error_before_the_first_chunk_is_raised_by_the_call(invoke):
    with pytest.raises(UpstreamFailed, match=r"^\*\*\* refused$") as caught:
        await invoke(asking("refuse"))
    assert caught.value.details["upstream"] == {"status": 418, "body": "***"}


async def test_what_a_component_raises_is_told_without_traceback_or_secret(invoke):
    with pytest.raises(ComponentFailed) as caught:
        await invoke(asking("raise", count=0))
    assert caught.value.message == "component 'drill' failed: ValueError: bad ***"


async def test_an_error_after_chunks_is_raised_after_them(invoke):
    answer = await invoke(asking("raise", count=3))
    got = []

    async def read() -> None:
        async for batch in answer.batches():
            got.extend(batch)

    with pytest.raises(ComponentFailed, match="component 'drill' failed: ValueError"):
        await read()
    assert got == ["0 ", "1 ", "2 "]


async def test_a_component_that_cancels_itself_has_failed(invoke):
    with pytest.raises(ComponentFailed, match="cancelled itself"):
        await chunks_of(await invoke(asking("cancel")))


async def test_closing_the_stream_stops_the_component(invoke):
    event = uuid.uuid4().hex
    answer = await invoke(asking("wait", event=event))
    async with asyncio.timeout(DEADLINE), aclosing(answer.batches()) as batches:
        await anext(batches)
    async with asyncio.timeout(DEADLINE):
        assert await told(f"{event} stopped")


async def test_cancelling_the_wait_for_the_answer_stops_the_component(invoke):
    event = uuid.uuid4().hex
    closed = asyncio.Event()
    waiting = asyncio.ensure_future(invoke(asking("wait before", event=event, text=stream_of("a", closed=closed))))
    async with asyncio.timeout(DEADLINE):
        await told(f"{event} started")
        waiting.cancel()
        with pytest.raises(asyncio.CancelledError):
            await waiting
        assert await told(f"{event} stopped")
    assert closed.is_set()


@pytest.mark.parametrize("invoke", ["channel"], indirect=True)  # the handle: test_fast_flags, for it takes Ray's gRPC
async def test_a_reader_that_stops_reading_stops_the_producer_and_others_go_on(invoke):
    event = uuid.uuid4().hex
    stuck = await invoke(asking("endless", event=event))
    async with asyncio.timeout(DEADLINE), aclosing(stuck.batches()) as batches:
        await anext(batches)
        assert len(await chunks_of(await invoke(asking("stream", count=20_000)))) == 20_000
    async with asyncio.timeout(DEADLINE):
        made = await told(f"{event} stopped")
    assert made < 3000, "a producer went on without a reader"


async def test_a_killed_worker_is_unavailable_and_the_next_call_succeeds(invoke):
    event = uuid.uuid4().hex
    answer = await invoke(asking("wait", event=event))
    async with asyncio.timeout(DEADLINE), aclosing(answer.batches()) as batches:
        (pid,) = await anext(batches)
        os.kill(int(pid), signal.SIGKILL)
        with pytest.raises(Unavailable, match="component 'drill' died while answering"):
            await anext(batches)
    async with asyncio.timeout(DEADLINE):
        assert await chunks_of(await invoke(asking("stream", count=2))) == ["0 ", "1 "]


async def test_a_worker_killed_before_it_answered_is_unavailable(invoke):
    event = uuid.uuid4().hex
    waiting = asyncio.ensure_future(invoke(asking("wait before", event=event)))
    async with asyncio.timeout(DEADLINE):
        os.kill(await told(f"{event} started"), signal.SIGKILL)
        with pytest.raises(Unavailable, match="component 'drill'"):
            await waiting


async def test_a_full_queue_is_overloaded_with_a_time_to_try_again(invoke):
    running = await invoke(asking("wait", "narrow"))
    waiting = [asyncio.ensure_future(invoke(asking("whole", "narrow"))) for _ in range(4)]
    async with asyncio.timeout(DEADLINE):
        done, pending = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        with pytest.raises(Overloaded, match="component 'narrow' has a full queue") as caught:
            done.pop().result()
        assert caught.value.details == {"retry_after": 1}
        for each in pending:
            each.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        await running.aclose()
        assert (await invoke(asking("whole", "narrow")))["text"] is None


async def test_a_deadline_ends_the_call_and_the_component(invoke):
    event = uuid.uuid4().hex
    with pytest.raises(TimedOut, match="component 'drill' did not finish before the run's deadline"):
        await chunks_of(await invoke(asking("wait", event=event, remaining=4.0)))
    async with asyncio.timeout(DEADLINE):
        assert await told(f"{event} stopped")


async def test_two_replicas_answer_side_by_side(invoke):
    async with asyncio.timeout(DEADLINE):
        answers = await asyncio.gather(*(invoke(asking("whole", "twins")) for _ in range(40)))
        streams = await asyncio.gather(*(invoke(asking("stream", "twins", count=500)) for _ in range(40)))
        assert len({answer["pid"] for answer in answers}) == 2
        assert await asyncio.gather(*map(chunks_of, streams)) == [[f"{n} " for n in range(500)]] * 40


async def test_a_worker_that_cannot_dial_back_answers_through_its_handle(deployed):
    handles = {"drill": serve.get_deployment_handle("drill", app_name="drill")}
    invoke = HandlesInvoke(handles, host="127.0.0.1")
    try:
        await (await listening(invoke)).aclose()
        assert await chunks_of(await invoke(asking("pass", text=stream_of("a", "b")))) == ["ab"]
        assert "drill" in invoke._without
        assert not invoke._listener._offers
        assert await chunks_of(await invoke(asking("stream", count=3))) == ["0 ", "1 ", "2 "]
    finally:
        await invoke.aclose()


async def listening(invoke: HandlesInvoke):
    """Return the invoke's listener, started: closing it makes it unreachable for workers that never dialled it."""
    from deployments.channel.listener import Listener

    invoke._listener = Listener("127.0.0.1")
    await invoke._listener.start()
    return invoke._listener


async def test_a_replica_that_shuts_down_closes_its_component(deployed):
    serve.run(bind(plan("leaving"), Drill, frozenset()), name="leaving", route_prefix=None)
    await asyncio.to_thread(serve.delete, "leaving")
    async with asyncio.timeout(DEADLINE):
        assert await told("leaving closed")


async def test_a_component_that_is_not_deployed_is_named(invoke):
    with pytest.raises(AnabranchError, match="no component 'dril' is deployed; there is drill, twins, narrow"):
        await invoke(asking("stream", "dril"))


async def test_a_component_that_cannot_be_set_up_says_why_in_one_line(cluster):
    broken = ComponentPlan("broken", "drill", {"breaks": True}, {}, None, Options(), "t.yaml:7:3")
    with pytest.raises(RuntimeError):
        await asyncio.to_thread(serve.run, bind(broken, Drill, frozenset({SECRET})), name="broken", route_prefix=None)
    message = serve.status().applications["broken"].deployments["broken"].message
    assert (
        "t.yaml:7:3: component 'broken' could not be set up: RuntimeError: no such model, and the key is ***" in message
    )
    assert SECRET not in message
    serve.delete("broken")
