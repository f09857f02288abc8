"""A job while it is checked: more than its keys, not yet a job of the Plan; what it is checked against; where it leads."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from graphs.checker import bindings
from graphs.checker.components import CheckedComponent
from graphs.document import job_types
from graphs.language import truth
from graphs.language.nodes import Constant, Offsets, Template
from graphs.language.operators import equal
from graphs.plan import ActionPlan, Call, ComponentCall
from graphs.source import MappingNode, Node, Scalar, Span


class Route(NamedTuple):
    """A place in a job that leads to another: a router's target, or on_error.to."""

    to: str
    span: Span
    dead: bool = False
    """It can never be taken."""


def routes(node: MappingNode, valid: job_types.JobBase) -> Iterator[Route]:
    """Yield where the job can lead; a way that can never be taken is marked dead."""
    if valid.on_error is not None and valid.on_error.to is not None:
        yield Route(valid.on_error.to, _place(node, "on_error", "to"))
    match valid:
        case job_types.IfJob():
            yield from _if_routes(node, valid)
        case job_types.SwitchJob():
            yield from _switch_routes(node, valid)
        case job_types.RandomJob():
            for written, route in zip(listed(node, "routings"), valid.routings, strict=False):
                yield Route(route.to, _place(written, "to"), route.weight == 0)
        case _:
            return


def _if_routes(node: MappingNode, valid: job_types.IfJob) -> Iterator[Route]:
    if not valid.conditions:
        fixed = fixed_truth(bindings.to_template(node.get("condition")))
        if valid.if_true is not None:
            yield Route(valid.if_true, _place(node, "if_true"), fixed is False)
        if valid.if_false is not None:
            yield Route(valid.if_false, _place(node, "if_false"), fixed is True)
        return
    decided = False
    for written, each in zip(listed(node, "conditions"), valid.conditions, strict=False):
        fixed = fixed_truth(bindings.to_template(node_at(written, "condition")))
        yield Route(each.if_true, _place(written, "if_true"), decided or fixed is False)
        decided = decided or fixed is True
    if valid.otherwise is not None:
        yield Route(valid.otherwise, _place(node, "otherwise"), decided)


def _switch_routes(node: MappingNode, valid: job_types.SwitchJob) -> Iterator[Route]:
    seen: list[Any] = []
    for written, case in zip(listed(node, "cases"), valid.cases, strict=False):
        fixed = bindings.to_template(node_at(written, "value"))
        dead = isinstance(fixed, Constant) and any(equal(fixed.value, each) for each in seen)
        if isinstance(fixed, Constant):
            seen.append(fixed.value)
        yield Route(case.then, _place(written, "then"), dead)
    if valid.otherwise is not None:
        yield Route(valid.otherwise, _place(node, "otherwise"))


def fixed_truth(template: Template | None) -> bool | None:
    """Return a condition's truth when no binding decides it."""
    return truth(template.value) if isinstance(template, Constant) else None


def listed(node: MappingNode, key: str) -> list[Node]:
    """Return the items of the list at a key."""
    many = node.get(key)
    return many.items if many is not None and many.kind == "list" else []


def node_at(node: Node | None, *path: str) -> Node | None:
    """Return the node at a path of keys."""
    for key in path:
        if not isinstance(node, MappingNode):
            return None
        node = node.get(key)
    return node


def node_text(node: MappingNode, key: str) -> str | None:
    """Return the text at a key."""
    value = node.get(key)
    return value.value if value is not None and value.kind == "scalar" and isinstance(value.value, str) else None


def _place(node: Node, *path: str) -> Span:
    found = node_at(node, *path)
    return found.span if found else node.span


@dataclass
class Draft:
    """A job between its document and its Plan."""

    id: str
    node: MappingNode
    spec: job_types.JobBase
    what: str
    """What messages call it."""
    call: Call | None = None
    called: CheckedComponent | None = None
    action: ActionPlan | None = None
    """Of the called component."""
    reads: dict[str, list[tuple[Scalar, Offsets]]] = field(default_factory=dict[str, list[tuple[Scalar, Offsets]]])
    """Jobs its bindings reference, each with where."""
    routes: list[Route] = field(default_factory=list[Route])

    def template(self, *path: str) -> Template | None:
        """Return the compiled value at a path of keys."""
        return bindings.to_template(node_at(self.node, *path))

    @property
    def templates(self) -> list[Template]:
        """Return those of the called action; none where the call runs a workflow."""
        found = (self.action.input, self.action.output) if self.action else ()
        return [each for each in found if each is not None] if isinstance(self.call, ComponentCall) else []


class Surroundings(NamedTuple):
    """What a job is checked against."""

    components: Mapping[str, CheckedComponent]
    inline: Mapping[int, str]
    """Ids of components written inside jobs, by the identity of their tree: two may be written alike."""
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
