"""A Question in, a component run, its chunks into a sink, and the Reply out. It knows neither Ray nor sockets."""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Mapping
from contextlib import aclosing
from typing import Any, Protocol

from deployments.answering.component_input import ComponentInput
from deployments.answering.messages import Answered, Erred, Question, Reply, Stopped, Streamed
from deployments.streams.codec import Left, Lost, decode, encode
from deployments.streams.inside_values import joined, mapped
from deployments.telemetry.redaction import Redactor
from graphs.component import ANSWER, Component, Whole
from graphs.errors import AnabranchError, ComponentFailed, NotFound, TimedOut, Unavailable, first_line
from graphs.plan import ActionPlan, ComponentPlan
from graphs.stream import Batch, Chunk, Stream, Value, is_empty

logger = logging.getLogger("anabranch.worker")

STOP_DEADLINE = 10.0
"""Seconds that a component may take to stop once its answer isn't wanted any more."""
EXITS = (SystemExit, KeyboardInterrupt)
"""asyncio lets these out of a task through its loop: every other call would end with this one, in silence."""

_ALONE = "expected a Whole to be yielded once, alone, got more beside it; yield chunks, or all of it in one Whole"
_LEAVES = frozenset({str, int, float, bool, type(None), bytes})
_TEXT = frozenset({str})


class Sink(Protocol):
    """Where chunks go; a channel's Outlet is one."""

    count: int
    on_stop: Callable[[], object] | None

    @property
    def stopped(self) -> Exception | None: ...
    def put(self, chunk: Chunk) -> bool: ...
    async def room(self) -> None: ...
    def finish(self) -> None: ...
    def fail(self, error: AnabranchError) -> None: ...


class LazySink:
    """A sink that is opened by the first chunk: a whole answer, or an error before it, needs none."""

    def __init__(self, open: Callable[[], Sink]) -> None:
        self._open = open
        self.sink: Sink | None = None
        self.stop: Callable[[], object] | None = None

    def start(self) -> Sink:
        """Return the sink, open."""
        if self.sink is None:
            self.sink = self._open()
            self.sink.on_stop = self.stop
            if self.sink.stopped is not None:
                raise self.sink.stopped
        return self.sink

    def put(self, chunk: Chunk) -> bool:
        """Send a chunk that isn't empty. False: `room` must be awaited before the next."""
        if not chunk and is_empty(chunk):
            return True
        sink = self.sink or self.start()
        return sink.put(chunk)

    async def room(self) -> None:
        """Wait until the next chunk may be put."""
        await self.start().room()

    def finish(self) -> Streamed:
        """Say that the stream is complete."""
        sink = self.start()
        sink.finish()
        return Streamed(sink.count)


class Answerer:
    """Runs one component, call by call."""

    def __init__(self, plan: ComponentPlan, component: Component[Any, Any], redactor: Redactor) -> None:
        self._plan = plan
        self._component = component
        self._redactor = redactor
        self._inputs = {id: ComponentInput(each, component.Input, plan.id) for id, each in plan.actions.items()}
        self._stubborn: set[asyncio.Task[Reply]] = set()

    async def answer(self, question: Question, open: Callable[[], Sink]) -> Reply:
        """Answer; a failure is a reply too. When the call is cancelled, or its reader leaves, the component is stopped first."""
        call = self.begin(question, open)
        try:
            await asyncio.wait([call.task])
        except asyncio.CancelledError:
            await call.stop()
            raise
        return call.reply()

    def begin(self, question: Question, open: Callable[[], Sink]) -> Call:
        """Begin to answer, in a task. The caller's context variables stay with the caller."""
        lazy = LazySink(open)
        work = self._answer(question, lazy)
        task = asyncio.get_running_loop().create_task(work, context=contextvars.Context())
        lazy.stop = task.cancel
        return Call(self._plan.id, question, lazy, task, self._redactor, self._stubborn)

    async def _answer(self, question: Question, lazy: LazySink) -> Reply:
        try:
            if question.context.deadline is None:
                return await self._run(question, lazy)
            return await self._run_in_time(question, lazy)
        except EXITS as exit:
            raise _failed(exit, question, self._plan.id) from exit

    async def _run_in_time(self, question: Question, lazy: LazySink) -> Reply:
        scope = asyncio.timeout_at(question.context.deadline)
        try:
            async with scope:
                return await self._run(question, lazy)
        except TimeoutError:
            if not scope.expired():
                raise
            raise TimedOut(f"component '{self._plan.id}' did not finish before the run's deadline") from None

    async def _run(self, question: Question, lazy: LazySink) -> Reply:
        action = self._action(question.action)
        names: dict[str, Value] = {"input": question.input, **question.context.names()}
        input = await self._inputs[action.id].render(names)
        async with aclosing(self._component.batches(input)) as batches:
            first = await anext(batches, None)
            if first and isinstance(whole := first[0], Whole):
                await _no_more(first, batches)
                value = await mapped(action.output, names, ANSWER, whole.value)
                return _answered(value if action.output is None else (await joined(value))[0], whole.notes)
            if action.output is None:
                return await _send(first, batches, lazy)
            stream = Stream(_checked(first, batches))
            value = await mapped(action.output, names, ANSWER, stream)
            if isinstance(value, Stream):
                async with aclosing(value.batches()) as mapped_batches:
                    return await _send(None, mapped_batches, lazy)
            joined_value, notes = await joined(value)
            said = {name: value for note in (*stream.notes, *notes) for name, value in note.data.items()}
            return _answered(joined_value, said)

    def _action(self, id: str) -> ActionPlan:
        action = self._plan.actions.get(id)
        if action is None:
            raise NotFound(f"component '{self._plan.id}' has no action '{id}'; it has {', '.join(self._plan.actions)}")
        return action


