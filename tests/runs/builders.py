"""Plans written by hand, components that do as told, and streams whose every chunk a test gives out itself."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import aclosing
from datetime import UTC, datetime
from typing import Any

from deployments.runs.events import Delta, Event, Finished, Invocation, JobDone, Run, RunFailed
from deployments.runs.runner import run
from deployments.runs.site import Clock
from graphs.context import RunContext
from graphs.language import parse
from graphs.language.nodes import Constant, ListTemplate, MappingTemplate, Template
from graphs.plan import (
    CallJob,
    ComponentCall,
    Controller,
    ForEachJob,
    OnError,
    Options,
    OutputKind,
    Plan,
    Retry,
    Store,
    WorkflowCall,
    WorkflowPlan,
)
from graphs.stream import Batch, Stream, Value


def template(value: Any) -> Template:
    match value:
        case dict():
            return MappingTemplate(tuple((key, template(item)) for key, item in value.items()))
        case list():
            return ListTemplate(tuple(template(item) for item in value))
        case str():
            return parse(value)
        case _:
            return Constant(value)


def base(
    id: str,
    *,
    whole: tuple[str, ...] = (),
    flows: tuple[str, ...] = (),
    after: tuple[str, ...] = (),
    routed_by: tuple[str, ...] = (),
    condition: str | None = None,
    output: Any = None,
    retry: Retry | None = None,
    on_error: OnError | None = None,
    timeout: float | None = None,
) -> dict[str, Any]:
    """The fields all jobs have."""
    return {
        "id": id,
        "needs": frozenset((*whole, *flows, *after, *routed_by)),
        "feeds_from": frozenset((*whole, *flows, *after)),
        "whole": frozenset(whole),
        "flows": frozenset(flows),
        "routed_by": frozenset(routed_by),
        "where": "test.yaml:1:1",
        "condition": None if condition is None else template(condition),
        "condition_text": condition,
        "output": None if output is None else template(output),
        "retry": retry or Retry(),
        "on_error": on_error,
        "timeout": timeout,
    }


def job(id: str, input: Any = None, *, component: str | None = None, **fields: Any) -> CallJob:
    """A job that calls the component named as itself, unless another is given."""
    return CallJob(**base(id, **fields), call=ComponentCall(component or id, "run", template(input)))


def calling(id: str, workflow: str, input: Any = None, output: Any = None, **fields: Any) -> CallJob:
    """A job that calls a workflow."""
    given = None if output is None else template(output)
    return CallJob(
        **base(id, **fields), call=WorkflowCall("sub", workflow, template(input), template("${input}"), given)
    )


def for_each(
    id: str,
    items: Any,
    input: Any = "${item}",
    *,
    limit: int = 2,
    streaming: Any = None,
    item_output: Any = None,
    **fields: Any,
) -> ForEachJob:
    return ForEachJob(
        **base(id, **fields),
        items=template(items),
        call=ComponentCall(id, "run", template(input)),
        item_output=None if item_output is None else template(item_output),
        max_concurrent_count=limit,
        streaming=None if streaming is None else template(streaming),
    )


def workflow(
    *jobs: Any, output: Any = None, reads: tuple[str, ...] = (), id: str = "w", timeout: float | None = None
) -> WorkflowPlan:
    return WorkflowPlan(
        id=id, title=None, description=None, jobs={each.id: each for each in jobs},
        output=None if output is None else template(output), reads=frozenset(reads), output_kind=OutputKind(), inputs=(), timeout=timeout,
    )  # fmt: skip


def plan(*workflows: WorkflowPlan) -> Plan:
    controller = Controller(None, None, None, (), False, 1 << 20, None, Options(), Store(None))
    return Plan(controller, {}, {each.id: each for each in workflows}, workflows[0].id)


class Source:
    """A stream under a test's control: it gives what it is told to, and counts how it is read and closed."""

    def __init__(self, *chunks: Value, ends: bool = True) -> None:
        self.pulled = 0
        self.closed = 0
        self.gone = asyncio.Event()
        self.asked = asyncio.Event()
        """Set while a reader waits for a chunk that isn't there."""
        self._pieces: asyncio.Queue[Batch | BaseException | None] = asyncio.Queue()
        for chunk in chunks:
            self.give(chunk)
        if chunks and ends:
            self.end()
        self.stream = Stream(self, self._close)

    def give(self, *batch: Value) -> None:
        self._pieces.put_nowait(list(batch))

    def end(self) -> None:
        self._pieces.put_nowait(None)

    def fail(self, error: BaseException) -> None:
        self._pieces.put_nowait(error)

    def __aiter__(self) -> AsyncIterator[Batch]:
        return self

    async def __anext__(self) -> Batch:
        if self._pieces.empty():
            self.asked.set()
        piece = await self._pieces.get()
        self.asked.clear()
        if piece is None:
            raise StopAsyncIteration
        if isinstance(piece, BaseException):
            raise piece
        self.pulled += 1
        return piece

    async def _close(self) -> None:
        self.closed += 1
        self.gone.set()


