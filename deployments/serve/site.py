"""A plan, and how its components are reached from one replica, in; the gateway over them out: what ingress and bridges share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Mapping
from typing import Any

from ray.serve.handle import DeploymentHandle

from deployments.answering.garbage import look_for_garbage_less_often
from deployments.gateway.gateway import Gateway, Ready
from deployments.local.component import LocalComponent, close_all, start_all
from deployments.local.invoke import LocalInvoke
from deployments.runs.events import Invocation
from deployments.serve.handles import HandlesInvoke
from deployments.telemetry.logs import log_to_replica, redact_logs
from deployments.telemetry.redaction import Redactor
from graphs.component import ComponentType, Whole
from graphs.plan import Plan
from graphs.secrets import secrets_of
from graphs.stream import Stream, Value


class Site:
    """The components as one replica has them: those in `placed` inside it, the others behind handles."""

    gateway: Gateway

    def __init__(
        self, plan: Plan, handles: Mapping[str, DeploymentHandle[Any]], placed: Mapping[str, ComponentType]
    ) -> None:
        redact_logs(Redactor(plan.secrets))
        log_to_replica()
        look_for_garbage_less_often()
        self.plan = plan
        self._handles = handles
        self._placed = {
            id: LocalComponent(plan.components[id], type, Redactor(secrets_of(plan.components[id], plan)))
            for id, type in placed.items()
        }

    async def start(self) -> None:
        """Set up the components that are placed here."""
        await start_all(self._placed.values())

    def open(self, ready: Ready | None = None) -> Gateway:
        """Return the gateway, made now."""
        self._invoke = HandlesInvoke(self._handles, Redactor(self.plan.secrets))
        self._local = LocalInvoke(self._placed)
        self.gateway = Gateway(self.plan, self._call, *([] if ready is None else [ready]))
        self._preparing = asyncio.get_running_loop().create_task(self.gateway.kept.prepare())
        return self.gateway

    def troubles(self) -> dict[str, str | None]:
        """Return the states of the components that are placed here."""
        return {id: each.trouble for id, each in self._placed.items()}

    async def aclose(self) -> None:
        """Close the gateway, and the components that are placed here."""
        await self.gateway.aclose()
        await self._invoke.aclose()
        await self._local.aclose()
        await close_all(self._placed.values())

    def _call(self, invocation: Invocation) -> Awaitable[Value | Stream | Whole]:
        return (self._local if invocation.component in self._placed else self._invoke)(invocation)
