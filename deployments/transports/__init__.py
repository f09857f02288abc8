"""One file per protocol that comes in; each module with a `routes(gateway)` is mounted, bare and under /api."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from fastapi import APIRouter

from deployments.gateway import Gateway


def all_routes(gateway: Gateway) -> Iterator[APIRouter]:
    """Yield the routes of every transport in this package."""
    for module in sorted(each.name for each in pkgutil.iter_modules(__path__)):
        routes = getattr(import_module(f"{__name__}.{module}"), "routes", None)
        if routes is not None:
            yield routes(gateway)
