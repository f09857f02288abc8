"""Admit, start, follow and stop the runs of a plan: the one way from every transport to them."""

from __future__ import annotations

import logging
import secrets
import time
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from typing import Protocol, TypeVar, cast

from deployments.gateway.admission import Admission
from deployments.gateway.kept import Keep, Kept
from deployments.gateway.running import Following, Running
from deployments.runs import runner
from deployments.runs.events import Event, Observer, Run
from deployments.runs.site import Invoke
from deployments.store.rows import StoreDown
from deployments.telemetry.redaction import Redactor
from graphs.context import RunContext
from graphs.errors import BadRequest, NotFound
from graphs.plan import Plan, WorkflowPlan
from graphs.stream import Value
from graphs.suggest import closest

Ready = Callable[[], Awaitable[Mapping[str, str | None]]]
"""Asks every component, by its id, whether it can be called: None if so, else its state."""

LONGEST_SHOWN = 80


class Companion(Protocol):
    """What goes with a gateway, one of each kind, and is closed with it."""

    async def aclose(self) -> None:
        """End what is under way; no run is any more, and the store is still open."""


C = TypeVar("C", bound=Companion)

logger = logging.getLogger("anabranch.runs")


async def _always() -> dict[str, str | None]:
    return {}


class Gateway:
    """Starts runs of a plan's workflows, a limited number at a time."""

    def __init__(self, plan: Plan, invoke: Invoke, ready: Ready = _always) -> None:
        self.plan = plan
        self.ready = ready
        self.bridges: Ready = _always
        """The same of every bridge. One that isn't connected keeps nobody else from being answered."""
        self.redactor = Redactor(plan.secrets)
        self._invoke = invoke
        options = plan.controller.options
        self._admission = Admission(options.max_concurrent_count, options.max_queued)
        self.kept = Kept(plan.controller.store, self._events, self.redactor.error)
        self._companions: dict[object, Companion] = {}

    def companion(self, kind: Callable[[Gateway], C]) -> C:
        """Return the one companion of this kind, made when it is first asked for."""
        if kind not in self._companions:
            self._companions[kind] = kind(self)
        return cast("C", self._companions[kind])

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
        return self._start(self.workflow(workflow_id), input, session_id)

    async def keep(self, workflow_id: str | None, input: Value, session_id: str | None, keep: Keep) -> Following:
        """Begin a run that is kept, and return a reader of it; of the one that the idempotency key stands for, if there is one.

        Raise Overloaded when no more runs may wait, and StoreDown when it can't be kept.
        """
        return await self._keep(self.workflow(workflow_id), input, session_id, keep)

    async def begin(
        self, workflow: WorkflowPlan, input: Value, session_id: str | None = None, keep: Keep | None = None
    ) -> Running:
        """Begin a run, kept if `keep` says how. One that is kept only because all are goes on without, while the store is down."""
        if keep is not None:
            try:
                return await self._keep(workflow, input, session_id, keep)
            except StoreDown as down:
                if keep.asked:
                    raise
                logger.warning("a run can't be kept: %s", down)
        return self._start(workflow, input, session_id)

    async def follow(self, id: str, after: int = -1, priming: int = 0) -> Following:
        """Return a reader of a kept run, of what follows a number, led by so many entries before it."""
        info = await self.kept.find(id)
        return Following(self.kept, info, self.plan.workflow(info.workflow), after, priming)

    async def ended(self) -> None:
        """Wait until no kept run is under way here: such runs have no request that could be waited for."""
        await self.kept.ended()

    async def aclose(self) -> None:
        """End the kept runs that are still under way, and close the store."""
        await self.kept.stop()
        for each in self._companions.values():
            await each.aclose()
        await self.kept.aclose()

    def _start(self, workflow: WorkflowPlan, input: Value, session_id: str | None) -> Running:
        run = _new_run(workflow, input, session_id)
        return Running(run, workflow, self._events(run))

    async def _keep(self, workflow: WorkflowPlan, input: Value, session_id: str | None, keep: Keep) -> Following:
        self._admission.check()
        return await self.follow(await self.kept.start(_new_run(workflow, input, session_id), keep))

    def _events(self, run: Run, observer: Observer | None = None) -> AsyncGenerator[Event, None]:
        redact = self.redactor.error
        return runner.run(self.plan, run, self._invoke, places=self._admission, redact=redact, observer=observer)


def _new_run(workflow: WorkflowPlan, input: Value, session_id: str | None) -> Run:
    now = time.time()
    return Run(RunContext(new_run_id(now), workflow.id, session_id), input, now)


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
