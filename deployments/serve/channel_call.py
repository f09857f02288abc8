"""One call of a component: the question goes through its handle, the chunks of the answer come through the channel.

It has succeeded when the stream is complete and the call has returned well; it has failed with whichever of the two fails
first, or is missing for too long after the other.
"""

from __future__ import annotations

import asyncio
import contextvars
import logging
from collections.abc import AsyncGenerator, Callable, Coroutine
from contextlib import aclosing, suppress
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.answering.messages import Answered, Erred, Question, Reply, Streamed, too_deep
from deployments.channel.flow import Outlet
from deployments.channel.listener import Listener
from deployments.runs.events import Invocation
from deployments.serve.envelopes import LARGE, NoChannel, ReplyTo, StreamRef, read_whole, seal, unseal_reply
from deployments.serve.ray_errors import call_failure
from deployments.serve.ray_internals import by_reference, cancel_assigned
from deployments.streams.codec import Left, Lost
from deployments.streams.inside_values import replaced
from deployments.telemetry.redaction import Redactor
from graphs.component import Whole
from graphs.errors import AnabranchError, Cancelled, TimedOut, Unavailable
from graphs.stream import Batch, Stream, Value

logger = logging.getLogger("anabranch.channel")

Handle = DeploymentHandle[Any]
Detach = Callable[[Coroutine[Any, Any, None]], None]
"""Runs the end of a call in the background."""

END_DEADLINE = 30.0
"""Seconds for the end of a stream to arrive once its call has returned, and the other way round. A chunk of the largest size
may be under way; a connection that is gone is noticed earlier."""
GRACE = 1.0
"""Seconds to wait for the call's own failure after the connection is lost, for it says more; and how much later than in
the worker a deadline strikes here."""
LEAVE = 0.25
"""Seconds that a worker has to return after the channel asked it to stop, before Ray is asked to cancel its call."""


class ChannelCall:
    """A call that is under way. It must be closed, or the Stream that it gave."""

    def __init__(self, invocation: Invocation, listener: Listener, redactor: Redactor, detach: Detach) -> None:
        self._invocation = invocation
        self._component = invocation.component
        self._listener = listener
        self._redactor = redactor
        self._detach = detach
        self._inlet = listener.expect()
        self._offers = Offers(listener)
        self._timers: list[asyncio.TimerHandle] = []
        self._response: Any = None
        self._task: asyncio.Task[Reply | NoChannel] | None = None
        self._outcome: Reply | NoChannel | AnabranchError | None = None
        """What the call has returned; a failure as the error it is."""

    def start(self, handle: Handle) -> None:
        """Send the question."""
        reply_to = ReplyTo(self._listener.address, self._inlet.id)
        try:
            input = self._offers.replace(self._invocation.input)
        except RecursionError:
            raise too_deep() from None
        question = seal(Question(self._invocation.action, input, self._invocation.context), reply_to)
        if len(question) > LARGE:
            handle = by_reference(handle)
        # An empty context: else Serve would cancel the call as soon as the request's client leaves, and how a run ends is
        # for the runner to decide.
        context = contextvars.Context()
        loop = asyncio.get_running_loop()
        self._response = context.run(handle.answer.remote, question)
        self._task = loop.create_task(_returning(self._response), context=context)
        self._task.add_done_callback(self._returned)
        deadline = self._invocation.context.deadline
        if deadline is not None:
            self._timers.append(loop.call_at(deadline + GRACE, self._time_out))

    async def answer(self) -> Value | Stream | Whole | NoChannel:
        """Return the whole answer, or the stream as soon as it is open."""
        await self._inlet.opened()
        if self._inlet.bound:
            stream = Stream(self._batches(), self.aclose)
            return await read_whole(stream) if self._inlet.whole else stream
        match self._outcome:
            case Answered(value=value, notes=notes):
                await self.aclose()
                return Whole(value, notes) if notes else value
            case NoChannel() as none:
                self._offers.withdraw()  # nothing was read of them: they go the other way
                self._forget()
                return none
            case AnabranchError() as error:
                raise error
            case _:
                raise self._as_error(self._inlet.error)

    async def aclose(self) -> None:
        """End the call, however far it is: the component is stopped, the streams of its input are closed. Idempotent."""
        self._forget()
        await self._offers.aclose()

    def _forget(self) -> None:
        for timer in self._timers:
            timer.cancel()
        asked_to_stop = self._inlet.bound and not self._inlet.over
        self._listener.unexpect(self._inlet)
        task, self._task = self._task, None
        if task is not None and not task.done():
            self._detach(_see_off(self._response, task, LEAVE if asked_to_stop else 0.0))

    async def _batches(self) -> AsyncGenerator[Batch, None]:
        inlet = self._inlet
        try:
            while (batch := inlet.take()) is not None:
                if batch:
                    yield batch
                else:
                    await inlet.news()
        except (Lost, Left, AnabranchError) as error:
            await self._settled(GRACE)
            raise self._as_error(error) from None
        await self._settled(END_DEADLINE)
        # A complete stream is no success when its call failed.
        if not isinstance(self._outcome, Streamed):
            raise self._as_error(None)

    def _returned(self, task: asyncio.Task[Reply | NoChannel]) -> None:
        """Take the call's return: wake the reader, and give a stream that isn't complete a deadline."""
        failure = asyncio.CancelledError() if task.cancelled() else task.exception()
        if failure is not None:
            self._outcome = call_failure(failure, self._component, self._invocation.context.id)
            self._inlet.fail(self._outcome)
            return
        self._outcome = reply = task.result()
        if isinstance(reply, Erred):
            self._outcome = reply.error
        # The socket and the call are two roads: what was sent before the return may still be under way.
        if isinstance(reply, Streamed) or (isinstance(reply, Erred) and self._inlet.bound):
            self._timers.append(
                task.get_loop().call_later(END_DEADLINE, lambda: self._inlet.fail(self._as_error(None)))
            )
        else:
            self._inlet.fail(Left())

    def _time_out(self) -> None:
        self._inlet.fail(TimedOut(f"component '{self._component}' did not finish before the run's deadline"))

    def _as_error(self, failure: BaseException | None) -> AnabranchError:
        """Return the error to raise: what the stream failed with, unless the call knows better."""
        match failure, self._outcome:
            case AnabranchError() as error, _:
                pass
            case _, AnabranchError() as error:
                pass
            case Lost(), _:
                error = Unavailable(f"component '{self._component}' died while answering: {failure}")
            case Left(), None:
                error = Cancelled(f"the answer of component '{self._component}' was closed while it was read")
            case _:
                error = Unavailable(f"component '{self._component}' stopped answering before the end of its answer")
        return self._redactor.error(error)

    async def _settled(self, deadline: float) -> None:
        """Wait for the call's return."""
        if self._task is not None:
            await asyncio.wait([self._task], timeout=deadline)


