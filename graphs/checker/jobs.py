"""Check one job: its tree in, a Draft out — its keys, the names it uses, what it reads, where it leads."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from typing import Any

from graphs.checker import bindings
from graphs.checker.bindings import Visible
from graphs.checker.calls import check_call, check_given
from graphs.checker.drafts import Draft, Surroundings, listed, node_at, node_text, routes
from graphs.document import job_types
from graphs.language import references
from graphs.language.nodes import Reference, Text
from graphs.source import Bound, MappingNode, Mistakes, Node, Span
from graphs.suggest import did_you_mean
from graphs.units import duration, moment, zone
from graphs.validation import describe, nearest_key, to_data, unknown_key, validate, without_secrets


def check_job(node: MappingNode, id: str, what: str, around: Surroundings, mistakes: Mistakes) -> Draft | None:
    """Return the job's draft, or None when nothing more can be said about it."""
    before = len(mistakes.found)
    model = _job_model(node, what, mistakes)
    spec = _validated(node, model, what, mistakes) if model is not None else None
    well = len(mistakes.found) == before
    _check_scopes(node, what, id, around, mistakes, typed=model is not None)
    if spec is None:
        return None
    draft = Draft(id, node, spec, what)
    if len(mistakes.found) == before:
        _report_fixed_conditions(node, mistakes)
    _report_misfits(node, spec, mistakes)
    _check_neighbours(draft, around, mistakes)
    do = node.get("do")
    if isinstance(spec, job_types.CallJob):
        check_call(draft, node, spec.action, around, mistakes)
    elif isinstance(spec, job_types.ForEachJob) and isinstance(do, MappingNode):
        check_call(draft, do, spec.do.action, around, mistakes)
    if well:
        check_given(draft, mistakes)
    return draft


def _check_neighbours(draft: Draft, around: Surroundings, mistakes: Mistakes) -> None:
    """Note the jobs that this one reads and leads to; report unknown ones."""
    node = draft.node
    for bound, reference in _reads(node):
        draft.reads.setdefault(str(reference.path[0]), []).append((bound.scalar, reference.at))
    for name in draft.spec.depends_on:
        _is_known_job(name, span_of(node.get("depends_on"), name) or node.span, draft, "depends on", around, mistakes)
    for route in routes(node, draft.spec):
        if _is_known_job(route.to, route.span, draft, "leads to", around, mistakes):
            draft.routes.append(route)


# --- its keys -----------------------------------------------------------------------------------------------------------


def _job_model(node: MappingNode, what: str, mistakes: Mistakes) -> type[job_types.JobBase] | None:
    given = node.get("type")
    if given is None:
        return job_types.CallJob
    kind, types = node_text(node, "type"), f"Types of jobs: {', '.join(job_types.JOBS)}."
    if kind in job_types.JOBS:
        return job_types.JOBS[kind]
    if kind:
        mistakes.add(given, f"unknown type {describe(given)} of {what}", did_you_mean(kind, job_types.JOBS, types))
    else:
        mistakes.add(given, f"expected a type, got {describe(given)} in {what}", types)
    return None


def _validated(
    node: MappingNode, model: type[job_types.JobBase], what: str, mistakes: Mistakes
) -> job_types.JobBase | None:
    """Return the job's keys as its type has them; an output of a router, which has none, is reported and left out."""
    entry = node.entries.get("output")
    if entry is not None and "output" not in model.model_fields:
        mistakes.add(entry, f"{what} is a router and has no output", "write `output` on the jobs it leads to")
        node = node.having({key: each for key, each in node.entries.items() if key != "output"})
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
        mistakes.add(entry, f"{what} is a router: no output can replace its choice", "write `on_error: {to: job-id}`")


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


# --- the names it uses --------------------------------------------------------------------------------------------------

JOB_NAMES = frozenset({"input", "jobs", "run", "session"})
ITEM = ("item", "index")
SEEING = job_types.JOB_KEYS - {"component", "type", "id"}
"""Keys that may hold bindings: the others are reported when they are unknown or no plain text."""


def _check_scopes(
    node: MappingNode, what: str, id: str, around: Surroundings, mistakes: Mistakes, *, typed: bool
) -> None:
    """Report every binding that names what it can't see. A job whose type is unknown may be a for-each."""
    unsure = () if typed else ITEM
    for part, called, more in _scopes(node, what):
        names = JOB_NAMES | {*more, *unsure}
        visible = Visible(called, names, frozenset({"output"} & {*more}), around.jobs, around.routers, id)
        bindings.check_names(part, visible, mistakes)


