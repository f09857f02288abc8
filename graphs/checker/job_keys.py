"""A job's keys against those of its type: the tree of a job in, its document model out."""

from __future__ import annotations

from graphs.checker.routes import node_text
from graphs.document import job_types
from graphs.source import MappingNode, Mistakes
from graphs.suggest import did_you_mean
from graphs.validation import describe, nearest_key, unknown_key, validate


def job_model(node: MappingNode, what: str, mistakes: Mistakes) -> type[job_types.JobBase] | None:
    """Return the model of the job's type; None for an unknown type."""
    given = node.get("type")
    if given is None:
        return job_types.CallJob
    kind, types = node_text(node, "type"), f"Types of jobs: {', '.join(job_types.JOBS)}."
    if kind in job_types.JOBS:
        return job_types.JOBS[kind]
    if kind:
        hint = did_you_mean(kind, job_types.JOBS, types)
        mistakes.add(given, f"unknown type {describe(given)} of {what}", hint)
    else:
        mistakes.add(given, f"expected a type, got {describe(given)} in {what}", types)
    return None


def validated(
    node: MappingNode, model: type[job_types.JobBase], what: str, mistakes: Mistakes
) -> job_types.JobBase | None:
    """Return the job's keys as its type has them; an output of a router, which has none, is reported and left out."""
    entry = node.entries.get("output")
    if entry is not None and "output" not in model.model_fields:
        hint = "write `output` on the jobs it leads to"
        mistakes.add(entry, f"{what} is a router and has no output", hint)
        node = MappingNode({key: each for key, each in node.entries.items() if key != "output"}, node.span, node.path)
    if not issubclass(model, job_types.GivingJob):
        _report_stand_in(node, what, mistakes)
    if "type" not in node.entries and _report_typeless(node, what, mistakes):
        return None
    known = () if model is job_types.CallJob else ("type",)
    place = f"{what} ({node_text(node, 'type') or 'component'})"
    return validate(model, node, mistakes, place, known=known, salvage=True)


def _report_stand_in(node: MappingNode, what: str, mistakes: Mistakes) -> None:
    """Report an output that is to stand in for a router's, which has none."""
    on_error = node.get("on_error")
    if on_error is not None and on_error.kind == "mapping" and on_error.entries.keys() == {"output"}:
        entry = on_error.entries["output"]
        message = f"{what} is a router: no output can replace its choice"
        mistakes.add(entry, message, "write `on_error: {to: job-id}`")


def _report_typeless(node: MappingNode, what: str, mistakes: Mistakes) -> bool:
    """Report a type that is misspelt, or left out where the keys are another type's; return whether it is one."""
    for key in node.entries:
        if key not in job_types.JOB_KEYS and nearest_key(key, job_types.JOB_KEYS) == "type":
            unknown_key(key, node, what, ("type",), mistakes)
            return True
    foreign = [entry for key, entry in node.entries.items() if key not in job_types.CallJob.model_fields]
    types = [kind for kind, model in job_types.JOBS.items() if all(each.key in model.model_fields for each in foreign)]
    if not foreign or not types:
        return False
    message = f"'{foreign[0].key}' is for jobs of type {' or '.join(types)}, and {what} has no type"
    mistakes.add(foreign[0], message, f"write `type: {types[0]}`")
    return True