async def _returning(response: Any) -> Reply | NoChannel:
    return unseal_reply(await response)


async def _see_off(response: Any, task: asyncio.Task[Reply | NoChannel], leave: float) -> None:
    """Let the worker return by itself, or cancel the call in Ray; wait for its end."""
    if leave:
        await asyncio.wait([task], timeout=leave)
    if not task.done():
        with suppress(Exception):
            response.cancel()
        await asyncio.wait([task], timeout=LEAVE)
    if not task.done():
        cancel_assigned(response)
        await asyncio.wait([task], timeout=END_DEADLINE)
    task.cancel()
    await asyncio.wait([task])


class Offers:
    """The streams in a call's input, as references that the worker can ask for, and a task for each that it asks for."""

    def __init__(self, listener: Listener) -> None:
        self._listener = listener
        self._refs: dict[int, tuple[Stream, StreamRef]] = {}
        self._tasks: set[asyncio.Task[None]] = set()

    def replace(self, input: Value) -> Value:
        """Return the input with a reference for every stream, and the value of every stream that was joined."""
        return replaced(input, self._ref)

    async def aclose(self) -> None:
        """Stop sending, and close every stream, those included that the worker never asked for."""
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(list(self._tasks))
        self.withdraw()
        for stream, _ in self._refs.values():
            await stream.aclose()

    def withdraw(self) -> None:
        """Offer the streams no longer, and leave them as they are."""
        for _, ref in self._refs.values():
            self._listener.withdraw(ref.id)

    def _ref(self, stream: Stream) -> Value:
        if stream.joined is not None:
            return stream.joined[0]
        if id(stream) not in self._refs:
            ref = StreamRef(self._listener.offer(lambda outlet: self._start(stream, outlet)))
            self._refs[id(stream)] = (stream, ref)
        return self._refs[id(stream)][1]

    def _start(self, stream: Stream, outlet: Outlet) -> None:
        task = asyncio.get_running_loop().create_task(_send(stream, outlet))
        outlet.on_stop = task.cancel
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


async def _send(stream: Stream, outlet: Outlet) -> None:
    """Send a stream until its end, its failure, or until the reader leaves."""
    try:
        async with aclosing(stream.batches()) as batches:
            async for batch in batches:
                for chunk in batch:
                    if not outlet.put(chunk):
                        await outlet.room()
        outlet.finish()
    except (Left, Lost):
        pass
    except AnabranchError as error:
        outlet.fail(error)
    except Exception:
        logger.exception("a stream of a call's input failed")
        outlet.fail(AnabranchError("internal error in a stream of the input"))
