"""Admit, start, follow and stop the runs of a plan: the one way from every transport to them."""

from __future__ import annotations

import asyncio
import secrets
import time
from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Mapping

from deployments.runs import runner
from deployments.runs.events import Delta, Event, Finished, Joining, Run, raise_failure
from deployments.runs.site import Invoke, Places
from deployments.telemetry.redaction import Redactor
from graphs.context import RunContext
from graphs.errors import RETRY_AFTER, BadRequest, NotFound, Overloaded
from graphs.language.nodes import MappingTemplate
from graphs.plan import Plan, WorkflowPlan
from graphs.stream import Value
from graphs.suggest import closest

Ready = Callable[[], Awaitable[Mapping[str, str | None]]]
"""Asks every component, by its id, whether it can be called: None if so, else its state."""

LONGEST_SHOWN = 80


async def _always() -> dict[str, str | None]:
    return {}


class Gateway:
    """Starts runs of a plan's workflows, a limited number at a time."""

    def __init__(self, plan: Plan, invoke: Invoke, ready: Ready = _always) -> None:
        self.plan = plan
        self.ready = ready
        self.redactor = Redactor(plan.secrets)
        self._invoke = invoke
        options = plan.controller.options
        self._admission = Admission(options.max_concurrent_count, options.max_queued)

    def workflow(self, id: str | None) -> WorkflowPlan:
        """Return the workflow of this id; of none, the default or only one."""
        known = self.plan.workflows
        if id is not None:
            if id in known:
                return known[id]
            raise NotFound(_unknown(id, list(known)), workflows=list(known))
        if self.plan.default_workflow is not None:
            return known[self.plan.default_workflow]
        if len(known) == 1:
            return next(iter(known.values()))
        if not known:
            raise NotFound("this document has no workflow; give it one, or a component")
        raise BadRequest(
            f"expected the id of a workflow: there are several, and none is the default; write one of {_listed(list(known))}",
            workflows=list(known),
        )

    def start(self, workflow_id: str | None, input: Value, session_id: str | None = None) -> Running:
        """Return a run of the workflow, or of the default one; it begins when its events are read.

        `input` is what the workflow's bindings read.
        """
        workflow = self.workflow(workflow_id)
        now = time.time()
        run = Run(RunContext(new_run_id(now), workflow.id, session_id), input, now)
        events = runner.run(self.plan, run, self._invoke, places=self._admission, redact=self.redactor.error)
        return Running(run, workflow, events)


class Admission(Places):
    """Lets `places` runs be active, and `queue` more wait in the order they came; further ones are refused at once.

    This isn't left to Ray Serve's own queue, so that the refusal is JSON like every error, and health, readiness and
    the list of workflows never wait behind runs.
    """

    def __init__(self, places: int, queue: int) -> None:
        self._places = places
        self._queue = queue
        self._free = asyncio.Semaphore(places)
        self._waiting = 0

    async def enter(self) -> None:
        """Wait for a place and take it; raise Overloaded when the queue is full."""
        if self._waiting >= self._queue and self._free.locked():
            raise Overloaded(
                f"the server is full: {self._places} runs active, {self._waiting} queued; try again in {RETRY_AFTER} s",
                retry_after=RETRY_AFTER,
            )
        self._waiting += 1
        try:
            await self._free.acquire()
        finally:
            self._waiting -= 1

    def leave(self) -> None:
        """Give the place back."""
        self._free.release()


class Running:
    """An active run: read its events to their end, or close it, which cancels its jobs."""

    def __init__(self, run: Run, workflow: WorkflowPlan, events: AsyncGenerator[Event, None]) -> None:
        self.run = run
        self.workflow = workflow
        self._events = events

    def __aiter__(self) -> AsyncIterator[Event]:
        return self._events

    async def finish(self) -> Finished:
        """Read to the end and return it, with a streamed output joined; raise the run's error if it failed."""
        joining = Joining(self.workflow.output_kind.names, self._keys())
        async for event in self._events:
            if isinstance(event, Delta):
                joining.add(event)
                continue
            raise_failure(event)
            if isinstance(event, Finished):
                return Finished(joining.value(), streamed=True, notes=event.notes) if event.streamed else event
        raise AssertionError("a run's last event is its end")

    def _keys(self) -> tuple[str, ...]:
        output = self.workflow.output
        return tuple(name for name, _ in output.items) if isinstance(output, MappingTemplate) else ()

    async def aclose(self) -> None:
        """Cancel the run's jobs, and wait until they have ended."""
        await self._events.aclose()


def new_run_id(now: float) -> str:
    """Return a unique id; ids sort by the time of their making."""
    return f"run_{int(now * 1000):012x}{secrets.token_hex(10)}"


def _unknown(id: str, known: list[str]) -> str:
    shown = id if len(id) <= LONGEST_SHOWN else f"{id[: LONGEST_SHOWN - 1]}…"
    near = closest(id, known)
    rest = f"the workflows are {_listed(known)}" if known else "the document has none"
    return f"there is no workflow '{shown}'; " + (f"did you mean '{near}'? T{rest[1:]}" if near else rest)


def _listed(known: list[str]) -> str:
    return ", ".join(known[:20]) + (f" and {len(known) - 20} more" if len(known) > 20 else "")
