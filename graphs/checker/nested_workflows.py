"""Check components of type `workflow`: each names a workflow that exists and doesn't lead back to itself."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphs.checker.routes import node_text
from graphs.checker.workflows import CheckedWorkflow
from graphs.source import MappingNode, Mistakes, Node
from graphs.suggest import did_you_mean


def report_unknown_workflows(
    nodes: Mapping[str, MappingNode], workflows: Sequence[str], default: str | None, mistakes: Mistakes
) -> None:
    """Report components that run a workflow that doesn't exist; `nodes` are those of type `workflow`, by id."""
    listed = f"Workflows: {', '.join(workflows)}."
    for id, node in nodes.items():
        given = _written(node)
        name = _named(node, default)
        if given is not None and name is not None and name not in workflows:
            hint = did_you_mean(name, workflows, listed)
            mistakes.add(given, f"component '{id}' runs unknown workflow '{name}'", hint)
        elif given is None and default is None:
            hint = f"write `workflow:` with one of {', '.join(workflows)}"
            mistakes.add(node, f"component '{id}' doesn't say which workflow it runs", hint)


def report_recursion(
    nodes: Mapping[str, MappingNode], workflows: Mapping[str, CheckedWorkflow], default: str | None, mistakes: Mistakes
) -> None:
    """Report every cycle of workflows that run each other, once."""
    seen: set[str] = set()
    for node in nodes.values():
        name = _named(node, default)
        path = _path_back(name, workflows) if name is not None and name not in seen else None
        if path:
            seen |= set(path)
            span = (_written(node) or node).span
            message = f"workflow '{name}' runs itself: {' -> '.join(path)}"
            mistakes.add(span, message, "remove one of these calls", node.path)


def _named(node: MappingNode, default: str | None) -> str | None:
    """Return the workflow that a component runs."""
    return default if _written(node) is None else node_text(node, "workflow")


def _written(node: MappingNode) -> Node | None:
    """Return what stands after `workflow:`; a null leaves it out."""
    given = node.get("workflow")
    return None if given is None or (given.kind == "scalar" and given.value is None) else given


def _path_back(start: str, workflows: Mapping[str, CheckedWorkflow]) -> list[str] | None:
    """Return the path from a workflow back to itself."""
    paths = [[start]]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        for name in workflows[path[-1]].runs if path[-1] in workflows else ():
            if name == start:
                return [*path, start]
            if name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return None
