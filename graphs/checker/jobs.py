"""Check one job: its tree in, a Draft out — its spec, what it reads, where it leads, and the call it makes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from graphs import spec
from graphs.checker import bindings
from graphs.checker.bindings import Visible
from graphs.checker.components import CheckedComponent
from graphs.language import parse, references, truth
from graphs.language.nodes import Constant, Template
from graphs.plan import Call, ComponentCall, WorkflowCall
from graphs.source import Mapping as MappingNode
from graphs.source import Mistakes, Node, Span
from graphs.suggest import closest
from graphs.validation import describe, validate

JOB_NAMES = frozenset({"input", "jobs", "run", "session"})


@dataclass(frozen=True)
class Route:
    """A place in a job that leads to another: a router's target, or on_error.to."""

    to: str
    span: Span
    dead: bool = False
    """It can never be taken."""


@dataclass
class Draft:
    """A job between Spec and Plan."""

    id: str
    node: MappingNode
    spec: spec.JobBase
    what: str
    call: Call | None = None
    called: CheckedComponent | None = None
    reads: dict[str, Span] = field(default_factory=dict[str, Span])
    """Jobs its bindings reference."""
    routes: list[Route] = field(default_factory=list[Route])
    items: Template | None = None

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
    named_components: tuple[str, ...]
    workflows: tuple[str, ...]
    jobs: tuple[str, ...]


def check_job(node: MappingNode, id: str, around: Surroundings, mistakes: Mistakes) -> Draft | None:
    """Return the job's draft, or None when nothing more can be said about it."""
    what = f"job '{id}'"
    model = _model(node, what, mistakes)
    if model is None:
        return None
    valid = validate(model, node, mistakes, f"{what} ({model.model_fields['type'].default or node_text(node, 'type')})")
    if valid is None:
        return None
    draft = Draft(id, node, valid, what)
    _check_scopes(draft, around, mistakes)
    draft.reads = dict(_reads(node))
    for name in valid.depends_on:
        _known_job(name, node_at(node, "depends_on"), draft, around, mistakes, "depends on")
    draft.routes = [
        route for route in _routes(draft) if _known_job(route.to, route.span, draft, around, mistakes, "leads to")
    ]
    match valid:
        case spec.CallJob():
            _check_call(draft, node, valid.action, around, mistakes)
        case spec.ForEachJob():
            do = node_at(node, "do")
            if isinstance(do, MappingNode):
                _check_call(draft, do, valid.do.action, around, mistakes)
            draft.items = draft.template("input")
        case _:
            pass
    return draft


def _model(node: MappingNode, what: str, mistakes: Mistakes) -> type[spec.JobBase] | None:
    given = node.get("type")
    if given is None:
        return spec.CallJob
    kind = node_text(node, "type")
    if kind in spec.JOBS:
        return spec.JOBS[kind]
    near = closest(kind, spec.JOBS) if kind else None
    hint = f"did you mean '{near}'? " if near else ""
    mistakes.add(
        given.span,
        f"unknown type {describe(given)} of {what}",
        f"{hint}Types of jobs: {', '.join(spec.JOBS)}.",
        given.path,
    )
    return None


def node_at(node: Node | None, *path: str) -> Node | None:
    for key in path:
        if not isinstance(node, MappingNode):
            return None
        node = node.get(key)
    return node


def node_text(node: MappingNode, key: str) -> str | None:
    value = node.get(key)
    return value.value if value is not None and value.kind == "scalar" and isinstance(value.value, str) else None


def _check_scopes(draft: Draft, around: Surroundings, mistakes: Mistakes) -> None:
    def see(node: Node | None, what: str, *more: str, chunked: tuple[str, ...] = ()) -> None:
        names = JOB_NAMES | set(more)
        visible = Visible(what, names, frozenset(chunked), around.jobs, draft.id)
        bindings.check_names(node, visible, mistakes)

    for key, entry in draft.node.entries.items():
        match key:
            case "output":
                see(entry.node, f"the output of {draft.what}", "output", chunked=("output",))
            case "on_error":
                see(entry.node, f"on_error of {draft.what}", "error")
            case "component" if entry.node.kind == "mapping":
                continue
            case "do":
                _check_do_scopes(entry.node, draft, see)
            case _:
                see(entry.node, draft.what)


def _check_do_scopes(do: Node, draft: Draft, see: Any) -> None:
    for key in ("action", "input"):
        see(node_at(do, key), f"the `do` of {draft.what}", "item", "index")
    see(
        node_at(do, "output"), f"the output of the `do` of {draft.what}", "item", "index", "output", chunked=("output",)
    )


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
    span = where if isinstance(where, Span) else _span_of(where, name) or draft.node.span
    if name == draft.id:
        mistakes.add(span, f"{draft.what} {verb} itself", "name another job", draft.node.path)
        return False
    if name in around.jobs:
        return True
    near = closest(name, around.jobs)
    listed = f"Jobs: {', '.join(around.jobs)}."
    mistakes.add(
        span,
        f"{draft.what} {verb} unknown job '{name}'",
        f"did you mean '{near}'? {listed}" if near else listed,
        draft.node.path,
    )
    return False


def _span_of(node: Node | None, value: str) -> Span | None:
    if node is None:
        return None
    if node.kind == "list":
        return next((item.span for item in node.items if item.kind == "scalar" and item.value == value), node.span)
    return node.span