Behaviour = Callable[[Invocation], Awaitable[Value]]


class Components:
    """What the components of a test do: a value, a Source, an error, or a function of the invocation."""

    def __init__(self, **behaviours: Any) -> None:
        self.calls: list[Invocation] = []
        self.cancelled: list[str] = []
        self._behaviours = behaviours

    def called(self, component: str) -> list[Value]:
        return [call.input for call in self.calls if call.component == component]

    def calls_of(self, behaviour: Any) -> list[str]:
        return [call.component for call in self.calls if self._behaviours[call.component] is behaviour]

    async def __call__(self, invocation: Invocation) -> Value:
        self.calls.append(invocation)
        behaviour = self._behaviours[invocation.component]
        if isinstance(behaviour, list):
            behaviour = behaviour.pop(0)
        try:
            if callable(behaviour):
                return await behaviour(invocation)
        except asyncio.CancelledError:
            self.cancelled.append(invocation.component)
            raise
        if isinstance(behaviour, BaseException):
            raise behaviour
        return behaviour.stream if isinstance(behaviour, Source) else behaviour


async def never(invocation: Invocation) -> Value:
    """A component that doesn't answer."""
    await asyncio.Event().wait()


async def passing(invocation: Invocation) -> Value:
    """A component that answers with its input, chunk by chunk if that is a stream."""
    given = invocation.input
    return given.through(lambda batch: batch) if isinstance(given, Stream) else given


async def joining(invocation: Invocation) -> Value:
    """A component that reads its input whole, then answers."""
    given = invocation.input
    return await given.join() if isinstance(given, Stream) else given


class Alarm:
    """A timer that goes off when a test says so."""

    def __init__(self, seconds: float, callback: Callable[[], object]) -> None:
        self.seconds = seconds
        self.cancelled = False
        self._callback = callback

    def cancel(self) -> None:
        self.cancelled = True

    def go_off(self) -> None:
        if not self.cancelled:
            self.cancelled = True
            self._callback()


class StoppedClock(Clock):
    """Stands at one moment; sleeps are written down, and end at once unless told to last; timers wait for the test."""

    def __init__(self, *, lasting: bool = False) -> None:
        self.slept: list[float] = []
        self.asleep = asyncio.Event()
        self.alarms: list[Alarm] = []
        self._lasting = lasting

    def call_later(self, seconds: float, callback: Callable[[], object]) -> Alarm:
        self.alarms.append(Alarm(seconds, callback))
        return self.alarms[-1]

    def now(self) -> datetime:
        return datetime(2030, 1, 1, 12, tzinfo=UTC)

    async def sleep(self, seconds: float) -> None:
        self.slept.append(seconds)
        self.asleep.set()
        if self._lasting:
            await asyncio.Event().wait()


def start(
    given: WorkflowPlan | Plan,
    components: Components,
    input: Value = None,
    *,
    deadline: float | None = None,
    **more: Any,
) -> Any:
    """The events of a run, unread."""
    whole = given if isinstance(given, Plan) else plan(given)
    it = Run(RunContext("run-1", whole.default_workflow or "w", "session-1", deadline), input)
    return run(whole, it, components, **{"clock": StoppedClock(), **more})


async def ran(given: WorkflowPlan | Plan, components: Components, input: Value = None, **more: Any) -> list[Event]:
    """All events of a run."""
    async with asyncio.timeout(5) as limit, aclosing(start(given, components, input, **more)) as events:
        told = [event async for event in events]
    assert not limit.expired()
    return told


async def output(given: WorkflowPlan | Plan, components: Components, input: Value = None, **more: Any) -> Value:
    """The plain output of a run that succeeds."""
    last = (await ran(given, components, input, **more))[-1]
    assert isinstance(last, Finished), last
    assert not last.streamed
    return last.output


async def failure(given: WorkflowPlan | Plan, components: Components, input: Value = None, **more: Any) -> Any:
    """The error of a run that fails."""
    last = (await ran(given, components, input, **more))[-1]
    assert isinstance(last, RunFailed), last
    return last.error


def chunks(events: list[Event], name: str | None = None) -> list[Value]:
    return [chunk for event in events if isinstance(event, Delta) and event.name == name for chunk in event.chunks]


def statuses(events: list[Event]) -> dict[str, str]:
    return {event.job: event.status for event in events if isinstance(event, JobDone)}


async def until(condition: Callable[[], bool]) -> None:
    """Let everything else go on until the condition holds; fails if nothing makes it hold."""
    for _ in range(1000):
        if condition():
            return
        await asyncio.sleep(0)
    raise AssertionError("it never came to pass")


async def next_of(events: Any, kind: type[Any]) -> Any:
    """The next event of a kind, those before it passed over."""
    async for event in events:
        if isinstance(event, kind):
            return event
    raise AssertionError(f"no {kind.__name__} came")
