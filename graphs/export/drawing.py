"""Draw a plan's workflows: the DAG as text, and as Mermaid."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter

from graphs.plan import CallJob, ForEachJob, Job, Plan, Router, WorkflowPlan


def text(plan: Plan) -> str:
    """Return every workflow, a job a line, each with what it calls and what it waits for."""
    return "\n\n".join("\n".join(_lines(workflow, plan)) for workflow in plan.workflows.values())


def mermaid(plan: Plan) -> str:
    """Return one Mermaid flowchart, a subgraph for each workflow; dotted arrows are choices."""
    lines = ["flowchart TD"]
    for number, workflow in enumerate(plan.workflows.values()):
        lines.append(f'  subgraph w{number}["{_escaped(workflow.title or workflow.id)}"]')
        ids = {id: f"w{number}_{index}" for index, id in enumerate(workflow.jobs)}
        lines += [f"    {each}" for each in _mermaid_jobs(workflow, ids)]
        lines.append("  end")
    return "\n".join(lines)


def _lines(workflow: WorkflowPlan, plan: Plan) -> Iterator[str]:
    mark = " (default)" if workflow.id == plan.default_workflow and len(plan.workflows) > 1 else ""
    yield f"{workflow.id}{mark}" + (f" — {workflow.title}" if workflow.title else "")
    for depth, job in _by_depth(workflow.jobs):
        streams = f", streams from {', '.join(sorted(job.flows))}" if job.flows else ""
        waits = sorted(job.feeds_from - job.flows)
        after = f", after {', '.join(waits)}" if waits else ""
        chosen = f", chosen by {', '.join(sorted(job.routed_by))}" if job.routed_by else ""
        condition = f", if {job.condition_text}" if job.condition_text else ""
        yield f"{'  ' * depth}  {job.id} -> {_does(job)}{after}{streams}{chosen}{condition}"


def _by_depth(jobs: Mapping[str, Job]) -> list[tuple[int, Job]]:
    """Return the jobs, those that others need first, each with its distance from the start."""
    depths: dict[str, int] = {}
    for id in TopologicalSorter({id: job.needs for id, job in jobs.items()}).static_order():
        depths[id] = max((depths[need] + 1 for need in jobs[id].needs), default=0)
    order = sorted(jobs, key=depths.__getitem__)  # stable: the document's order within a depth
    return [(depths[id], jobs[id]) for id in order]


def _does(job: Job) -> str:
    if isinstance(job, CallJob | ForEachJob):
        call = job.call
        target = call.component if call.kind == "component" else f"workflow {call.workflow}"
        each = f"for each, {job.max_concurrent_count} at once: " if job.kind == "for-each" else ""
        action = f".{call.action}" if call.kind == "component" and call.action != "action" else ""
        return f"{each}{target}{action}"
    return job.kind


def _mermaid_jobs(workflow: WorkflowPlan, ids: Mapping[str, str]) -> Iterator[str]:
    for id, job in workflow.jobs.items():
        label = _escaped(f"{id}: {_does(job)}" if _does(job) != id else id)
        yield f'{ids[id]}{{"{label}"}}' if isinstance(job, Router) else f'{ids[id]}["{label}"]'
    for id, job in workflow.jobs.items():
        for need in sorted(job.feeds_from - job.flows):
            yield f"{ids[need]} --> {ids[id]}"
        for need in sorted(job.flows):
            yield f"{ids[need]} ==> {ids[id]}"
        for router in sorted(job.routed_by):
            yield f"{ids[router]} -.-> {ids[id]}"


def _escaped(label: str) -> str:
    """Return a label that can't end its quotes, nor be taken for Mermaid's own characters."""
    return " ".join(label.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").split())
