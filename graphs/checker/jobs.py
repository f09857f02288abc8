"""Check one job: its tree in, a Draft out — its spec, what it reads, where it leads, and the call it makes."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphs import document
from graphs.checker import bindings
from graphs.checker.bindings import Visible
from graphs.checker.components import CheckedComponent
from graphs.checker.routes import Route, listed, node_at, node_text, routes
from graphs.language import parse, references
from graphs.language.nodes import Template, Text
from graphs.plan import Call, ComponentCall, WorkflowCall
from graphs.source import MappingNode, Mistakes, Node, Span
from graphs.suggest import closest
from graphs.units import duration, moment, zone
from graphs.validation import describe, nearest_key, to_data, unknown_key, validate, without_secrets

JOB_NAMES = frozenset({"input", "jobs", "run", "session"})


@dataclass
class Draft:
    """A job between Spec and Plan."""

    id: str
    node: MappingNode
    spec: document.JobBase
    what: str
    call: Call | None = None
    called: CheckedComponent | None = None
    reads: dict[str, Span] = field(default_factory=dict[str, Span])
    """Jobs its bindings reference."""
    routes: list[Route] = field(default_factory=list[Route])
    items: Template | None = None
    well: bool = True
    """Whether its keys are all as they should be."""

    def template(self, *path: str) -> Template | None:
        """Return the compiled value at a path of keys."""
        return bindings.to_template(node_at(self.node, *path))


@dataclass(frozen=True)
class Surroundings:
    """What a job is checked against."""

    workflow: str
    components: Mapping[str, CheckedComponent]
    inline: Mapping[int, str]
    """Ids of components written inside jobs, by the identity of their tree."""
    default_component: str | None
    default_hidden: bool
    """Whether a mistake hides which component is the default."""
    named_components: tuple[str, ...] | None
    """None when a mistake hides which there are."""
    workflows: tuple[str, ...]
    default_workflow: str | None
    jobs: tuple[str, ...] | None
    """None when a mistake hides which there are."""
    routers: frozenset[str]


def check_job(node: MappingNode, id: str, what: str, around: Surroundings, mistakes: Mistakes) -> Draft | None:
    """Return the job's draft, or None when nothing more can be said about it."""
    before = len(mistakes.found)
    model = _model(node, what, mistakes)
    valid = _validated(node, model, what, mistakes) if model is not None else None
    well = len(mistakes.found) == before
    _check_scopes(node, what, id, around, mistakes)
    if valid is None:
        return None
    draft = Draft(id, node, valid, what, well=well)
    if len(mistakes.found) == before:
        _report_fixed_conditions(node, mistakes)
    draft.reads = dict(_reads(node))
    for name in valid.depends_on:
        _known_job(name, node_at(node, "depends_on"), draft, around, mistakes, "depends on")
    _report_misfits(node, valid, mistakes)
    found = routes(node, valid)
    draft.routes = [each for each in found if _known_job(each.to, each.span, draft, around, mistakes, "leads to")]
    match valid:
        case document.CallJob():
            _check_call(draft, node, valid.action, around, mistakes)
        case document.ForEachJob():
            do = node_at(node, "do")
            if isinstance(do, MappingNode):
                _check_call(draft, do, valid.do.action, around, mistakes)
            draft.items = draft.template("input")
        case _:
            pass
    return draft


def _validated(
    node: MappingNode, model: type[document.JobBase], what: str, mistakes: Mistakes
) -> document.JobBase | None:
    """Return the job's keys as its type has them; an output of a router, which has none, is told and left out."""
    entry = node.entries.get("output")
    if entry is not None and "output" not in model.model_fields:
        hint = "write `output` on the jobs it leads to"
        mistakes.add(entry.key_span, f"{what} only chooses and has no output", hint, entry.node.path)
        node = MappingNode({key: each for key, each in node.entries.items() if key != "output"}, node.span, node.path)
    if not issubclass(model, document.GivingJob):
        _report_stand_in(node, what, mistakes)
    if "type" not in node.entries and _report_typeless(node, what, mistakes):
        return None
    known = () if model is document.CallJob else ("type",)
    place = f"{what} ({node_text(node, 'type') or 'component'})"
    return validate(model, node, mistakes, place, known=known, salvage=True)


def _report_stand_in(node: MappingNode, what: str, mistakes: Mistakes) -> None:
    """Tell an output that is to stand in for a router's, which has none."""
    on_error = node.get("on_error")
    if on_error is not None and on_error.kind == "mapping" and on_error.entries.keys() == {"output"}:
        entry = on_error.entries["output"]
        message = f"{what} only chooses, and no output can stand in for its choice"
        mistakes.add(entry.key_span, message, "write `on_error: {to: job-id}`", entry.node.path)


