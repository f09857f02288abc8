"""A plan in, an application over its components out; and one graph after another, while requests under way go on."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass

from starlette.types import Receive, Scope, Send

from deployments.asgi.draining import Draining
from deployments.bridges.bridges import Bridges
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

    def __init__(self, plan: Plan, components: Mapping[str, LocalComponent]) -> None:
        self.plan = plan
        self.components = dict(components)
        self.gateway = Gateway(plan, LocalInvoke(self.components), self._ready)
        self.bridges = Bridges(self.gateway)
        self.gateway.bridges = self.bridges.states
        app = build_app(self.gateway)
        self.app = app.entrance = Draining(app.entrance)

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
    holders: frozenset[LocalComponent]
    """Those that hold it."""
    gone: Mapping[str, LocalComponent]
    """Those of the newest graph that the new one doesn't have as they are."""


class Front:
    """The application in front of the graphs: requests go to the newest, and wait while a port changes hands."""

    def __init__(self) -> None:
        self.graph: Graph | None = None
        self._open = asyncio.Event()
        self._graphs: list[Graph] = []
        """The newest, and those whose requests haven't ended."""
        self._wanted: frozenset[LocalComponent] = frozenset()
        """Running components that the graph that is being loaded will have."""
        self._leaving: dict[asyncio.Task[None], Graph] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request."""
        await self._open.wait()
        assert self.graph is not None, "the first graph opens the front"
        await self.graph.app(scope, receive, send)

    async def load(self, plan: Plan, types: Registry, said: Callable[[LocalComponent], None]) -> Changes:
        """Set up what is new in a plan, and serve it; raise Unavailable where that fails, and serve on what was served.

        `said` is called for each component that was set up.
        """
        redact_logs(Redactor(plan.secrets))
        changes = self._changes(plan, types)
        self._wanted = frozenset(changes.kept.values())
        try:
            await start_all(changes.fresh.values(), said)
            try:
                await self._hand_over(changes, said)
            except BaseException:
                await close_all(changes.fresh.values())
                raise
            made = {**changes.kept, **changes.fresh, **changes.waiting}
            old, self.graph = self.graph, Graph(plan, {id: made[id] for id in plan.components if id in made})
            self._graphs.append(self.graph)
            await self.graph.gateway.kept.prepare()
            if old is not None:
                await old.bridges.rest()
            self.graph.bridges.start()
        finally:
            self._wanted = frozenset()
        self._open.set()
        if old is not None:
            task = asyncio.get_running_loop().create_task(self._leave(old))
            self._leaving[task] = old
            task.add_done_callback(self._leaving.pop)
        return changes

    @property
    def under_way(self) -> int:
        """Requests that are being answered."""
        return sum(graph.app.under_way for graph in self._graphs)

    async def close_sockets(self) -> None:
        """Have every WebSocket end its requests and close; wait until all have."""
        await asyncio.gather(*(graph.app.close_sockets() for graph in self._graphs))

    async def aclose(self) -> None:
        """Close all components."""
        for task, graph in self._leaving.items():
            if graph in self._graphs:  # else it is closing components, and isn't interrupted
                task.cancel()
        if self._leaving:
            await asyncio.wait(list(self._leaving))
        for graph in self._graphs:
            await graph.bridges.aclose()
            await graph.gateway.aclose()
        await close_all(self._running())

    def _running(self) -> dict[LocalComponent, None]:
        """Return every component that runs, those of the newest graph first."""
        return dict.fromkeys(each for graph in reversed(self._graphs) for each in graph.components.values())

    def _changes(self, plan: Plan, types: Registry) -> Changes:
        running = self._running()
        kept: dict[str, LocalComponent] = {}
        new: dict[str, LocalComponent] = {}
        for id, component in plan.components.items():
            type = types[component.type]
            if type.deployed:
                made = LocalComponent(component, type, Redactor(secrets_of(component, plan)))
                same = next((each for each in running if _same(each, made)), None)
                (kept if same else new)[id] = same or made
        others = [each for each in running if each not in kept.values()]
        holders = frozenset(each for each in others if any(_clash(each, other) for other in new.values()))
        waiting = {id: each for id, each in new.items() if any(_clash(each, holder) for holder in holders)}
        fresh = {id: each for id, each in new.items() if id not in waiting}
        newest = self.graph.components if self.graph is not None else {}
        gone = {id: each for id, each in newest.items() if kept.get(id) is not each}
        return Changes(kept, fresh, waiting, holders, gone)

    async def _hand_over(self, changes: Changes, said: Callable[[LocalComponent], None]) -> None:
        """Close what holds a port, and set up its successor; where that fails, set up again what there was."""
        if not changes.waiting:
            return
        self._open.clear()
        try:
            with suppress(TimeoutError):
                async with asyncio.timeout(LAST_CALLS):
                    for graph in self._graphs:
                        if not changes.holders.isdisjoint(graph.components.values()):
                            await graph.app.idle()
            try:
                await close_all(changes.holders)
                await start_all(changes.waiting.values(), said)
            except BaseException:
                await self._bring_back(changes.holders)
                raise
        finally:
            self._open.set()

    async def _bring_back(self, closed: Iterable[LocalComponent]) -> None:
        again = {each: LocalComponent(each.plan, each.type, each.redactor) for each in closed}
        for graph in self._graphs:
            graph.components.update({id: again[each] for id, each in graph.components.items() if each in again})
        await asyncio.gather(*(each.start(insist=True) for each in again.values()))

    async def _leave(self, old: Graph) -> None:
        """Let the requests of an old graph end, and close what no other graph needs."""
        await old.app.drain()
        await old.gateway.ended()
        await old.bridges.aclose(LAST_CALLS)
        await old.gateway.aclose()
        self._graphs.remove(old)
        needed = {*self._running(), *self._wanted}
        await close_all(each for each in old.components.values() if each not in needed)


def _same(one: LocalComponent, other: LocalComponent) -> bool:
    """Whether the one that runs is what the other would be."""
    return (
        not one.closed
        and one.type is other.type
        and fingerprint(one.plan) == fingerprint(other.plan)
        and one.plan.options == other.plan.options
        and one.redactor.secrets == other.redactor.secrets
    )


def _clash(one: LocalComponent, other: LocalComponent) -> bool:
    """Whether both want the same port, or whatever else only one may have."""
    return not set(_exclusive(one)).isdisjoint(_exclusive(other))


def _exclusive(component: LocalComponent) -> Iterator[tuple[str, object]]:
    for field in component.type.exclusive:
        if value := component.plan.config.get(field):
            yield field, value
