"""A document of models, run in this process as it would be served: no Ray, no HTTP."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from deployments.components import registry
from deployments.runs.events import Delta, Finished, Joining, Run, RunFailed
from deployments.runs.runner import run
from deployments.runs.site import Invoke
from graphs.context import RunContext
from graphs.plan import Plan
from graphs.stream import Note, Value
from tests.fakes.local import local

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

    def __init__(self, plan: Plan, invoke: Invoke) -> None:
        self._plan = plan
        self._invoke = invoke

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


@asynccontextmanager
async def serving(plan: Plan) -> AsyncIterator[Served]:
    """Set the components up, and close them in the end."""
    async with local(plan, TYPES) as invoke:
        yield Served(plan, invoke)
