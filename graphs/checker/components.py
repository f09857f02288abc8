"""Check one component against its type: a sorted layout in, a ComponentPlan out."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any, NamedTuple

from graphs import document
from graphs.checker import bindings
from graphs.checker.bindings import Visible
from graphs.checker.layout import ActionLayout, ComponentLayout
from graphs.checker.local_paths import folders, runtime_env
from graphs.checker.one_or_many import identify
from graphs.component import ANSWER, ComponentType, Waits, marked_fields
from graphs.language import print_template, references
from graphs.language.nodes import Constant, MappingTemplate
from graphs.plan import DEFAULT_CPUS, ActionPlan, ComponentPlan, Options
from graphs.source import Bound, Entry, MappingNode, Mistakes, Node, Scalar, replaced
from graphs.validation import report_binding, to_data, validate, without_secrets

SEEN_BY_INPUT = frozenset({"input", "run", "session"})
SEEN_BY_OUTPUT = SEEN_BY_INPUT | frozenset(ANSWER)


class CheckedComponent(NamedTuple):
    plan: ComponentPlan
    cls: ComponentType
    layout: ComponentLayout
    well: bool
    """Whether it has no mistake, so that what depends on it can be checked."""

    def action(self, name: str | None) -> ActionPlan | None:
        """Return the action that a job calls: the named one, else the only or default one."""
        chosen = name if name is not None else self.plan.default_action
        return self.plan.actions.get(chosen) if chosen is not None else None

    @property
    def offers(self) -> bool:
        """Whether it offers itself as a model to the vendors' APIs."""
        return self.well and any(self.cls.offers(self.plan.config, {}))

    def complaints(self, action: str, empty: str) -> list[tuple[str, str]]:
        """Return what the type says of an action (field, message) when one of its fields turns out null."""
        if not self.well:
            return []
        written = dict(zip(self.plan.actions, self.layout.actions, strict=True))[action]
        return list(self.cls.check(to_data(self.layout.config), {**to_data(written.input), empty: None}))


def check_component(
    layout: ComponentLayout, id: str, placement: document.Placement, mistakes: Mistakes
) -> CheckedComponent:
    """Return the component, checked; after mistakes it is still good enough to check workflows against."""
    before = len(mistakes.found)
    common = validate(document.Component, layout.keys, mistakes, layout.what, meant=layout.meant)
    report_bindings(layout.keys.get("runtime_env"), mistakes)
    config = _check_config(layout, mistakes)
    ids = identify([each.keys for each in layout.actions], "action", mistakes)
    environment = runtime_env(common.runtime_env, layout.keys, mistakes) if common else None
    named = zip(ids, layout.actions, strict=True)
    actions = {name: _check_action(each, layout.cls, name, mistakes) for name, each in named}
    default = _default(ids, layout, mistakes)
    well = layout.well and len(mistakes.found) == before
    if well:
        _check_type_rules(layout, mistakes)
        well = len(mistakes.found) == before
    written = options(common, environment) if common else Options()
    plan = ComponentPlan(
        id=id,
        type=layout.cls.type,
        config=config,
        actions=actions,
        default_action=default,
        options=replace(written, spread=layout.cls.spreads(config), closing_time=layout.cls.closing_time(config)),
        where=str(layout.node.span),
        placement=placement,
    )
    return CheckedComponent(plan, layout.cls, layout, well)


def report_shared(components: Mapping[str, CheckedComponent], mistakes: Mistakes) -> None:
    """Report fixed values that two components have and only one can use: a port."""
    first: dict[tuple[str, object], str] = {}
    for id, component in components.items():
        for field in sorted(component.cls.exclusive & component.layout.config.entries.keys()):
            value = component.plan.config.get(field)
            other = first.setdefault((field, value), id) if value else id
            if other != id:
                node = component.layout.config.entries[field].node
                message = f"component '{id}' has {field} {value}, and component '{other}' has it too"
                mistakes.add(node, message, f"give one of them another {field}")


def options(deployment: document.Deployment, environment: Mapping[str, Any] | None) -> Options:
    """Return what the document asks of Ray Serve."""
    resources = deployment.resources or document.Resources()
    scaling = deployment.autoscaling
    return Options(
        num_gpus=resources.num_gpus,
        num_cpus=DEFAULT_CPUS if resources.num_cpus is None else resources.num_cpus,
        memory=resources.memory,
        accelerator_type=resources.accelerator_type,
        replicas=deployment.replicas,
        autoscaling=scaling.model_dump(exclude_none=True) if scaling else None,
        runtime_env=environment,
        **deployment.model_dump(include={"max_concurrent_count", "max_queued"}, exclude_none=True),
    )


