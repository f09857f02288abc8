"""Components in this process in, Invoke out: a call is a task, and its chunks go from hand to hand."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Callable, Coroutine, Mapping
from typing import Any

from deployments.answering.answerer import Call
from deployments.answering.messages import Answered, Erred, Question, Reply, Streamed, too_deep
from deployments.local.component import LocalComponent
from deployments.local.copies import Copies, copied
from deployments.local.pipe import Pipe
from deployments.runs.events import Invocation
from deployments.streams.codec import decode, encode
from graphs.component import Whole
from graphs.errors import Cancelled, NotFound, TimedOut, Unavailable
from graphs.stream import Batch, Stream, Value

GRACE = 1.0
"""How many seconds later than in the component a deadline strikes here, for a component that doesn't stop at it."""
LEAVE = 1.0
"""Seconds for which the end of a call waits for its component to stop."""


class LocalInvoke:
    """Calls components of this process; used on one event loop."""

    def __init__(self, components: Mapping[str, LocalComponent]) -> None:
        self.components = components
        self._ending: set[asyncio.Task[None]] = set()

    async def __call__(self, invocation: Invocation) -> Value | Stream | Whole:
        """Call a component: its whole answer, or its stream once the first chunk is there."""
        component = self.components.get(invocation.component)
        if component is None:
            raise NotFound(f"there is no component '{invocation.component}'; there is {', '.join(self.components)}")
        call = LocalCall(invocation, self._end)
        try:
            await call.start(component)
            return await call.answer()
        except BaseException:
            await call.aclose()
            raise

    async def aclose(self) -> None:
        """Wait for the calls that were left."""
        if self._ending:
            await asyncio.wait(list(self._ending))

    def _end(self, rest: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Run the end of a call in a task of its own."""
        task = asyncio.get_running_loop().create_task(rest)
        self._ending.add(task)
        task.add_done_callback(self._ending.discard)
        return task


class LocalCall:
    """A call that is under way. It must be closed, or the Stream that it gave."""

    def __init__(
        self, invocation: Invocation, detach: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]]
    ) -> None:
        self._invocation = invocation
        self._detach = detach
        self._copies = Copies()
        self._pipe = Pipe()
        self._component: LocalComponent | None = None
        self._call: Call | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._reply: Reply | None = None

    async def start(self, component: LocalComponent) -> None:
        """Hand the question over."""
        asked = self._invocation
        try:
            input = self._copies.of(asked.input)
        except RecursionError:
            raise too_deep() from None
        self._component = component
        self._call = await component.begin(Question(asked.action, input, asked.context), self._pipe)
        self._call.task.add_done_callback(self._returned)
        if asked.context.deadline is not None:
            self._timer = asyncio.get_running_loop().call_at(asked.context.deadline + GRACE, self._time_out)

    async def answer(self) -> Value | Stream | Whole:
        """Return the whole answer, or the stream as soon as it has begun."""
        while not (self._pipe.opened or self._pipe.over):
            await self._pipe.news()
        if self._pipe.opened:
            return Stream(self._batches(), self.aclose)
        match self._reply:
            case Answered(value=value, notes=notes):
                await self.aclose()
                return Whole(value, notes) if notes else value
            case Erred(error=error):
                raise error
            case _:
                self._pipe.take()  # raises what ended it
                raise self._cut_off()

    async def aclose(self) -> None:
        """End the call, however far it is: the component is stopped, the streams of its input are closed. Idempotent."""
        if self._timer is not None:
            self._timer.cancel()
        call, self._call = self._call, None
        if not self._pipe.over:
            name = self._invocation.component
            self._pipe.fail(Cancelled(f"the answer of component '{name}' was closed while it was read"))
        self._pipe.close()
        try:
            if call is not None and self._reply is None:
                assert self._component is not None, "the call is one of its calls"
                await asyncio.wait([self._detach(self._component.stop(call))], timeout=LEAVE)
        finally:
            for stream in self._copies.streams:
                await stream.aclose()

    async def _batches(self) -> AsyncGenerator[Batch, None]:
        pipe = self._pipe
        while (batch := pipe.take()) is not None:
            if batch:
                yield batch
            else:
                await pipe.news()
        # A complete stream is no success when its call failed.
        while self._reply is None and self._call is not None:
            await pipe.news()
        if isinstance(self._reply, Erred):
            raise self._reply.error
        if not isinstance(self._reply, Streamed):
            raise self._cut_off()

    def _returned(self, _: asyncio.Task[Reply]) -> None:
        """Take the reply, and wake the reader."""
        if self._call is None:
            return  # closed: `stop` takes what the task ended with
        reply = self._call.reply()
        if isinstance(reply, Answered):
            reply = _own(reply)
        self._reply = reply
        if isinstance(reply, Erred):
            self._pipe.fail(reply.error)
        elif isinstance(reply, Answered | Streamed):
            self._pipe.finish()
        else:
            self._pipe.fail(self._cut_off())

    def _time_out(self) -> None:
        self._pipe.fail(TimedOut(f"component '{self._invocation.component}' did not finish before the run's deadline"))

    def _cut_off(self) -> Unavailable:
        name = self._invocation.component
        return Unavailable(f"component '{name}' stopped answering before the end of its answer")


def _own(answered: Answered) -> Answered:
    """Return the answer as it is now: the component may go on to change what it gave."""
    try:
        return Answered(copied(answered.value), copied(answered.notes))
    except RecursionError:  # deep values are copied by the encoder, which needs less of the stack
        return Answered(decode(*encode(answered.value)), answered.notes)
