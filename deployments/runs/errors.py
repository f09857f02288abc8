"""An exception on its way out of a run -> the error the run ends with, saying where it happened."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from graphs.errors import AnabranchError, InvalidInput
from graphs.language import print_reference
from graphs.language.nodes import Binding, Reference, Template
from graphs.plan import CallJob, ForEachJob, Job

INTERRUPTED = frozenset({408, 429})
"""Statuses below 500 that say nothing against asking again."""


def located(error: AnabranchError, workflow: str, job: Job | None = None) -> AnabranchError:
    """Return the error led by workflow, job and component; one that names this workflow already stays as it is."""
    if error.details.get("workflow") == workflow:
        return error
    if ":" in workflow:
        return _of_model(error, job)
    where, details = f"workflow '{workflow}'", {"workflow": workflow}
    if job is not None:
        where, details = f"{where}, job '{job.id}'", {**details, "job": job.id}
    if isinstance(job, CallJob | ForEachJob):
        details = {**details, "component": job.call.component}
        component = f"component '{job.call.component}'"
        if not error.message.startswith(component):  # a component's own failures say so themselves
            where = f"{where}, {component}"
    return error.at(where, **details)


def _of_model(error: AnabranchError, job: Job | None) -> AnabranchError:
    """Return the error of a component that is called as a model: no document has the workflow around it."""
    component = job.call.component if isinstance(job, CallJob) else None
    if component is None or "component" in error.details:
        return error
    named = error.message.startswith(f"component '{component}'")
    return (
        error.saying(error.message, {**error.details, "component": component})
        if named
        else error.at(f"component '{component}'", component=component)
    )


def unfit(template: Template, key: str, message: str) -> InvalidInput:
    """Return the error of a value that a job's `key` can't take. It names the field of the input where there is one."""
    if isinstance(template, Binding) and isinstance(template.expr, Reference):
        reference = template.expr
        if reference.name == "input" and reference.path:
            name = print_reference(reference)
            return InvalidInput(f"{name}: {message}", field=name.removeprefix("input").removeprefix("."))
    return InvalidInput(f"{key}: {message}", field=key)


def worth_retrying(error: AnabranchError) -> bool:
    """Whether the same call may succeed another time; an upstream's own status, where it gave one, decides."""
    upstream: Any = error.details.get("upstream")
    status: Any = upstream.get("status") if isinstance(upstream, Mapping) else None
    status = status if isinstance(status, int) else error.status
    return status >= 500 or status in INTERRUPTED
