"""The life of one component: set up, asked whether it is healthy, closed. What goes wrong is told in one line."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any

from deployments.answering.answerer import EXITS
from deployments.telemetry.redaction import Redactor
from graphs.component import Component, Setup
from graphs.errors import AnabranchError, ComponentFailed, Unavailable
from graphs.plan import ComponentPlan

logger = logging.getLogger("anabranch.worker")


async def set_up(plan: ComponentPlan, component: type[Component[Any, Any]], redactor: Redactor) -> Component[Any, Any]:
    """Return the component, ready; what it raises instead becomes Unavailable, which says where the document writes it."""
    made: Component[Any, Any] | None = None
    try:
        made = component(component.Config.model_validate(dict(plan.config)), Setup(plan.id, redactor.text))
        await made.setup()
    except GeneratorExit:
        raise
    except BaseException as error:
        if made is not None:
            await _close_half(made)
        if isinstance(error, asyncio.CancelledError) and _is_cancelled():
            raise
        logger.exception("component '%s' could not be set up", plan.id)
        raise Unavailable(
            redactor.text(f"{plan.where}: component '{plan.id}' could not be set up: {_said(error)}")
        ) from None
    return made


async def check_health(component: Component[Any, Any], redactor: Redactor) -> None:
    """Raise Unavailable when the component should be replaced."""
    try:
        await _staying(component.healthy(), f"component '{component.id}', asked whether it is healthy")
    except Exception as error:
        logger.exception("component '%s' is not healthy", component.id)
        raise Unavailable(redactor.text(_said(error))) from None


async def close(component: Component[Any, Any]) -> None:
    """Close the component."""
    await _staying(component.close(), f"component '{component.id}', asked to close")


async def _close_half(component: Component[Any, Any]) -> None:
    """Close a component whose setup failed; a failure to close it goes to the log, for the first error says more."""
    try:
        await component.close()
    except (Exception, *EXITS):
        logger.exception("component '%s' was not all set up, and could not be closed", component.id)


async def _staying(work: Awaitable[None], what: str) -> None:
    """Await the component's work; `sys.exit` in it is a failure, and doesn't end the loop that all calls share."""
    try:
        await work
    except EXITS as exit:
        logger.exception("%s, failed", what)
        raise ComponentFailed(f"{what}, raised {type(exit).__name__}; its log says where") from exit


def _is_cancelled() -> bool:
    """Return whether this task is being cancelled; a component may also cancel itself."""
    task = asyncio.current_task()
    return task is not None and task.cancelling() > 0


def _said(error: BaseException) -> str:
    if isinstance(error, asyncio.CancelledError):
        return "it cancelled itself"
    return error.message if isinstance(error, AnabranchError) else f"{type(error).__name__}: {error}"