def _routes(draft: Draft) -> Iterator[Route]:
    """Yield where the job can lead; a way that can never be taken is marked dead."""
    node, valid = draft.node, draft.spec
    if valid.on_error is not None and valid.on_error.to is not None:
        yield Route(valid.on_error.to, _place(draft, "on_error", "to"))
    match valid:
        case spec.IfJob():
            yield from _if_routes(draft, valid)
        case spec.SwitchJob():
            seen: list[Any] = []
            for index, case in enumerate(valid.cases):
                fixed = bindings.to_template(_case(node, index, "value"))
                dead = isinstance(fixed, Constant) and any(
                    fixed.value == each and type(fixed.value) is type(each) for each in seen
                )
                if isinstance(fixed, Constant):
                    seen.append(fixed.value)
                yield Route(case.then, _case_span(draft, "cases", index, "then"), dead)
            if valid.otherwise is not None:
                yield Route(valid.otherwise, _place(draft, "otherwise"))
        case spec.RandomJob():
            for index, route in enumerate(valid.routings):
                yield Route(route.to, _case_span(draft, "routings", index, "to"), route.weight == 0)
        case _:
            return


def _if_routes(draft: Draft, valid: spec.IfJob) -> Iterator[Route]:
    if not valid.conditions:
        fixed = fixed_truth(draft.template("condition"))
        if valid.if_true is not None:
            yield Route(valid.if_true, _place(draft, "if_true"), fixed is False)
        if valid.if_false is not None:
            yield Route(valid.if_false, _place(draft, "if_false"), fixed is True)
        return
    decided = False
    for index, each in enumerate(valid.conditions):
        fixed = fixed_truth(bindings.to_template(_condition(draft.node, index)))
        yield Route(each.if_true, _case_span(draft, "conditions", index, "if_true"), decided or fixed is False)
        decided = decided or fixed is True
    if valid.otherwise is not None:
        yield Route(valid.otherwise, _place(draft, "otherwise"), decided)


def fixed_truth(template: Template | None) -> bool | None:
    """Return a condition's truth when no binding decides it."""
    return truth(template.value) if isinstance(template, Constant) else None


def _place(draft: Draft, *path: str) -> Span:
    node = node_at(draft.node, *path)
    return node.span if node else draft.node.span


def _listed(node: MappingNode, key: str, index: int) -> Node | None:
    many = node.get(key)
    return many.items[index] if many is not None and many.kind == "list" else None


def _case(node: MappingNode, index: int, key: str) -> Node | None:
    return node_at(_listed(node, "cases", index), key)


def _condition(node: MappingNode, index: int) -> Node | None:
    return node_at(_listed(node, "conditions", index), "condition")


def _case_span(draft: Draft, key: str, index: int, inner: str) -> Span:
    node = node_at(_listed(draft.node, key, index), inner)
    return node.span if node else draft.node.span


def _check_call(draft: Draft, node: MappingNode, action: str | None, around: Surroundings, mistakes: Mistakes) -> None:
    component = _component(node, draft, around, mistakes)
    if component is None:
        return
    draft.called = component
    chosen = component.action(action)
    id = component.plan.id
    if chosen is None:
        span = (node_at(node, "action") or node).span
        listed = f"Actions: {', '.join(component.plan.actions)}."
        if action is None:
            mistakes.add(
                span,
                f"{draft.what} doesn't say which action of component '{id}' it calls",
                f"write `action:`. {listed}",
                node.path,
            )
        else:
            near = closest(action, component.plan.actions)
            hint = f"did you mean '{near}'? {listed}" if near else listed
            mistakes.add(span, f"component '{id}' has no action '{action}'", hint, node.path)
        return
    given = bindings.to_template(node.get("input")) or _passed_on(draft)
    if component.plan.type != "workflow":
        draft.call = ComponentCall(id, chosen.id, given)
        return
    workflow = component.plan.config.get("workflow")
    if isinstance(workflow, str) and workflow in around.workflows:
        inner = bindings.fields_of(chosen.input) or {}
        draft.call = WorkflowCall(id, workflow, given, inner.get("input", parse("${input}")), chosen.output)


def _passed_on(draft: Draft) -> Template:
    """A job without input hands on the workflow's, a for-each the item."""
    return parse("${item}" if isinstance(draft.spec, spec.ForEachJob) else "${input}")


def _component(node: MappingNode, draft: Draft, around: Surroundings, mistakes: Mistakes) -> CheckedComponent | None:
    given = node.get("component")
    if given is None:
        if around.default_component is not None:
            return around.components.get(around.default_component)
        if around.named_components:
            mistakes.add(
                node.span,
                f"{draft.what} names no component, and there are several",
                f"write `component:` with one of {', '.join(around.named_components)}, or mark one `default: true`",
                node.path,
            )
        elif around.components:
            mistakes.add(node.span, f"{draft.what} names no component", "write `component:` with an id", node.path)
        return None
    if given.kind == "mapping":
        return around.components.get(around.inline.get(id_of(given), ""))
    if given.kind != "scalar" or not isinstance(given.value, str):
        mistakes.add(
            given.span, f"expected the id of a component, got {describe(given)}", "write `component: id`", given.path
        )
        return None
    if given.value not in around.named_components:
        near = closest(given.value, around.named_components)
        listed = f"Components: {', '.join(around.named_components)}."
        mistakes.add(
            given.span,
            f"{draft.what} calls unknown component '{given.value}'",
            f"did you mean '{near}'? {listed}" if near else listed,
            given.path,
        )
        return None
    return around.components.get(given.value)


id_of = id
"""The identity of a tree: two inline components may be written alike."""
