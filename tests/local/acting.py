"""Components that do what a test says, called in this process, or over a channel between a caller and its worker."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable
from contextlib import asynccontextmanager
from typing import Any

from deployments.local.component import LocalComponent, close_all, start_all
from deployments.local.invoke import LocalInvoke
from deployments.runs.events import Invocation
from deployments.telemetry.redaction import Redactor
from graphs.component import ActionInput, Chunk, Component, ComponentConfig, Streamable, Whole
from graphs.context import RunContext
from graphs.errors import AnabranchError
from graphs.language import parse
from graphs.language.nodes import MappingTemplate, Template
from graphs.plan import ActionPlan, ComponentPlan, Options
from graphs.stream import Stream

DEADLINE = 10.0
"""For what must come; nothing waits this long unless it is broken."""

Does = Callable[["Given"], AsyncIterator[Chunk]]
Invoke = Callable[[Invocation], Awaitable[Any]]


class Given(ActionInput):
    text: Streamable[Any] = None


class Acting(Component[ComponentConfig, Given]):
    """Does what the test's function does."""

    type = "acting"
    Input = Given
    does: Does

    def run(self, input: Given) -> AsyncIterator[Chunk]:
        return type(self).does(input)


def acting(does: Does, **hooks: Any) -> type[Acting]:
    """A type that does this in each call; `setup`, `close` and `healthy` may be given too."""
    return type("Acting", (Acting,), {"does": staticmethod(does), **hooks})


def yielding(*chunks: Chunk) -> Does:
    async def run(input: Given) -> AsyncIterator[Chunk]:
        for chunk in chunks:
            yield chunk

    return run


def plan(id: str = "it", output: Template | None = None, **options: Any) -> ComponentPlan:
    action = ActionPlan("go", MappingTemplate((("text", parse("${input.text}")),)), output)
    return ComponentPlan(id, "acting", {}, {"go": action}, "go", Options(**options), "t.yaml:1:1")


def component(type: type[Acting], secrets: Iterable[str] = (), **planned: Any) -> LocalComponent:
    return LocalComponent(plan(**planned), type, Redactor(secrets))


class Caller:
    """Calls components by their id, and keeps what came."""

    def __init__(self, invoke: Invoke) -> None:
        self.invoke = invoke

    async def __call__(
        self, text: Any = None, id: str = "it", action: str = "go", remaining: float | None = None
    ) -> Any:
        """The whole answer, or the stream that has begun."""
        deadline = None if remaining is None else asyncio.get_running_loop().time() + remaining
        return await self.invoke(Invocation(id, action, {"text": text}, RunContext("run-1", "w", deadline=deadline)))

    async def outcome(self, text: Any = None, **asked: Any) -> tuple[Any, ...]:
        """What a call gives: its kind, what came, and the error it ended with."""
        try:
            answer = await self(text, **asked)
        except AnabranchError as error:
            return "error", error.to_data()
        if isinstance(answer, Stream):
            chunks, error = await read(answer)
            return "stream", chunks, error and error.to_data()
        return ("whole", answer.value, answer.notes) if isinstance(answer, Whole) else ("whole", answer, None)


async def read(stream: Stream) -> tuple[list[Chunk], AnabranchError | None]:
    """Every chunk of a stream, and the error that it ended with."""
    got: list[Chunk] = []
    try:
        async for batch in stream.batches():
            got += batch
    except AnabranchError as error:
        return got, error
    return got, None


@asynccontextmanager
async def calling(*components: LocalComponent) -> AsyncIterator[Caller]:
    """Components of this process, set up; in the end no task is left."""
    before = asyncio.all_tasks()
    await start_all(components)
    invoke = LocalInvoke({each.plan.id: each for each in components})
    try:
        async with asyncio.timeout(DEADLINE):
            yield Caller(invoke)
    finally:
        await invoke.aclose()
        await close_all(components)
    await asyncio.sleep(0)
    assert asyncio.all_tasks() <= before, "a test left tasks behind"


async def turns(count: int = 20) -> None:
    """Let the other tasks of the loop run, so often that whatever they can do is done."""
    for _ in range(count):
        await asyncio.sleep(0)
