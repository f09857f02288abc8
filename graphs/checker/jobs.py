"""Check one job: its tree in, a Draft out — its keys, what it reads, where it leads, and the call it makes."""

from __future__ import annotations

from graphs.checker.drafts import Draft, Surroundings
from graphs.checker.job_calls import check_call
from graphs.checker.job_keys import job_model, validated
from graphs.checker.job_names import check_scopes, is_known_job, reads, span_of
from graphs.checker.job_values import report_fixed_conditions, report_misfits
from graphs.checker.routes import node_at, routes
from graphs.document import job_types
from graphs.source import MappingNode, Mistakes


def check_job(node: MappingNode, id: str, what: str, around: Surroundings, mistakes: Mistakes) -> Draft | None:
    """Return the job's draft, or None when nothing more can be said about it."""
    before = len(mistakes.found)
    model = job_model(node, what, mistakes)
    spec = validated(node, model, what, mistakes) if model is not None else None
    well = len(mistakes.found) == before
    check_scopes(node, what, id, around, mistakes, typed=model is not None)
    if spec is None:
        return None
    draft = Draft(id, node, spec, what, well=well)
    if len(mistakes.found) == before:
        report_fixed_conditions(node, mistakes)
    report_misfits(node, spec, mistakes)
    _check_neighbours(draft, around, mistakes)
    match spec:
        case job_types.CallJob():
            check_call(draft, node, spec.action, around, mistakes)
        case job_types.ForEachJob():
            do = node_at(node, "do")
            if isinstance(do, MappingNode):
                check_call(draft, do, spec.do.action, around, mistakes)
            draft.items = draft.template("input")
        case _:
            pass
    return draft


def _check_neighbours(draft: Draft, around: Surroundings, mistakes: Mistakes) -> None:
    """Note the jobs that this one reads and leads to; report unknown ones."""
    node = draft.node
    draft.reads = dict(reads(node))
    for name in draft.spec.depends_on:
        span = span_of(node.get("depends_on"), name) or node.span
        is_known_job(name, span, draft, "depends on", around, mistakes)
    for route in routes(node, draft.spec):
        if is_known_job(route.to, route.span, draft, "leads to", around, mistakes):
            draft.routes.append(route)
