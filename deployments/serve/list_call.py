"""One call of a component whose worker can't dial back: the chunks come as lists over the handle's own stream."""

from __future__ import annotations

import asyncio
import contextvars
import itertools
import logging
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from ray.exceptions import RayActorError
from ray.serve.handle import DeploymentHandle

from deployments.answering.messages import Answered, Erred, Question, Streamed, to_bytes, too_deep
from deployments.runs.events import Invocation
from deployments.serve.channel_call import GRACE
from deployments.serve.lists import NOT_COUNTED, STEP, Item, start_progress
from deployments.serve.ray_errors import call_failure
from deployments.streams.inside_values import joined
from deployments.telemetry.redaction import Redactor
from graphs.component import Whole
from graphs.errors import AnabranchError, TimedOut, Unavailable, from_data
from graphs.stream import Batch, Stream, Value

logger = logging.getLogger("anabranch.handles")

Handle = DeploymentHandle[Any]


class ListCalls:
    """The calls of one replica that go this way."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor
        self._progress: Any = None
        self._ids = itertools.count(1)

    async def call(self, invocation: Invocation, handle: Handle) -> Value | Stream | Whole:
        """Call a component: its whole answer, or its stream once the first chunk is there."""
        try:
            input, _ = await joined(invocation.input)
        except RecursionError:
            raise too_deep() from None
        call = ListCall(invocation, *await self._counted(), self._redactor)
        try:
            return await call.answer(handle, input)
        except BaseException:
            await call.aclose()
            raise

    async def _counted(self) -> tuple[Any, int]:
        """Return the actor that counts for a new stream, and the stream's id; one that has died gives way to another."""
        id = next(self._ids)
        for _ in range(2):
            progress = self._progress = self._progress or start_progress()
            try:
                await progress.open.remote(id)
            except RayActorError as error:
                logger.warning("the actor that counts which chunks were read is gone: %s", error)
                if self._progress is progress:
                    self._progress = None
            except BaseException:
                progress.close.remote(id)
                raise
            else:
                return progress, id
        raise Unavailable(NOT_COUNTED)


class ListCall:
    """A call that is under way. It must be closed, or the Stream that it gave."""

    def __init__(self, invocation: Invocation, progress: Any, id: int, redactor: Redactor) -> None:
        self._invocation = invocation
        self._component = invocation.component
        self._progress = progress
        self._id = id
        self._redactor = redactor
        self._response: Any = None
        self._over = False
        self._closed = False

    async def answer(self, handle: Handle, input: Value) -> Value | Stream | Whole:
        """Send the question; return the whole answer, or the stream once its first list is there."""
        streaming = handle.options(method_name="answer_in_lists", stream=True, _by_reference=True)
        question = to_bytes(Question(self._invocation.action, input, self._invocation.context, None))
        self._response = contextvars.Context().run(streaming.remote, question, self._progress, self._id)
        first = await self._next()
        if isinstance(first, list):
            return Stream(self._batches(first), self.aclose)
        await self.aclose()
        match first:
            case Answered(value=value, notes=notes):
                return Whole(value, notes) if notes else value
            case Erred(error=error):
                raise self._redactor.error(from_data(error))
            case Streamed(count=0):
                return Stream(_nothing())
            case _:
                raise self._unfinished()

    async def aclose(self) -> None:
        """End the call; a component that is still answering is stopped. Idempotent."""
        if not self._closed:
            self._closed = True
            self._progress.close.remote(self._id)
        if self._response is not None and not self._over:
            self._over = True
            with suppress(Exception):
                self._response.cancel()

    async def _batches(self, first: Batch) -> AsyncGenerator[Batch, None]:
        item: Item = first
        chunks = lists = 0
        while isinstance(item, list):
            chunks += len(item)
            lists += 1
            yield item
            if lists % STEP == 0:
                self._progress.took.remote(self._id, lists)
            item = await self._next()
        match item:
            case Streamed(count=count) if count == chunks:
                return
            case Erred(error=error):
                raise self._redactor.error(from_data(error))
            case _:
                raise self._unfinished()

    async def _next(self) -> Item:
        deadline = self._invocation.context.deadline
        scope = asyncio.timeout_at(None if deadline is None else deadline + GRACE)
        try:
            async with scope:
                item = await anext(self._response)
        except StopAsyncIteration:
            raise self._unfinished() from None
        except TimeoutError as error:
            if not scope.expired():
                raise self._failed(error) from None
            raise TimedOut(f"component '{self._component}' did not finish before the run's deadline") from None
        except asyncio.CancelledError as error:
            task = asyncio.current_task()
            if self._over or (task is not None and task.cancelling()):
                raise
            raise self._failed(error) from None
        except Exception as error:  # noqa: BLE001  (whatever Ray raises becomes an error a client may see)
            raise self._failed(error) from None
        self._over = not isinstance(item, list)
        return item

    def _failed(self, error: BaseException) -> AnabranchError:
        self._over = True
        return self._redactor.error(call_failure(error, self._component, self._invocation.context.id))

    def _unfinished(self) -> AnabranchError:
        return Unavailable(f"component '{self._component}' stopped answering before the end of its answer")


async def _nothing() -> AsyncGenerator[Batch, None]:
    for batch in ():
        yield batch
