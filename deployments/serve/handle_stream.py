"""The way around the channel: its frames through the handle's own stream, where a worker can't dial back.

gRPC makes a worker wait for its reader, as far as gRPC's own buffers go. Ray's other transport, without its fast flags,
takes whatever a generator yields: there nothing holds the worker back.
"""

from __future__ import annotations

import asyncio
import contextvars
from collections.abc import AsyncGenerator
from contextlib import suppress
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.answering.answerer import Answerer
from deployments.answering.messages import Answered, Erred, Question, too_deep
from deployments.channel.flow import WHOLE, Outlet
from deployments.channel.frames import END, ERR, OPEN, FrameParser, decode_number, encode_number, header
from deployments.runs.events import Invocation
from deployments.serve.channel_call import GRACE
from deployments.serve.envelopes import LARGE, read_whole, seal, send_whole
from deployments.serve.ray_errors import call_failure
from deployments.serve.ray_internals import by_reference
from deployments.streams.codec import MAX_CHUNK, decode, decode_error
from deployments.streams.inside_values import begun, joined
from deployments.telemetry.redaction import Redactor
from graphs.component import Whole
from graphs.errors import AnabranchError, TimedOut, Unavailable
from graphs.stream import Batch, Stream, Value

ALL = encode_number(2**63)
"""Credit for whatever was sent."""


class Pipe:
    """A carrier that gathers an Outlet's frames until they are taken."""

    paused = False

    def __init__(self) -> None:
        self.frames = bytearray()
        self.news = asyncio.Event()

    def send(self, kind: int, stream: int, body: bytes = b"") -> None:
        """Add a frame."""
        self.frames += header(kind, stream, len(body)) + body
        self.news.set()

    def flush(self) -> None:
        """Do nothing: frames leave when they are taken."""

    def forget(self, stream: int) -> None:
        """Do nothing: there is one stream."""


async def answer_in_frames(answerer: Answerer, question: Question) -> AsyncGenerator[bytes, None]:
    """Yield the frames of an answer, in pieces that gRPC takes. Closing this stops the component."""
    pipe = Pipe()
    outlet = Outlet(0, pipe)
    work = asyncio.create_task(_answer(answerer, question, outlet))
    work.add_done_callback(lambda _: pipe.news.set())
    try:
        while pipe.frames or not work.done():
            await pipe.news.wait()
            pipe.news.clear()
            data = bytes(pipe.frames)
            pipe.frames.clear()
            outlet.credit(ALL)
            for at in range(0, len(data), LARGE):
                yield data[at : at + LARGE]
        await work
    finally:
        work.cancel()
        await asyncio.wait([work])


async def _answer(answerer: Answerer, question: Question, outlet: Outlet) -> None:
    def opened() -> Outlet:
        outlet.open()
        return outlet

    reply = await answerer.answer(question, opened)
    if isinstance(reply, Answered):
        await send_whole(reply, outlet)
    elif isinstance(reply, Erred):
        outlet.fail(reply.error)  # unless the answerer did, for an answer that had begun


class HandleCall:
    """A call whose chunks come through the handle. It must be closed, or the Stream that it gave."""

    def __init__(self, invocation: Invocation, redactor: Redactor) -> None:
        self._invocation = invocation
        self._component = invocation.component
        self._redactor = redactor
        self._response: Any = None
        self._whole = False
        """The one chunk that comes is the whole answer."""
        self._over = False

    async def answer(self, handle: DeploymentHandle[Any]) -> Value | Stream | Whole:
        """Send the question, its streams joined; return the whole answer, or the stream once its first chunk is there."""
        try:
            input, _ = await joined(self._invocation.input)
        except RecursionError:
            raise too_deep() from None
        question = seal(Question(self._invocation.action, input, self._invocation.context))
        streaming = handle.options(method_name="answer_in_frames", stream=True)
        if len(question) > LARGE:
            streaming = by_reference(streaming)
        self._response = contextvars.Context().run(streaming.remote, question)
        stream = await begun(Stream(self._batches(), self.aclose))
        return await read_whole(stream) if self._whole else stream

    async def aclose(self) -> None:
        """End the call; a component that is still answering is stopped. Idempotent."""
        if self._response is not None and not self._over:
            self._over = True
            with suppress(Exception):
                self._response.cancel()

    async def _batches(self) -> AsyncGenerator[Batch, None]:
        parser, count = FrameParser(MAX_CHUNK), 0
        while not self._over:
            batch: Batch = []
            error: AnabranchError | None = None
            for kind, _, body in parser.feed(await self._piece()):
                if kind == OPEN:
                    self._whole = body == WHOLE
                elif kind == ERR:
                    self._over, error = True, self._redactor.error(decode_error(body))
                elif kind == END:
                    complete = decode_number(body) == count + len(batch)
                    self._over, error = True, None if complete else self._unfinished()
                else:
                    batch.append(decode(kind, body))
            count += len(batch)
            if batch:
                yield batch
            if error is not None:
                raise error

    async def _piece(self) -> bytes:
        deadline = self._invocation.context.deadline
        scope = asyncio.timeout_at(None if deadline is None else deadline + GRACE)
        error: BaseException
        try:
            async with scope:
                return await anext(self._response)
        except StopAsyncIteration:
            error = self._unfinished()
        except asyncio.CancelledError as cancelled:
            task = asyncio.current_task()
            if self._over or (task is not None and task.cancelling()):
                raise
            error = cancelled  # by Ray
        except Exception as raised:  # noqa: BLE001  (whatever Ray raises becomes an error a client may see)
            late = f"component '{self._component}' did not finish before the run's deadline"
            error = TimedOut(late) if scope.expired() else raised
        self._over = True
        raise self._redactor.error(call_failure(error, self._component, self._invocation.context.id)) from None

    def _unfinished(self) -> AnabranchError:
        return Unavailable(f"component '{self._component}' stopped answering before the end of its answer")
