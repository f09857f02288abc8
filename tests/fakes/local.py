"""Components in this process: an Invoke that answers all of a call before its chunks are read; no Ray, no channel."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any

from deployments.answering.answerer import Answerer
from deployments.answering.messages import Answered, Erred, Question
from deployments.runs.events import Invocation
from deployments.streams.codec import decode, encode
from deployments.telemetry.redaction import Redactor
from graphs.component import Registry, Setup, Whole
from graphs.errors import AnabranchError
from graphs.plan import Plan
from graphs.stream import Batch, Chunk, Stream, Value


class Basket:
    """A sink that gathers chunks, as the channel would give them, until they are taken."""

    def __init__(self) -> None:
        self.count = 0
        self.on_stop: Callable[[], object] | None = None
        self.stopped: Exception | None = None
        self._chunks: Batch = []
        self._filled = asyncio.Event()

    def put(self, chunk: Chunk) -> bool:
        self._chunks.append(decode(*encode(chunk)))
        self.count += 1
        self._filled.set()
        return False

    async def room(self) -> None:
        await asyncio.sleep(0)

    def finish(self) -> None: ...

    def fail(self, error: AnabranchError) -> None: ...

    async def filled(self) -> None:
        """Wait until there is something to take."""
        await self._filled.wait()

    def take(self) -> Batch:
        """Return what is there; maybe nothing."""
        batch, self._chunks = self._chunks, []
        self._filled.clear()
        return batch


class LocalInvoke:
    """The components of a plan, set up."""

    def __init__(self, answerers: Mapping[str, Answerer]) -> None:
        self.answerers = answerers

    async def __call__(self, asked: Invocation) -> Value | Stream | Whole:
        basket = Basket()
        question = Question(asked.action, asked.input, asked.context)
        reply: Any = await self.answerers[asked.component].answer(question, lambda: basket)
        chunks = basket.take()
        match reply:
            case Answered(value=value):
                return value
            case Erred(error=error) if not chunks:
                raise error
            case _:
                pass

        async def batches() -> AsyncIterator[Batch]:
            yield chunks
            if isinstance(reply, Erred):
                raise reply.error

        return Stream(batches())


@asynccontextmanager
async def local(plan: Plan, types: Registry) -> AsyncIterator[LocalInvoke]:
    """Set up the components of a plan that are deployed, and close them in the end."""
    async with AsyncExitStack() as stack:
        answerers: dict[str, Answerer] = {}
        for id, each in plan.components.items():
            cls = types[each.type]
            if not cls.deployed:
                continue
            component = cls(cls.Config.model_validate(dict(each.config)), Setup(id))
            stack.push_async_callback(component.close)
            await component.setup()
            answerers[id] = Answerer(each, component, Redactor())
        yield LocalInvoke(answerers)
