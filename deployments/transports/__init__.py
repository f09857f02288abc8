"""Every way in, found by walking this package: a module that offers `routes(gateway) -> APIRouter` is a transport."""

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
        if hasattr(module, "routes"):
            yield module.routes(gateway)
