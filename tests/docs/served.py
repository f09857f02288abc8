"""A document -> the HTTP API over its components, all in this process: what the pages' clients talk to."""

from __future__ import annotations

from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager

from deployments.gateway.gateway import Gateway
from deployments.transports.app import build_app
from graphs.component import Registry
from graphs.plan import Plan
from tests.fakes.local import local
from tests.transports.served import serving


@asynccontextmanager
async def document(plan: Plan, types: Registry) -> AsyncIterator[str]:
    """Serve a plan's workflows; yields the address."""
    async with local(plan, types) as invoke:

        async def ready() -> Mapping[str, str | None]:
            return dict.fromkeys(invoke.components)

        gateway = Gateway(plan, invoke, ready)
        async with serving(build_app(gateway)) as address:
            yield address
        await gateway.aclose()
