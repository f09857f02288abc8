"""Find the transports by walking this package: a module with `routes(gateway) -> APIRouter` is one."""

from __future__ import annotations

import pkgutil
from collections.abc import Iterator
from importlib import import_module

from fastapi import APIRouter

from deployments.gateway.gateway import Gateway


def routers(gateway: Gateway) -> Iterator[APIRouter]:
    """Yield the routes of every transport."""
    for info in sorted(pkgutil.iter_modules(__path__, f"{__name__}."), key=lambda info: info.name):
        module = import_module(info.name)
        if hasattr(module, "routes"):  # getattr: a module of this package that isn't a transport has none
            yield module.routes(gateway)
