"""A plan in, an application over its components out; and one graph after another, while requests under way go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from deployments.asgi.draining import Draining
from deployments.gateway.gateway import Gateway
from deployments.local.component import LocalComponent, close_all, start_all
from deployments.local.invoke import LocalInvoke
from deployments.telemetry.logs import redact_logs
from deployments.telemetry.redaction import Redactor
from deployments.transports.app import build_app
from graphs.component import Registry
from graphs.plan import Plan, fingerprint
from graphs.secrets import secrets_of

LAST_CALLS = 10.0
"""Seconds that requests under way have where their component must be closed before its successor can start."""


class Graph:
    """A plan that is being served."""

    def __init__(self, plan: Plan, types: Registry, components: Mapping[str, LocalComponent]) -> None:
        self.plan = plan
        self.types = types
        self.components = dict(components)
        invoke = LocalInvoke(self.components)
        gateway = Gateway(plan, invoke, self._ready)
        redact_logs(gateway.redactor)
        self.app = Draining(build_app(gateway))

    async def _ready(self) -> dict[str, str | None]:
        return {id: each.trouble for id, each in self.components.items()}


@dataclass(frozen=True, slots=True)
class Changes:
    """What another plan means for the components that run."""

    kept: Mapping[str, LocalComponent]
    fresh: Mapping[str, LocalComponent]
    """Can be set up beside those that run."""
    waiting: Mapping[str, LocalComponent]
    """Need what one of those that run holds: a port."""
    gone: Mapping[str, LocalComponent]
    """Those of the old graph that the new one doesn't have as they are."""


class Front:
    """The application in front of the graphs: requests go to the newest, and wait while a port changes hands."""

    def __init__(self) -> None:
        self.graph: Graph | None = None
        self._open = asyncio.Event()
        self._graphs: list[Graph] = []
        """The newest, and those whose requests haven't ended."""
        self._leaving: set[asyncio.Task[None]] = set()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._open.wait()
        assert self.graph is not None, "the first graph opens the front"
        await self.graph.app(scope, receive, send)

    async def load(self, plan: Plan, types: Registry, said: Callable[[LocalComponent], None]) -> Changes:
        """Set up what is new in a plan, and serve it; raise Unavailable where that fails, and serve on what was served.

        `said` is called for each component that was set up.
        """
        changes = _changes(self.graph, plan, types)
        await start_all(changes.fresh.values(), said)
        old = self.graph
        if changes.waiting:
            assert old is not None, "only one that runs can hold a port"
            try:
                await self._hand_over(old, changes, said)
            except BaseException:
                await close_all(changes.fresh.values())
                raise
        made = {**changes.kept, **changes.fresh, **changes.waiting}
        self.graph = Graph(plan, types, {id: made[id] for id in plan.components if id in made})
        self._graphs.append(self.graph)
        self._open.set()
        if old is not None:
            task = asyncio.get_running_loop().create_task(self._leave(old))
            self._leaving.add(task)
            task.add_done_callback(self._leaving.discard)
        return changes

    async def drain(self) -> None:
        """Refuse new requests, and wait for those under way."""
        if self.graph is not None:
            await self.graph.app.drain()
        if self._leaving:
            await asyncio.wait(list(self._leaving))

    @property
    def under_way(self) -> int:
        """Requests that are being answered by the newest graph."""
        return self.graph.app.under_way if self.graph is not None else 0

    async def aclose(self) -> None:
        """Close all components."""
        for task in self._leaving:
            task.cancel()
        if self._leaving:
            await asyncio.wait(list(self._leaving))
        await close_all({id(each): each for graph in self._graphs for each in graph.components.values()}.values())

    async def _hand_over(self, old: Graph, changes: Changes, said: Callable[[LocalComponent], None]) -> None:
        """Close what holds a port, and set up its successor; where that fails, set up again what there was."""
        self._open.clear()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_CALLS):
                    await old.app.idle()
            holders = {id: each for id, each in changes.gone.items() if _held_by(each, changes.waiting)}
            await close_all(holders.values())
            try:
                await start_all(changes.waiting.values(), said)
            except BaseException:
                again = {id: LocalComponent(each.plan, each.type, each.redactor) for id, each in holders.items()}
                old.components.update(again)
                await start_all(again.values())
                raise
        finally:
            self._open.set()

    async def _leave(self, old: Graph) -> None:
        """Let the requests of an old graph end, and close what no other graph needs."""
        await old.app.drain()
        self._graphs.remove(old)
        needed = {each for graph in self._graphs for each in graph.components.values()}
        await close_all(each for each in old.components.values() if each not in needed)


def _changes(old: Graph | None, plan: Plan, types: Registry) -> Changes:
    running = old.components if old is not None else {}
    kept: dict[str, LocalComponent] = {}
    new: dict[str, LocalComponent] = {}
    for id, component in plan.components.items():
        type = types[component.type]
        if not type.deployed:
            continue
        made = LocalComponent(component, type, Redactor(secrets_of(component, plan)))
        same = id in running and _same(running[id], made)
        (kept if same else new)[id] = running[id] if same else made
    gone = {id: each for id, each in running.items() if id not in kept}
    waiting = {id: each for id, each in new.items() if any(_clash(each, other) for other in gone.values())}
    return Changes(kept, {id: each for id, each in new.items() if id not in waiting}, waiting, gone)


def _same(one: LocalComponent, other: LocalComponent) -> bool:
    """Whether the one that runs is what the other would be."""
    return (
        one.type is other.type
        and fingerprint(one.plan) == fingerprint(other.plan)
        and one.plan.options == other.plan.options
        and one.redactor.secrets == other.redactor.secrets
    )


def _held_by(holder: LocalComponent, waiting: Mapping[str, LocalComponent]) -> bool:
    return any(_clash(each, holder) for each in waiting.values())


def _clash(one: LocalComponent, other: LocalComponent) -> bool:
    """Whether both want the same port, or whatever else only one may have."""
    return not set(_exclusive(one)).isdisjoint(_exclusive(other))


def _exclusive(component: LocalComponent) -> Iterator[tuple[str, object]]:
    for field in component.type.exclusive:
        if value := component.plan.config.get(field):
            yield field, value