class Call:
    """One call under way."""

    def __init__(
        self,
        component: str,
        question: Question,
        lazy: LazySink,
        task: asyncio.Task[Reply],
        redactor: Redactor,
        stubborn: set[asyncio.Task[Reply]],
    ) -> None:
        """`stubborn` keeps tasks that don't stop when they are cancelled."""
        self.task = task
        self._component, self._question, self._lazy = component, question, lazy
        self._redactor, self._stubborn = redactor, stubborn

    def reply(self) -> Reply:
        """Return the reply of the task, which is done; a stream that has begun ends with its error."""
        failure: BaseException | None
        sink = self._lazy.sink
        try:
            return self.task.result()
        except asyncio.CancelledError as cancelled:
            failure = sink.stopped if sink is not None else None
            failure = failure or cancelled
        except BaseException as raised:  # noqa: BLE001  (whatever a component raises ends this call alone, in words)
            failure = raised
        match failure:
            case Left():
                return Stopped()
            case Lost():
                return Erred(Unavailable(f"component '{self._component}' lost its caller: {failure}"))
            case AnabranchError():
                error = failure
            case asyncio.CancelledError():
                error = ComponentFailed(f"component '{self._component}' cancelled itself")
            case _:
                error = _failed(failure, self._question, self._component)
        error = self._redactor.error(error)
        if sink is not None:
            sink.fail(error)
        return Erred(error)

    async def stop(self) -> None:
        """Cancel the component's work and wait for its end."""
        task, run, component = self.task, self._question.context.id, self._component
        task.cancel()
        done, _ = await asyncio.wait([task], timeout=STOP_DEADLINE)
        if not done:
            self._stubborn.add(task)
            task.add_done_callback(self._stubborn.discard)
            logger.error(
                "run %s: component '%s' did not stop within %g s of being cancelled", run, component, STOP_DEADLINE
            )
        elif not task.cancelled() and (error := task.exception()) is not None and not isinstance(error, Left | Lost):
            logger.info("run %s: component '%s', when stopped: %s", run, component, error)


def _failed(failure: BaseException, question: Question, component: str) -> AnabranchError:
    """Return the error of an unexpected exception; its traceback goes to the log alone."""
    logger.error("run %s: component '%s' failed", question.context.id, component, exc_info=failure)
    name, line = type(failure).__name__, first_line(failure)
    return ComponentFailed(f"component '{component}' failed: {name if line == name else f'{name}: {line}'}")


async def _send(first: Batch | None, rest: AsyncIterator[Batch], lazy: LazySink) -> Streamed:
    """Send every chunk as it comes."""
    for chunk in first or ():
        if not lazy.put(chunk):
            await lazy.room()
    async for batch in rest:
        for chunk in batch:
            if not lazy.put(chunk):
                await lazy.room()
    return lazy.finish()


async def _checked(first: Batch | None, rest: AsyncIterator[Batch]) -> AsyncGenerator[Batch]:
    """Yield the batches; refuse a Whole in them."""
    if first:
        yield first
    async for batch in rest:
        if Whole in map(type, batch):
            raise ComponentFailed(_ALONE)
        if batch:
            yield batch


async def _no_more(first: Batch, rest: AsyncIterator[Batch]) -> None:
    """Let the component finish; refuse what it yields beside a Whole."""
    if not all(map(is_empty, first[1:])):
        raise ComponentFailed(_ALONE)
    async for batch in rest:
        if not all(map(is_empty, batch)):
            raise ComponentFailed(_ALONE)


def _answered(value: Value, notes: Mapping[str, Value] | None) -> Answered:
    return Answered(crossing(value), crossing(dict(notes)) if notes else None)


def crossing(value: Value) -> Value:
    """Return the value as the channel would give it, so that a value that is no JSON fails here, at its source."""
    try:
        plain = _is_plain(value)
    except RecursionError:
        plain = False
    return value if plain else decode(*encode(value))


def _is_plain(value: Value) -> bool:
    """Whether a value crosses as it is. Encoding it to see would take twenty times as long where it holds numbers."""
    kind = type(value)
    if kind is dict:
        if not _TEXT.issuperset(map(type, value)):
            return False
        value = value.values()
    elif kind is not list:
        return kind in _LEAVES
    if _LEAVES.issuperset(map(type, value)):
        return True
    return all(type(item) in _LEAVES or _is_plain(item) for item in value)