def _check_config(layout: ComponentLayout, mistakes: Mistakes) -> Mapping[str, Any]:
    own_names = layout.cls.config_names
    config: Node = layout.config
    if own_names:
        bindings.check_names(config, Visible(layout.what, own_names), mistakes)
        config = _as_text(config, own_names)
        for bound in bindings.bounds(config):
            mistakes.silence(bound.span)  # check_names has reported it
    what = f"{layout.what} ({layout.cls.type})"
    names = document.Component.model_fields
    valid = validate(layout.cls.Config, config, mistakes, what, known=names, meant=layout.meant)
    report_bindings(config, mistakes)
    return {**to_data(config), **folders(layout.cls.Config, layout.config, mistakes)} if valid is not None else {}


def report_bindings(node: Node | None, mistakes: Mistakes) -> None:
    """Report the bindings inside a fixed value of any shape."""
    for bound in bindings.bounds(node):
        report_binding(bound, mistakes)


def _as_text(node: Node, names: frozenset[str]) -> Node:
    """Return the tree with bindings that only the type can fill in (`${port}`) as text again, for it to render."""

    def text(leaf: Scalar | Bound) -> Node:
        if leaf.kind == "bound" and all(reference.name in names for reference in references(leaf.template)):
            return Scalar(print_template(leaf.template), leaf.span, leaf.path)
        return leaf

    return replaced(node, text)


def _check_action(layout: ActionLayout, cls: ComponentType, name: str, mistakes: Mistakes) -> ActionPlan:
    validate(document.Action, layout.keys, mistakes, layout.what)
    output = layout.keys.get("output")
    later = marked_fields(cls.Input, Waits) & layout.input.entries.keys()
    at_once = {key: entry for key, entry in layout.input.entries.items() if key not in later}
    bindings.check_names(layout.input.having(at_once), Visible(layout.what, SEEN_BY_INPUT), mistakes)
    for field in sorted(later):
        bindings.check_names(layout.input.get(field), Visible(f"'{field}' of {layout.what}", SEEN_BY_OUTPUT), mistakes)
    seen = Visible(f"the output of {layout.what}", SEEN_BY_OUTPUT, frozenset(ANSWER))
    bindings.check_names(output, seen, mistakes)
    names = document.Action.model_fields
    validate(cls.Input, layout.input, mistakes, layout.what, bindings=True, known=names, meant=layout.meant)
    compiled = bindings.to_template(layout.input) or MappingTemplate(())
    return ActionPlan(name, compiled if layout.input.entries else Constant({}), bindings.to_template(output))


def _check_type_rules(layout: ComponentLayout, mistakes: Mistakes) -> None:
    """Report what only the type knows to be wrong, with its actions and with the resources of its replicas."""
    config, resources = to_data(layout.config), layout.keys.get("resources")
    for action in layout.actions:
        for field, message in layout.cls.check(config, to_data(action.input)):
            _report(field, message, (action.input, layout.config), mistakes)
    for field, message in layout.cls.check_placement(config, to_data(resources) if resources is not None else {}):
        _report(field, message, (layout.config, layout.keys), mistakes)


def _report(field: str, message: str, nodes: tuple[MappingNode, MappingNode], mistakes: Mistakes) -> None:
    """Report what a type says of a field: at the field if one of the nodes has it, else at the nearest one above."""
    entries = max((_entries_at(node, field.split(".")) for node in nodes), key=len)
    for node in nodes:
        message = without_secrets(message, node)
    said, _, hint = message.partition("; ")
    mistakes.add(entries[-1].node if entries else nodes[0], said, hint or None)


def _entries_at(node: Node, path: list[str]) -> list[Entry]:
    """Return the entries on the way along `params.num_beams` or `messages.0.role`, as far as they are written."""
    entries: list[Entry] = []
    for part in path:
        if node.kind == "mapping" and part in node.entries:
            entries.append(node.entries[part])
        elif node.kind == "list" and part.isdigit() and int(part) < len(node.items):
            item = node.items[int(part)]
            entries.append(Entry(part, item.span, item))
        else:
            break
        node = entries[-1].node
    return entries


def _default(ids: list[str], layout: ComponentLayout, mistakes: Mistakes) -> str | None:
    if len(ids) == 1:
        return ids[0]
    keys = [each.keys for each in layout.actions]
    marked = [(id, each) for id, each in zip(ids, keys, strict=True) if is_true(each.get("default"))]
    if len(marked) > 1:
        message = f"{layout.what} has {len(marked)} default actions: {', '.join(id for id, _ in marked)}"
        mistakes.add(marked[1][1].entries["default"], message, "keep one")
    return marked[0][0] if marked else None


def is_true(node: Node | None) -> bool:
    return node is not None and node.kind == "scalar" and node.value is True
