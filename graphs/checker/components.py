"""Check one component against its type: a sorted layout in, a ComponentPlan out."""

from __future__ import annotations

from collections.abc import Mapping as MappingType
from dataclasses import dataclass
from typing import Any

from graphs import spec
from graphs.checker import bindings
from graphs.checker.bindings import Visible
from graphs.checker.layout import ActionLayout, ComponentLayout, identify
from graphs.component import Component, TakesStream
from graphs.language import print_template, references
from graphs.language.nodes import Constant, MappingTemplate
from graphs.plan import DEFAULT_CPUS, ActionPlan, ComponentPlan, Options
from graphs.source import Bound, Entry, Mapping, Mistakes, Node, Scalar, Sequence
from graphs.validation import to_data, validate

SEEN_BY_INPUT = frozenset({"input", "run", "session"})
SEEN_BY_OUTPUT = SEEN_BY_INPUT | {"result", "response"}


@dataclass(frozen=True)
class CheckedComponent:
    plan: ComponentPlan
    cls: type[Component[Any, Any]]

    def action(self, name: str | None) -> ActionPlan | None:
        """Return the action a job means: the named one, else the only or default one."""
        chosen = name if name is not None else self.plan.default_action
        return self.plan.actions.get(chosen) if chosen is not None else None

    def streamable(self) -> frozenset[str]:
        """Return the Input fields that can be handed a stream as it flows."""
        fields = self.cls.Input.model_fields
        return frozenset(
            name for name, field in fields.items() if any(isinstance(m, TakesStream) for m in field.metadata)
        )

    def required(self) -> frozenset[str]:
        """Return the Input fields no call can do without."""
        return frozenset(name for name, field in self.cls.Input.model_fields.items() if field.is_required())


def check_component(layout: ComponentLayout, id: str, mistakes: Mistakes) -> CheckedComponent:
    """Return the component, checked; after mistakes it is still good enough to check workflows against."""
    common = validate(spec.Component, layout.keys, mistakes, layout.what)
    config = _check_config(layout, mistakes)
    ids = identify([(each.keys, each.keys.span) for each in layout.actions], "action", "action", (), mistakes)
    actions = {name: _check_action(each, name, mistakes) for name, each in zip(ids, layout.actions, strict=True)}
    for each in layout.actions:
        _check_type_rules(layout, each, mistakes)
    plan = ComponentPlan(
        id=id,
        type=layout.cls.type,
        config=config,
        actions=actions,
        default_action=_default(layout.actions, ids, layout, mistakes),
        options=options(common) if common else Options(),
        where=str(layout.node.span),
    )
    return CheckedComponent(plan, layout.cls)


def options(deployment: spec.Deployment) -> Options:
    """Return what Ray Serve is asked for."""
    resources = deployment.resources or spec.Resources()
    scaling = deployment.autoscaling
    limits = {
        name: value
        for name, value in (
            ("max_concurrent_count", deployment.max_concurrent_count),
            ("max_queued", deployment.max_queued),
        )
        if value is not None
    }
    return Options(
        num_gpus=resources.num_gpus,
        num_cpus=DEFAULT_CPUS if resources.num_cpus is None else resources.num_cpus,
        memory=resources.memory,
        accelerator_type=resources.accelerator_type,
        replicas=deployment.replicas,
        autoscaling=scaling.model_dump(exclude_none=True) if scaling else None,
        runtime_env=deployment.runtime_env,
        **limits,
    )


def _check_config(layout: ComponentLayout, mistakes: Mistakes) -> MappingType[str, Any]:
    own_names = layout.cls.config_names
    config = _as_text(layout.config, own_names) if own_names else layout.config
    assert config.kind == "mapping"
    if own_names:
        bindings.check_names(layout.config, Visible(layout.what, own_names), mistakes)
    valid = validate(
        layout.cls.Config, config, mistakes, f"{layout.what} ({layout.cls.type})", known=spec.Component.model_fields
    )
    return to_data(config) if valid is not None else {}


def _as_text(node: Node, names: frozenset[str]) -> Node:
    """Turn bindings that only the type itself can fill in (`${port}`) back into text, for it to render."""
    match node.kind:
        case "bound" if all(reference.name in names for reference in references(node.template)):
            return Scalar(print_template(node.template), node.span, node.path)
        case "mapping":
            return Mapping(
                {key: Entry(key, each.key_span, _as_text(each.node, names)) for key, each in node.entries.items()},
                node.span,
                node.path,
            )
        case "list":
            return Sequence([_as_text(item, names) for item in node.items], node.span, node.path)
        case _:
            return node


def _check_action(layout: ActionLayout, name: str, mistakes: Mistakes) -> ActionPlan:
    validate(spec.Action, layout.keys, mistakes, layout.what)
    output = layout.keys.get("output")
    bindings.check_names(layout.input, Visible(layout.what, SEEN_BY_INPUT), mistakes)
    chunks = frozenset({"result", "response"})
    bindings.check_names(output, Visible(f"the output of {layout.what}", SEEN_BY_OUTPUT, chunks), mistakes)
    compiled = bindings.to_template(layout.input) or MappingTemplate(())
    return ActionPlan(name, compiled if layout.input.entries else Constant({}), bindings.to_template(output))


def _check_type_rules(layout: ComponentLayout, action: ActionLayout, mistakes: Mistakes) -> None:
    """Check the fields against the type's Input, then ask the type what only it can know."""
    before = len(mistakes.found)
    validate(layout.cls.Input, action.input, mistakes, action.what, bindings=True, known=spec.Action.model_fields)
    if len(mistakes.found) > before:
        return
    for field, message in layout.cls.check(to_data(layout.config), to_data(action.input)):
        entry = _entry_at(action.input, field) or _entry_at(layout.config, field)
        span = entry.node.span if entry else action.input.span
        said, _, hint = message.partition("; ")
        mistakes.add(span, said, hint or None, entry.node.path if entry else action.input.path)


def _entry_at(node: Mapping, dotted: str) -> Entry | None:
    """Return the entry at `params.num_beams` or `messages.0.role`, or the nearest one above that is written."""
    found: Entry | None = None
    current: Node = node
    for part in dotted.split("."):
        if current.kind == "mapping" and part in current.entries:
            found = current.entries[part]
            current = found.node
        elif current.kind == "list" and part.isdigit() and int(part) < len(current.items):
            current = current.items[int(part)]
            found = Entry(part, current.span, current)
        else:
            break
    return found


def _default(actions: list[ActionLayout], ids: list[str], layout: ComponentLayout, mistakes: Mistakes) -> str | None:
    if len(ids) == 1:
        return ids[0]
    marked = [id for id, each in zip(ids, actions, strict=True) if is_true(each.keys.get("default"))]
    if len(marked) > 1:
        mistakes.add(
            layout.node.span,
            f"{layout.what} has {len(marked)} default actions: {', '.join(marked)}",
            "keep one",
            layout.node.path,
        )
    return marked[0] if marked else None


def is_true(node: Node | None) -> bool:
    return node is not None and not isinstance(node, Bound) and node.kind == "scalar" and node.value is True
