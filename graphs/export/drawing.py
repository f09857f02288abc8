"""Draw a plan, as text and as Mermaid: the DAG of each workflow, and where each component runs."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from graphlib import TopologicalSorter
from pathlib import Path

from graphs.plan import (
    DEFAULT_CPUS,
    CallJob,
    ComponentPlan,
    ForEachJob,
    Job,
    Options,
    Plan,
    Router,
    Store,
    WorkflowPlan,
)


def text(plan: Plan) -> str:
    """Return every workflow, a job a line, each with what it calls and what it waits for; then the components, and where runs are kept."""
    parts = [_lines(workflow, plan) for workflow in plan.workflows.values()]
    return "\n\n".join(
        "\n".join(part)
        for part in [*parts, *([_table(plan)] if plan.components else []), [_kept(plan.controller.store)]]
    )


def mermaid(plan: Plan) -> str:
    """Return one Mermaid flowchart, a subgraph for each workflow and one for the components; dotted arrows are choices."""
    lines = ["flowchart TD"]
    for number, workflow in enumerate(plan.workflows.values()):
        lines.append(f'  subgraph w{number}["{_escaped(workflow.title or workflow.id)}"]')
        ids = {id: f"w{number}_{index}" for index, id in enumerate(workflow.jobs)}
        lines += [f"    {each}" for each in _mermaid_jobs(workflow, ids)]
        lines.append("  end")
    return "\n".join([*lines, *(_mermaid_components(plan) if plan.components else ())])


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


def _table(plan: Plan) -> Iterator[str]:
    yield "Components:"
    ids = max(map(len, plan.components))
    types = max(len(each.type) for each in plan.components.values())
    for id, each in plan.components.items():
        yield f"  {id:{ids}}  {each.type:{types}}  {_place(each, plan)}"


def _mermaid_components(plan: Plan) -> Iterator[str]:
    """Yield a subgraph of the components; those in the ingress stand in one of their own."""
    numbered = list(enumerate(plan.components.values()))
    placed = [(number, each) for number, each in numbered if each.placement == "ingress"]
    yield '  subgraph c["Components"]'
    if placed:
        yield f'    subgraph ingress["{_place(placed[0][1], plan)}"]'
        yield from (f'      c{number}["{_escaped(f"{each.id}: {each.type}")}"]' for number, each in placed)
        yield "    end"
    for number, each in numbered:
        if each.placement != "ingress":
            yield f'    c{number}["{_escaped(f"{each.id}: {each.type}, {_place(each, plan)}")}"]'
    yield "  end"


def _place(component: ComponentPlan, plan: Plan) -> str:
    """Return where a component runs, on how many replicas, and what each of them takes."""
    if component.type == "workflow":
        return "inside the run that calls it"
    if component.placement == "ingress":
        return ", ".join(["in the ingress", *_replicas(plan.controller.options)])
    replicas, taken = _replicas(component.options), _taken(component.options)
    each = ["each with " + ", ".join(taken)] if replicas and taken else taken
    return ", ".join(["own deployment", *replicas, *each])


def _kept(store: Store) -> str:
    """Return which runs are kept and where: without user, password and options, which may be secret."""
    if store.file is None:
        scheme, _, rest = (store.url or "").partition("://")
        where = f"{scheme}://{rest.partition('?')[0].rpartition('@')[2]}"
    else:
        file, here = Path(store.file), Path.cwd()
        where = str(file.relative_to(here) if file.is_relative_to(here) else file)
    return f"{'All runs' if store.record == 'all' else 'Runs that ask for it'} are kept in {where}"


def _replicas(options: Options) -> list[str]:
    """Return how many replicas there are, unless it is one."""
    if options.autoscaling is not None:
        return [f"{options.autoscaling.get('min', 1)} to {options.autoscaling.get('max', 1)} replicas"]
    return [f"{options.replicas} replicas"] if (options.replicas or 1) > 1 else []


def _taken(options: Options) -> list[str]:
    """Return what the document asks for each replica."""
    gpus = _counted(options.num_gpus, "GPU")
    kind = options.accelerator_type
    cpus = _counted(options.num_cpus, "CPU") if options.num_cpus != DEFAULT_CPUS else None
    memory = f"{options.memory / 2**30:.3g} GiB of memory" if options.memory else None
    return [part for part in (f"{gpus} ({kind})" if gpus and kind else gpus or kind, cpus, memory) if part]


def _counted(amount: float | None, name: str) -> str | None:
    return f"{amount:g} {name}{'s' * (amount != 1)}" if amount else None


def _escaped(label: str) -> str:
    """Return a label that can't end its quotes, nor be taken for Mermaid's own characters."""
    return " ".join(label.replace("#", "#35;").replace('"', "#quot;").replace("<", "#lt;").split())
