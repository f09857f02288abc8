"""The components and workflows of a document -> what requests to the vendors' APIs may name as their model, and what runs then.

A component that offers itself as a model gets an action for each use, and a workflow that calls it. Their ids hold a colon,
which no document can write.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, NamedTuple, cast

from graphs.checker import bindings
from graphs.checker.components import CheckedComponent
from graphs.component import Offer, Use
from graphs.language import parse
from graphs.language.nodes import Constant, ListTemplate, MappingTemplate, Overlaid, Template
from graphs.plan import ActionPlan, CallJob, ComponentCall, ComponentPlan, Model, OutputKind, WorkflowPlan
from graphs.source import Mistakes, Node
from graphs.suggest import did_you_mean
from graphs.validation import to_data

USES: tuple[Use, ...] = ("chat", "completion", "embedding")
"""What a workflow may be asked for."""
JOB = "model"


class Doors(NamedTuple):
    """What the plan holds for the vendors' APIs."""

    models: Mapping[str, Model]
    workflows: Mapping[str, WorkflowPlan]
    components: Mapping[str, ComponentPlan]


def doors(components: Mapping[str, CheckedComponent], workflows: Sequence[str], *, written: bool) -> Doors:
    """Return the models. `written` says whether the document has workflows: one that only stands for a component gives way to
    the component, where that offers itself as a model."""
    models = {id: Model(id, dict.fromkeys(USES, id), is_component=False) for id in workflows}
    made: dict[str, WorkflowPlan] = {}
    plans: dict[str, ComponentPlan] = {}
    named: dict[str, Model] = {}
    for id, component in components.items():
        actions: dict[str, ActionPlan] = {}
        uses: dict[str, dict[Use, str]] = {}
        for action, offer in _offers(component):
            workflow = _workflow(id, action.id)
            made[workflow.id], actions[action.id] = workflow, action
            uses.setdefault(offer.model, {})[offer.use] = workflow.id
        plans[id] = (
            replace(component.plan, actions={**component.plan.actions, **actions}) if actions else component.plan
        )
        for name, its in uses.items():
            model = Model(id, its, is_component=True)
            if id not in models or (not written and not models[id].is_component):
                models[id] = model
            named.setdefault(name, model)
    return Doors({**models, **{name: model for name, model in named.items() if name not in models}}, made, plans)


def aliases(
    written: Mapping[str, str], node: Node | None, models: Mapping[str, Model], mistakes: Mistakes
) -> dict[str, Model]:
    """Return the models that `controller.models` gives other names; report a name that is taken, and a model that isn't there."""
    found: dict[str, Model] = {}
    for alias, target in written.items():
        entry = node.entries[alias] if node is not None and node.kind == "mapping" else None
        assert entry is not None, "the names are written"
        if alias in models:
            what = "a component or its model" if models[alias].is_component else "a workflow"
            mistakes.add(entry, f"'{alias}' is the name of {what}", "write another name")
        elif target not in models:
            known = f"the models are {', '.join(models)}" if models else "the document has no workflow and no model"
            mistakes.add(entry.node, f"there is no model '{target}'", did_you_mean(target, models, known))
        else:
            found[alias] = models[target]
    return found


def _offers(component: CheckedComponent) -> Iterator[tuple[ActionPlan, Offer]]:
    """Yield the actions by which a component is called as a model; the names of uses are its own, those of other models follow."""
    if not component.well:
        return
    plan = component.plan
    default = plan.default_action or next(iter(plan.actions))
    written = dict(zip(plan.actions, component.layout.actions, strict=True))[default]
    seen: set[tuple[str, str]] = set()
    first: str | None = None
    for offer in component.cls.offers(plan.config, to_data(written.input)):
        first = offer.model if first is None else first
        if (offer.model, offer.use) in seen:
            continue
        seen.add((offer.model, offer.use))
        id = f"{offer.use}:" + ("" if offer.model == first else offer.model)
        yield ActionPlan(id, _laid_over(plan.actions[default].input, offer), None), offer


def _laid_over(own: Template, offer: Offer) -> Template:
    """Return the input of an action, with what the request says laid over what the action says."""
    fields = {key: item for key, item in (bindings.fields_of(own) or {}).items() if key not in offer.replaced}
    asked: list[tuple[str, Template]] = []
    for name, field in offer.asked.items():
        template = _template(field)
        below = fields.pop(name, None) if isinstance(field, Mapping) else None
        if below is not None and isinstance(template, MappingTemplate):
            template = Overlaid(below, template)
        asked.append((name, template))
    return Overlaid(MappingTemplate(tuple(fields.items())), MappingTemplate(tuple(asked)))


def _template(value: Any) -> Template:
    match value:
        case str():
            return parse(value)
        case Mapping():
            fields = cast("Mapping[str, Any]", value)
            return MappingTemplate(tuple((key, _template(item)) for key, item in fields.items()))
        case list():
            return ListTemplate(tuple(map(_template, cast("list[Any]", value))))
        case _:
            return Constant(value)


def _workflow(component: str, action: str) -> WorkflowPlan:
    """Return the workflow that hands its whole input to an action."""
    nothing: frozenset[str] = frozenset()
    job = CallJob(
        id=JOB,
        needs=nothing,
        feeds_from=nothing,
        whole=nothing,
        flows=nothing,
        routed_by=nothing,
        where=component,
        call=ComponentCall(component, action, parse("${input}")),
    )
    return WorkflowPlan(
        id=f"{component}:{action}".removesuffix(":"),
        title=None,
        description=None,
        jobs={JOB: job},
        output=None,
        reads=nothing,
        output_kind=OutputKind(),
        inputs=(),
    )
