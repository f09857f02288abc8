"""What `anabranch dev` prints: what runs, how to call it, what a change has changed, and what is wrong."""

from __future__ import annotations

import dataclasses
import json
import sys
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from collections.abc import Set as AbstractSet
from pathlib import Path
from typing import Any

from deployments.dev.graph import Changes
from deployments.local.component import LocalComponent
from graphs.errors import AnabranchError
from graphs.plan import DEFAULT_CPUS, ComponentPlan, InputField, Plan, WorkflowPlan
from graphs.source import Diagnostic

EXAMPLES: Mapping[str, object] = {
    "text": "Hello", "string": "Hello", "markdown": "Hello", "integer": 1, "number": 1, "boolean": True, "list": [],
    "object": {}, "json": {}, "any": "Hello",
}  # fmt: skip
"""What the command shown sends for a field that must be given, by its type; of other types, its own name."""

NOWHERE = frozenset({"at", "source", "where", "wiring"})
"""Fields that say where something is written, or follow from the others: a line more above changes nothing that runs."""


def tell(text: str) -> None:
    """Print to the terminal."""
    print(text, file=sys.stderr, flush=True)


def tell_warnings(warnings: Sequence[Diagnostic]) -> None:
    """Print what is doubtful in the documents."""
    for each in warnings:
        tell(each.render())


def tell_component(component: LocalComponent, began: float) -> None:
    """Print that a component is ready."""
    tell(f"  {component.plan.id} ({component.plan.type}) ready after {time.monotonic() - began:.1f} s")


def tell_ready(plan: Plan, documents: Sequence[Path], url: str, began: float) -> None:
    """Print what is served, and how to call it."""
    for note in _not_enforced(plan.components.values()):
        tell(note)
    served = ", ".join(map(str, documents))
    tell(f"Serving {served} on {url} after {time.monotonic() - began:.1f} s, in one process, without Ray.")
    tell(f"Workflows: {', '.join(plan.workflows) or 'none'}. Reference: {url}/docs. Stop with Ctrl-C.")
    if command := curl(plan, url):
        tell(f"Try:\n  {command}")


def tell_changed(old: Plan, new: Plan, changes: Changes, under_way: int, began: float) -> None:
    """Print what another load has changed."""
    for note in _not_enforced(each.plan for each in (*changes.fresh.values(), *changes.waiting.values())):
        tell(note)
    changed = list(_changed(old, new, changes)) or ["nothing that runs has changed"]
    tell(f"Loaded again after {time.monotonic() - began:.1f} s: {'; '.join(changed)}.")
    if under_way:
        one = under_way == 1
        tell(
            f"{under_way} {'request' if one else 'requests'} under way {'ends with what it' if one else 'end with what they'} began with."
        )
    if (old.controller.host, old.controller.port) != (new.controller.host, new.controller.port):
        tell("The host or the port of the controller has changed: start `anabranch dev` again to listen there.")


def tell_failure(error: AnabranchError, *, serving: bool) -> None:
    """Print why a document isn't served."""
    tell(error.message)
    tell_what_is_served(serving=serving)


def tell_what_is_served(*, serving: bool) -> None:
    """Print what goes on after a load that failed."""
    tell("What was loaded before is still served." if serving else "Waiting for a change.")


def curl(plan: Plan, url: str) -> str | None:
    """Return a command that runs the default workflow, or the first."""
    workflow = plan.workflows.get(plan.default_workflow or next(iter(plan.workflows), ""))
    if workflow is None:
        return None
    body: dict[str, object] = {"input": {field.name: _example(field) for field in workflow.inputs if field.required}}
    if plan.default_workflow is None and len(plan.workflows) > 1:
        body["workflow_id"] = workflow.id
    said = json.dumps({**body, "output_only": True}, ensure_ascii=False).replace("'", "'\\''")
    return f"curl -N {url}/workflows/runs -H 'Content-Type: application/json' -d '{said}'"


def _example(field: InputField) -> object:
    return field.options[0] if field.options else EXAMPLES.get(field.type, field.name)


def _not_enforced(components: Iterable[ComponentPlan]) -> Iterator[str]:
    """Yield what components ask of a cluster."""
    for component in components:
        asked = list(_asked(component))
        if asked:
            yield f"  {component.id} asks for {', '.join(asked)}; dev runs it once, in this process"


def _asked(component: ComponentPlan) -> Iterator[str]:
    options = component.options
    if options.num_gpus:
        yield f"{options.num_gpus:g} {'GPU' if options.num_gpus == 1 else 'GPUs'}"
    if options.num_cpus != DEFAULT_CPUS:
        yield f"{options.num_cpus:g} {'CPU' if options.num_cpus == 1 else 'CPUs'}"
    if options.memory:
        yield f"{options.memory} bytes of memory"
    if options.accelerator_type:
        yield f"a GPU of type {options.accelerator_type}"
    if options.replicas and options.replicas > 1:
        yield f"{options.replicas} replicas"
    if options.autoscaling:
        yield "autoscaling"
    if options.runtime_env:
        yield "a runtime_env"


def _changed(old: Plan, new: Plan, changes: Changes) -> Iterator[str]:
    replaced = [*changes.fresh, *changes.waiting]
    for word, ids in (
        ("added", [id for id in replaced if id not in old.components]),
        ("changed", [id for id in replaced if id in old.components]),
        ("removed", [id for id in changes.gone if id not in new.components]),
    ):
        if ids:
            yield f"{_counted_names('component', ids)} {word}"
    for word, ids in (
        ("added", [id for id in new.workflows if id not in old.workflows]),
        (
            "changed",
            [id for id, each in new.workflows.items() if id in old.workflows and _differ(old.workflows[id], each)],
        ),
        ("removed", [id for id in old.workflows if id not in new.workflows]),
    ):
        if ids:
            yield f"{_counted_names('workflow', ids)} {word}"
    if _meaning(old.controller) != _meaning(new.controller):
        yield "controller changed"


def _differ(one: WorkflowPlan, other: WorkflowPlan) -> bool:
    return _meaning(one) != _meaning(other)


def _meaning(value: Any) -> Any:
    """Return a piece of a plan as data, without where it is written."""
    match value:
        case Mapping():
            return {key: _meaning(item) for key, item in value.items()}
        case list() | tuple():
            return [_meaning(item) for item in value]
        case AbstractSet():
            return frozenset(value)
        case _ if dataclasses.is_dataclass(value) and not isinstance(value, type):
            fields = [each.name for each in dataclasses.fields(value) if each.name not in NOWHERE]
            return [type(value).__name__, *(_meaning(getattr(value, name)) for name in fields)]
        case _:
            return value


def _counted_names(what: str, ids: Sequence[str]) -> str:
    return f"{what}{'s' * (len(ids) > 1)} {', '.join(ids)}"