def _report_typeless(node: MappingNode, what: str, mistakes: Mistakes) -> bool:
    """Tell a job whose type is misspelt, or left out when its keys are another type's; whether it is one."""
    for key, entry in node.entries.items():
        if key not in document.JOB_KEYS and nearest_key(key, document.JOB_KEYS) == "type":
            unknown_key(key, entry.key_span, entry.node.path, what, ("type",), mistakes)
            return True
    foreign = [entry for key, entry in node.entries.items() if key not in document.CallJob.model_fields]
    types = [kind for kind, model in document.JOBS.items() if all(each.key in model.model_fields for each in foreign)]
    if not foreign or not types:
        return False
    message = f"'{foreign[0].key}' is for jobs of type {' or '.join(types)}, and {what} has no type"
    mistakes.add(foreign[0].key_span, message, f"write `type: {types[0]}`", foreign[0].node.path)
    return True


def _report_fixed_conditions(node: MappingNode, mistakes: Mistakes) -> None:
    """Tell conditions that are text with no binding for their whole: they would always be true."""
    for condition in (node.get("condition"), *(node_at(each, "condition") for each in listed(node, "conditions"))):
        if condition is None:
            continue
        template = bindings.to_template(condition)
        if isinstance(template, Text) and any(isinstance(part, str) and part.strip() for part in template.parts):
            message = "this condition is always true: it is text with a binding in it"
            hint = "put the comparison inside the binding: ${input.name == 'value'}"
            mistakes.add(condition.span, message, hint, condition.path)
        elif condition.kind == "scalar" and isinstance(condition.value, str) and condition.value not in SWITCHES:
            message, hint = "this condition is plain text, which is always true", "write it as a binding: ${…}"
            mistakes.add(condition.span, message, hint, condition.path)


def _report_misfits(node: MappingNode, valid: document.JobBase, mistakes: Mistakes) -> None:
    """Tell values that are written out and no run could use."""
    match valid:
        case document.DelayJob():
            for key, read in DELAYS.items():
                if key in valid.model_fields_set:
                    _report_unreadable(node.entries[key].node, read, mistakes)
        case document.ForEachJob():
            _report_no_list(node.entries["input"].node, mistakes)
        case _:
            pass


DELAYS: Mapping[str, Callable[[Any], object]] = {"duration": duration, "time": moment, "timezone": zone}
"""How a delay's values are read."""


def _report_unreadable(node: Node, read: Callable[[Any], object], mistakes: Mistakes) -> None:
    value = to_data(node)
    try:
        if node.kind != "bound" and value is not None:
            read(value)
    except ValueError as error:
        said, _, hint = without_secrets(str(error), node).rpartition("; ")
        mistakes.add(node.span, said, hint, node.path)


def _report_no_list(node: Node, mistakes: Mistakes) -> None:
    if node.kind == "bound" and isinstance(node.template, Text):
        hint = "make the binding the whole of it, as in `input: ${input.items}`"
        mistakes.add(node.span, "expected a list of items, got text with a binding in it", hint, node.path)
    elif node.kind in ("scalar", "mapping"):
        hint = "write `[…]`, or one `- …` line for each"
        mistakes.add(node.span, f"expected a list of items, got {describe(node)}", hint, node.path)


SWITCHES = ("", "true", "false", "yes", "no", "on", "off", "0", "1")
"""Texts that a condition may be: they read as true or false."""


def _model(node: MappingNode, what: str, mistakes: Mistakes) -> type[document.JobBase] | None:
    given = node.get("type")
    if given is None:
        return document.CallJob
    kind = node_text(node, "type")
    if kind in document.JOBS:
        return document.JOBS[kind]
    near = closest(kind, document.JOBS) if kind else None
    hint = f"did you mean '{near}'? " if near else ""
    said = "unknown type" if kind else "expected a type, got"
    mistakes.add(
        given.span,
        f"{said} {describe(given)} of {what}" if kind else f"{said} {describe(given)} in {what}",
        f"{hint}Types of jobs: {', '.join(document.JOBS)}.",
        given.path,
    )
    return None


def _check_scopes(node: MappingNode, what: str, id: str, around: Surroundings, mistakes: Mistakes) -> None:
    def see(node: Node | None, what: str, *more: str, chunked: tuple[str, ...] = ()) -> None:
        names = JOB_NAMES | set(more)
        visible = Visible(what, names, frozenset(chunked), around.jobs, around.routers, id)
        bindings.check_names(node, visible, mistakes)

    for key, entry in node.entries.items():
        match key:
            case _ if key not in document.JOB_KEYS:
                continue  # told as unknown
            case "output":
                see(entry.node, f"the output of {what}", "output", chunked=("output",))
            case "on_error":
                see(entry.node, f"on_error of {what}", "error")
            case "component" | "type" | "id":
                continue  # told when they are no plain text
            case "do" if entry.node.kind == "mapping":
                _check_do_scopes(entry.node, what, see)
            case _:
                see(entry.node, what)


def _check_do_scopes(do: Node, what: str, see: Any) -> None:
    for key in ("action", "input"):
        see(node_at(do, key), f"the `do` of {what}", "item", "index")
    see(node_at(do, "output"), f"the output of the `do` of {what}", "item", "index", "output", chunked=("output",))


