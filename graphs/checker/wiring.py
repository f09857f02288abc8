"""Wire the jobs of a workflow: drafts in; out come which job waits for which, and where streams flow. Reports cycles."""

from __future__ import annotations

from collections.abc import Mapping
from graphlib import TopologicalSorter
from typing import NamedTuple

from graphs.checker.bindings import fields_of, span_in
from graphs.checker.drafts import Draft, fixed_truth, node_at
from graphs.checker.jobs import span_of
from graphs.component import TakesStream, marked_fields
from graphs.document import job_types
from graphs.language import is_stream_reference, references
from graphs.language.nodes import Binding, Template
from graphs.plan import ComponentCall
from graphs.source import Mistakes, Span


class Wires(NamedTuple):
    """One job's place in its workflow."""

    needs: frozenset[str]
    feeds_from: frozenset[str]
    routed_by: frozenset[str]
    whole: frozenset[str]
    flows: frozenset[str]


def wire(drafts: Mapping[str, Draft], mistakes: Mistakes) -> dict[str, Wires]:
    """Return every job's wires; report cycles and jobs that can never run."""
    routed: dict[str, set[str]] = {id: set() for id in drafts}
    for draft in drafts.values():
        for route in draft.routes:
            if route.to in routed:
                routed[route.to].add(draft.id)
    wires = {id: _wires(draft, routed[id], drafts) for id, draft in drafts.items()}
    if not _report_cycles(drafts, wires, mistakes):
        _report_unreachable(drafts, wires, mistakes)
    return wires


def _wires(draft: Draft, routed_by: set[str], drafts: Mapping[str, Draft]) -> Wires:
    feeds = frozenset({*draft.reads, *draft.spec.depends_on} & drafts.keys() - {draft.id})
    # An attempt uses up the stream that it reads, so a job with several attempts waits for the whole.
    once = draft.spec.retry.max_attempts == 1
    flows = frozenset(name for name in draft.reads if once and name in feeds and _flows(draft, name))
    whole = feeds.intersection(draft.reads) - flows
    return Wires(needs=feeds | routed_by, feeds_from=feeds, routed_by=frozenset(routed_by), whole=whole, flows=flows)


def _report_cycles(drafts: Mapping[str, Draft], wires: Mapping[str, Wires], mistakes: Mistakes) -> bool:
    found = False
    done: set[str] = set()
    for start in drafts:
        path = _cycle_from(start, wires, done) if start not in done else None
        if path:
            found = True
            message = f"jobs wait for each other: {' -> '.join(path)}"
            hint = "each waits for the next; remove one of these dependencies"
            mistakes.add(_why(drafts, path[0], path[1]), message, hint, drafts[path[0]].node.path)
    return found


def _why(drafts: Mapping[str, Draft], id: str, need: str) -> Span:
    """Return the place that makes a job wait for another: a binding, depends_on, or the route that leads to it."""
    draft = drafts[id]
    if need in draft.reads:
        return span_in(*draft.reads[need][-1])
    if need in draft.spec.depends_on:
        return span_of(node_at(draft.node, "depends_on"), need) or draft.node.span
    return next((route.span for route in drafts[need].routes if route.to == id), draft.node.span)


def _cycle_from(start: str, wires: Mapping[str, Wires], done: set[str]) -> list[str] | None:
    """Return the first cycle that is reached from a job, without recursion: chains of jobs may be long."""
    path: list[str] = [start]
    waiting = [iter(sorted(wires[start].needs))]
    while path:
        need = next(waiting[-1], None)
        if need is None:
            done.add(path.pop())
            waiting.pop()
        elif need in path:
            done.update(path)
            return [*path[path.index(need) :], need]
        elif need not in done:
            path.append(need)
            waiting.append(iter(sorted(wires[need].needs)))
    return None


def _report_unreachable(drafts: Mapping[str, Draft], wires: Mapping[str, Wires], mistakes: Mistakes) -> None:
    dead: set[str] = set()
    for id in TopologicalSorter({id: sorted(each.needs) for id, each in wires.items()}).static_order():
        draft = drafts[id]
        condition = None if isinstance(draft.spec, job_types.IfJob) else draft.node.get("condition")
        if condition is not None and fixed_truth(draft.template("condition")) is False:
            dead.add(id)
            message = f"{draft.what} can never run: its condition is always false"
            mistakes.add(condition, message, "remove the job, or its condition")
        elif wires[id].routed_by and not any(
            route.to == id and not route.dead and each.id not in dead
            for each in drafts.values()
            for route in each.routes
        ):
            follows = dead & wires[id].routed_by
            dead.add(id)
            if not follows:  # else the job that leads here is reported
                ways = ", ".join(f"{router} -> {id}" for router in sorted(wires[id].routed_by))
                message = f"job '{id}' can never run: {ways} is never taken"
                hint, span = "change what decides it, or remove the job", _why(drafts, id, min(wires[id].routed_by))
                mistakes.add(span, message, hint, draft.node.path)


def _flows(draft: Draft, source: str) -> bool:
    """Return whether this job reads `source`'s output only once, at a place that can take a stream."""
    if len(draft.reads[source]) != 1:
        return False
    output = (source, "output")
    if isinstance(draft.spec, job_types.ForEachJob):
        return _passes(draft.template("input"), "jobs", output)
    if _passes(draft.template("output"), "jobs", output):
        return True
    if not isinstance(draft.call, ComponentCall) or draft.called is None or draft.action is None:
        return False
    fields = fields_of(draft.call.input) or {}
    name = next((name for name, template in fields.items() if _passes(template, "jobs", output)), None)
    streamable = marked_fields(draft.called.cls.Input, TakesStream)
    return name is not None and _field_flows(draft.action.input, name, streamable)


def _passes(template: Template | None, name: str, path: tuple[str, ...]) -> bool:
    """Return whether a value is exactly `${name.path}`, so that a stream passes through."""
    if not isinstance(template, Binding) or not is_stream_reference(template):
        return False
    found = list(references(template))
    return len(found) == 1 and found[0].name == name and found[0].path == path


def _field_flows(action_input: Template, name: str, streamable: frozenset[str]) -> bool:
    """Return whether the action reads `input.name` once, as the whole of a field that can take a stream."""
    uses = [
        (field, template)
        for field, template in (fields_of(action_input) or {}).items()
        for reference in references(template)
        if reference.name == "input" and reference.path[:1] in ((name,), ())
    ]
    return len(uses) == 1 and uses[0][0] in streamable and _passes(uses[0][1], "input", (name,))