def _scopes(node: MappingNode, what: str) -> Iterator[tuple[Node | None, str, tuple[str, ...]]]:
    """Yield the parts of a job, each with what messages call it and the names that only it can see."""
    for key, entry in node.entries.items():
        match key:
            case "output":
                yield entry.node, f"the output of {what}", ("output",)
            case "on_error":
                yield entry.node, f"on_error of {what}", ("error",)
            case "do" if entry.node.kind == "mapping":
                for inner in ("action", "input"):
                    yield entry.node.get(inner), f"the `do` of {what}", ITEM
                yield entry.node.get("output"), f"the output of the `do` of {what}", (*ITEM, "output")
            case "do":  # reported as no mapping; every name of a `do` is one that its author knows
                yield entry.node, f"the `do` of {what}", (*ITEM, "output")
            case _ if key in SEEING:
                yield entry.node, what, ()
            case _:
                continue


def _reads(node: MappingNode) -> Iterator[tuple[Bound, Reference]]:
    """Yield the references of a job's bindings to jobs."""
    for key, entry in node.entries.items():
        if key == "component":
            continue
        for bound in bindings.bounds(entry.node):
            for reference in references(bound.template):
                if reference.name == "jobs" and reference.path:
                    yield bound, reference


def _is_known_job(name: str, span: Span, draft: Draft, verb: str, around: Surroundings, mistakes: Mistakes) -> bool:
    """Return whether a job that this one names exists and is another one."""
    path = draft.node.path
    if name == draft.id:
        mistakes.add(span, f"{draft.what} {verb} itself", "name another job", path)
        return False
    if around.jobs is None or name in around.jobs:
        return True
    hint = did_you_mean(name, around.jobs, f"Jobs: {', '.join(around.jobs)}.")
    mistakes.add(span, f"{draft.what} {verb} unknown job '{name}'", hint, path)
    return False


def span_of(node: Node | None, value: str) -> Span | None:
    """Return where a name is written in a value, or in a list of them."""
    if node is None:
        return None
    if node.kind == "list":
        return next((item.span for item in node.items if item.kind == "scalar" and item.value == value), node.span)
    return node.span


# --- values that no run could use ---------------------------------------------------------------------------------------

SWITCHES = ("", "true", "false", "yes", "no", "on", "off", "0", "1")
"""Texts that a condition may be: they read as true or false."""

DELAYS: Mapping[str, Callable[[Any], object]] = {"duration": duration, "time": moment, "timezone": zone}
"""How a delay's values are read."""


def _report_fixed_conditions(node: MappingNode, mistakes: Mistakes) -> None:
    """Report conditions that are text with no binding for their whole: they would always be true."""
    for condition in (node.get("condition"), *(node_at(each, "condition") for each in listed(node, "conditions"))):
        if condition is None:
            continue
        template = bindings.to_template(condition)
        if isinstance(template, Text) and any(isinstance(part, str) and part.strip() for part in template.parts):
            message = "this condition is always true: it is text with a binding in it"
            mistakes.add(condition, message, "put the comparison inside the binding: ${input.name == 'value'}")
        elif condition.kind == "scalar" and isinstance(condition.value, str) and condition.value not in SWITCHES:
            mistakes.add(condition, "this condition is plain text, which is always true", "write it as a binding: ${…}")


def _report_misfits(node: MappingNode, spec: job_types.JobBase, mistakes: Mistakes) -> None:
    """Report a delay that is no duration or time, and items that are no list."""
    if isinstance(spec, job_types.DelayJob):
        for key in DELAYS.keys() & spec.model_fields_set:
            _report_unreadable(node.entries[key].node, DELAYS[key], mistakes)
    elif isinstance(spec, job_types.ForEachJob):
        _report_no_list(node.entries["input"].node, mistakes)


def _report_unreadable(node: Node, read: Callable[[Any], object], mistakes: Mistakes) -> None:
    value = to_data(node)
    try:
        if node.kind != "bound" and value is not None:
            read(value)
    except ValueError as error:
        said, _, hint = without_secrets(str(error), node).rpartition("; ")
        mistakes.add(node, said, hint)


def _report_no_list(node: Node, mistakes: Mistakes) -> None:
    if node.kind == "bound" and isinstance(node.template, Text):
        hint = "make the binding the whole of it, as in `input: ${input.items}`"
        mistakes.add(node, "expected a list of items, got text with a binding in it", hint)
    elif node.kind in ("scalar", "mapping"):
        mistakes.add(node, f"expected a list of items, got {describe(node)}", "write `[…]`, or one `- …` line for each")
