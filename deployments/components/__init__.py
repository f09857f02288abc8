"""Find every component type: those of this package, and those that plug-ins bring through an entry-point group."""

from __future__ import annotations

import inspect
import pkgutil
from collections.abc import Iterator
from importlib import import_module
from importlib.metadata import EntryPoint, entry_points
from itertools import chain
from types import ModuleType
from typing import TypeGuard

from graphs.component import Component, ComponentType
from graphs.errors import AnabranchError

GROUP = "anabranch.components"
"""The entry-point group of plug-ins. An entry names a class, a module, or a package whose modules are searched."""


def registry() -> dict[str, ComponentType]:
    """Return the component types by the `type` that documents write. They import heavy modules in `setup`."""
    found: dict[str, ComponentType] = {}
    plug_ins = sorted(entry_points(group=GROUP), key=lambda entry: (entry.name, entry.value))
    for cls in chain(_types_under(import_module(__name__)), *map(_plugged_in, plug_ins)):
        if cls.type in found:
            raise AnabranchError(
                f"two component types are called {cls.type!r}: {_place(found[cls.type])} and {_place(cls)}; "
                "rename one, or remove the plug-in that brings it"
            )
        found[cls.type] = cls
    return dict(sorted(found.items()))


def _plugged_in(plug_in: EntryPoint) -> list[ComponentType]:
    try:
        target: object = plug_in.load()
        if inspect.ismodule(target):
            types = list(_types_under(target))
        elif _is_component_type(target):
            types = [target]
        else:
            raise TypeError(f"expected a Component with a `type`, got {target!r}")
    except (Exception, SystemExit) as error:  # a plug-in may raise anything, and the error must name it
        raise AnabranchError(
            f"the plug-in {plug_in.name!r} ({_origin(plug_in)}) can't be loaded: {type(error).__name__}: {error}; "
            "repair or uninstall it"
        ) from error
    if not types:
        raise AnabranchError(
            f"the plug-in {plug_in.name!r} ({_origin(plug_in)}) holds no component type; "
            "expected a class derived from graphs.component.Component with a `type`"
        )
    return types


def _types_under(module: ModuleType) -> Iterator[ComponentType]:
    """Yield the types that a module defines itself, then those of its modules, if it is a package.

    Of a package inside it, only the types in its `__init__` count: its other modules may import heavy ones.
    """
    yield from _types_of(module)
    # getattr: only packages have a __path__.
    if hasattr(module, "__path__"):
        for info in pkgutil.iter_modules(module.__path__, f"{module.__name__}."):
            yield from _types_of(import_module(info.name))


def _types_of(module: ModuleType) -> Iterator[ComponentType]:
    for value in vars(module).values():
        if _is_component_type(value) and value.__module__ == module.__name__:
            yield value


def _is_component_type(value: object) -> TypeGuard[ComponentType]:
    return (
        isinstance(value, type)
        and issubclass(value, Component)
        and "type" in vars(value)
        and not inspect.isabstract(value)
    )


def _place(cls: ComponentType) -> str:
    return f"{cls.__module__}:{cls.__qualname__}"


def _origin(plug_in: EntryPoint) -> str:
    return f"{plug_in.dist.name}: {plug_in.value}" if plug_in.dist else plug_in.value