def _reads(node: MappingNode) -> Iterator[tuple[str, Span]]:
    for key, entry in node.entries.items():
        if key == "component":
            continue
        for bound in bindings.bounds(entry.node):
            for reference in references(bound.template):
                if reference.name == "jobs" and reference.path:
                    yield str(reference.path[0]), bindings.span_in(bound.scalar, reference.at)


def _known_job(
    name: str, where: Node | Span | None, draft: Draft, around: Surroundings, mistakes: Mistakes, verb: str
) -> bool:
    span = where if isinstance(where, Span) else span_of(where, name) or draft.node.span
    if name == draft.id:
        mistakes.add(span, f"{draft.what} {verb} itself", "name another job", draft.node.path)
        return False
    if around.jobs is None or name in around.jobs:
        return True
    near = closest(name, around.jobs)
    listed = f"Jobs: {', '.join(around.jobs)}."
    hint = f"did you mean '{near}'? {listed}" if near else listed
    mistakes.add(span, f"{draft.what} {verb} unknown job '{name}'", hint, draft.node.path)
    return False


def span_of(node: Node | None, value: str) -> Span | None:
    """Return where a name is written in a value, or in a list of them."""
    if node is None:
        return None
    if node.kind == "list":
        return next((item.span for item in node.items if item.kind == "scalar" and item.value == value), node.span)
    return node.span


def _check_call(draft: Draft, node: MappingNode, action: str | None, around: Surroundings, mistakes: Mistakes) -> None:
    component = _component(node, draft, around, mistakes)
    if component is None:
        return
    draft.called = component
    chosen = component.action(action)
    id = component.plan.id
    if chosen is None:
        _report_action(draft, node, action, component, mistakes)
        return
    given = bindings.to_template(node.get("input")) or _passed_on(draft)
    if component.plan.type != "workflow":
        draft.call = ComponentCall(id, chosen.id, given)
        return
    workflow = component.plan.config.get("workflow") or around.default_workflow
    if isinstance(workflow, str) and workflow in around.workflows:
        inner = bindings.fields_of(chosen.input) or {}
        draft.call = WorkflowCall(id, workflow, given, inner.get("input", parse("${input}")), chosen.output)


def _report_action(
    draft: Draft, node: MappingNode, action: str | None, component: CheckedComponent, mistakes: Mistakes
) -> None:
    if not draft.well or not component.well:
        return
    given, actions = node_at(node, "action"), component.plan.actions
    listed = f"Actions: {', '.join(actions)}."
    if action is None:
        message = f"{draft.what} doesn't say which action of component '{component.plan.id}' it calls"
        mistakes.add(
            (given or node).span,
            message,
            f"write `action:` with one of {', '.join(actions)}, or mark one `default: true`",
            node.path,
        )
        return
    near = closest(action, actions)
    message = f"component '{component.plan.id}' has no action '{action}'"
    mistakes.add((given or node).span, message, f"did you mean '{near}'? {listed}" if near else listed, node.path)


def _passed_on(draft: Draft) -> Template:
    """A job without input hands on the workflow's, a for-each the item."""
    return parse("${item}" if isinstance(draft.spec, document.ForEachJob) else "${input}")


def _component(node: MappingNode, draft: Draft, around: Surroundings, mistakes: Mistakes) -> CheckedComponent | None:
    given = node.get("component")
    if given is None or (given.kind == "scalar" and given.value is None):
        if around.default_component is not None:
            return around.components.get(around.default_component)
        _report_no_component(given or node, draft, around, mistakes)
        return None
    if given.kind == "mapping":
        return around.components.get(around.inline.get(id_of(given), ""))
    if given.kind != "scalar" or not isinstance(given.value, str):
        expected = f"expected the id of a component, got {describe(given)}"
        mistakes.add(given.span, expected, "write `component: id`", given.path)
        return None
    if around.named_components is not None and given.value not in around.named_components:
        near = closest(given.value, around.named_components)
        listed = f"Components: {', '.join(around.named_components) or 'none'}."
        hint = f"did you mean '{near}'? {listed}" if near else listed
        mistakes.add(given.span, f"{draft.what} calls unknown component '{given.value}'", hint, given.path)
        return None
    return around.components.get(given.value)


def _report_no_component(node: Node, draft: Draft, around: Surroundings, mistakes: Mistakes) -> None:
    if around.named_components is None or around.default_hidden or not draft.well:
        return
    if not around.named_components:
        message, hint = f"{draft.what} names no component, and the document has none", "write `component:` with a type"
    else:
        message = f"{draft.what} names no component, and there are several"
        one = f"one of {', '.join(around.named_components)}"
        hint = f"write `component:` with {one}, or mark one `default: true`"
    mistakes.add(node.span, message, hint, node.path)


id_of = id
"""The identity of a tree: two inline components may be written alike."""
