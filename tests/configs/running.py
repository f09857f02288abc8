"""A document of models, run in this process as it would be served: no Ray, no HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from deployments.answering.answerer import Answerer
from deployments.answering.messages import Answered, Erred, Question
from deployments.components import registry
from deployments.runs.events import Delta, Finished, Invocation, Run, RunFailed
from deployments.runs.joining import Joining
from deployments.runs.runner import run
from deployments.serve.lists import Basket
from deployments.telemetry.redaction import Redactor
from graphs.component import Setup
from graphs.context import RunContext
from graphs.errors import from_data
from graphs.plan import Plan
from graphs.stream import Note, Stream, Value

TYPES = registry()


@dataclass
class Told:
    """What came of a run: its chunks when it streamed, its output joined, its notes."""

    chunks: list[Any] = field(default_factory=list)
    output: Value = None
    streamed: bool = False
    notes: list[Mapping[str, Any]] = field(default_factory=list)


class Served:
    """The components of a plan, set up."""

    def __init__(self, plan: Plan, answerers: Mapping[str, Answerer]) -> None:
        self._plan = plan
        self._answerers = answerers

    async def run(self, input: Value, workflow: str | None = None) -> Told:
        """Run a workflow to its end; an error of the run is raised."""
        told, joining = Told(), Joining()
        it = Run(RunContext("run_1", workflow or self._plan.default_workflow or ""), input)
        async with aclosing(run(self._plan, it, self._invoke)) as events:
            async for event in events:
                match event:
                    case Delta():
                        joining.add(event)
                        told.chunks += [chunk for chunk in event.chunks if not isinstance(chunk, Note)]
                    case Finished():
                        told.streamed = event.streamed
                        told.output = joining.value() if event.streamed else event.output
                        told.notes = [dict(note.data) for note in event.notes]
                    case RunFailed():
                        raise event.error
                    case _:
                        pass
        return told

    async def _invoke(self, asked: Invocation) -> Value | Stream:
        basket = Basket()
        question = Question(asked.action, asked.input, asked.context, None)
        reply = await self._answerers[asked.component].answer(question, lambda: basket)
        match reply:
            case Answered(value=value):
                return value
            case Erred(error=error):
                raise from_data(error)
            case _:
                return Stream(_one(basket.take()))


async def _one(batch: list[Any]) -> AsyncIterator[list[Any]]:
    yield batch


@asynccontextmanager
async def serving(plan: Plan) -> AsyncIterator[Served]:
    """Set the components up, and close them in the end."""
    async with AsyncExitStack() as stack:
        answerers: dict[str, Answerer] = {}
        for id, each in plan.components.items():
            cls = TYPES[each.type]
            component = cls(cls.Config.model_validate(dict(each.config)), Setup(id))
            stack.push_async_callback(component.close)
            await component.setup()
            answerers[id] = Answerer(each, component, Redactor())
        yield Served(plan, answerers)
