"""Make the two layouts one: the document's tree in, its components, actions, workflows and jobs out, every key sorted."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from graphs import spec
from graphs.component import Component, Registry
from graphs.source import Entry, Mapping, Mistakes, Node, Span
from graphs.suggest import closest
from graphs.validation import describe, unknown_key

COMPONENT_KEYS = frozenset(spec.Component.model_fields)
ACTION_KEYS = frozenset(spec.Action.model_fields)
WORKFLOW_KEYS = frozenset(spec.Workflow.model_fields)
JOB_KEYS = frozenset(key for model in spec.JOBS.values() for key in model.model_fields)

PLURAL = {"component": "components", "workflow": "workflows", "action": "actions", "job": "jobs"}


@dataclass(frozen=True)
class ActionLayout:
    keys: Mapping
    """id, default, output."""
    input: Mapping
    """The fields of the type's Input, the component's own among them as defaults."""
    what: str


@dataclass(frozen=True)
class ComponentLayout:
    node: Mapping
    cls: type[Component[Any, Any]]
    keys: Mapping
    config: Mapping
    actions: list[ActionLayout]
    what: str


@dataclass(frozen=True)
class WorkflowLayout:
    keys: Mapping
    jobs: list[Mapping]
    flat: bool
    what: str


@dataclass(frozen=True)
class Layout:
    controller: Mapping | None
    components: list[Mapping]
    workflows: list[WorkflowLayout]


def read(root: Node, mistakes: Mistakes) -> Layout | None:
    """Return the document's parts; None when it is no mapping."""
    if root.kind != "mapping":
        mistakes.add(root.span, f"expected a document of keys, got {describe(root)}", "begin with `component:`")
        return None
    for entry in root.entries.values():
        if entry.key not in spec.DOCUMENT_KEYS:
            unknown_key(entry.key, entry.key_span, entry.node.path, "the document", spec.DOCUMENT_KEYS, mistakes)
    controller = root.get("controller")
    if controller is not None and controller.kind != "mapping":
        mistakes.add(controller.span, f"expected controller to be a mapping, got {describe(controller)}")
        controller = None
    components = items(root, "component", mistakes)
    if not components and not mistakes:
        mistakes.add(root.span, "the document has no component", "write `component:` with a type")
    workflows = [_workflow(node, mistakes) for node in items(root, "workflow", mistakes)]
    return Layout(controller, components, workflows)


def items(parent: Mapping, singular: str, mistakes: Mistakes) -> list[Mapping]:
    """Return the mappings under `singular` (one) or its plural (a list)."""
    plural = PLURAL[singular]
    one, many = parent.entries.get(singular), parent.entries.get(plural)
    if one and many:
        mistakes.add(
            one.key_span,
            f"'{singular}' and '{plural}' exclude each other",
            f"move it into the list of {plural}",
            one.node.path,
        )
    found: list[Node] = [one.node] if one else []
    if one and one.node.kind == "list":
        mistakes.add(
            one.node.span, f"expected '{singular}' to be one mapping, got a list", f"write `{plural}:`", one.node.path
        )
        found = []
    if many:
        if many.node.kind == "list":
            found += many.node.items
        else:
            mistakes.add(
                many.node.span,
                f"expected '{plural}' to be a list, got {describe(many.node)}",
                f"begin each with `- `, or write `{singular}:` for a single one",
                many.node.path,
            )
    mappings: list[Mapping] = []
    for node in found:
        if node.kind == "mapping":
            mappings.append(node)
        else:
            mistakes.add(node.span, f"expected a {singular} to be a mapping, got {describe(node)}", None, node.path)
    return mappings


def name_of(node: Mapping, singular: str) -> str:
    """Return how messages call it: `component 'chat'`, or `the component` when it has no id."""
    given = node.get("id")
    if given is not None and given.kind == "scalar" and isinstance(given.value, str):
        return f"{singular} '{given.value}'"
    return f"the {singular}"


def component(node: Mapping, registry: Registry, mistakes: Mistakes) -> ComponentLayout | None:
    """Sort a component's keys into its own, its type's Config and its actions' Input; None for an unknown type."""
    what = name_of(node, "component")
    cls = _component_type(node, registry, what, mistakes)
    if cls is None:
        return None
    has_actions = "action" in node.entries or "actions" in node.entries
    own, config, shared, flat_output = _sort_keys(node, cls, what, mistakes)
    if has_actions and flat_output is not None:
        mistakes.add(
            flat_output.key_span,
            f"output of {what} belongs to its action",
            "move it under `action:`",
            flat_output.node.path,
        )
    defaults = _part(node, shared)
    if has_actions:
        actions = [
            _action(
                each,
                cls,
                defaults,
                f"the action of {what}" if "action" in node.entries else f"an action of {what}",
                mistakes,
            )
            for each in items(node, "action", mistakes)
        ]
        if not actions and not mistakes:
            mistakes.add(
                node.span, f"{what} has an empty list of actions", "write at least one action, or none", node.path
            )
    else:
        keys = _part(node, {"output": flat_output} if flat_output else {})
        actions = [ActionLayout(keys, defaults, what)]
    return ComponentLayout(node, cls, _part(node, own), _part(node, config), actions, what)


Entries = dict[str, Entry]


def _sort_keys(
    node: Mapping, cls: type[Component[Any, Any]], what: str, mistakes: Mistakes
) -> tuple[Entries, Entries, Entries, Entry | None]:
    """Return the component's own keys, its type's Config, its type's Input, and the flat form's output."""
    own: Entries = {}
    config: Entries = {}
    shared: Entries = {}
    flat_output: Entry | None = None
    for key, entry in node.entries.items():
        if key in COMPONENT_KEYS:
            own[key] = entry
        elif key in ("action", "actions"):
            continue
        elif key in cls.Config.model_fields:
            config[key] = entry
        elif key in cls.Input.model_fields:
            shared[key] = entry
        elif key == "output":
            flat_output = entry
        else:
            names = {*COMPONENT_KEYS, *cls.Config.model_fields, *cls.Input.model_fields, "action", "actions", "output"}
            unknown_key(key, entry.key_span, entry.node.path, f"{what} ({cls.type})", names, mistakes)
    return own, config, shared, flat_output


def _component_type(
    node: Mapping, registry: Registry, what: str, mistakes: Mistakes
) -> type[Component[Any, Any]] | None:
    given = node.get("type")
    if given is None:
        mistakes.add(
            node.span, f"{what} needs a 'type'", f"write `type:` with one of {', '.join(sorted(registry))}", node.path
        )
        return None
    if given.kind != "scalar" or not isinstance(given.value, str):
        mistakes.add(
            given.span,
            f"expected a component type, got {describe(given)}",
            f"write one of {', '.join(sorted(registry))}",
            given.path,
        )
        return None
    if given.value not in registry:
        near = closest(given.value, registry)
        hint = f"did you mean '{near}'? " if near else ""
        mistakes.add(
            given.span,
            f"unknown component type '{given.value}'",
            f"{hint}Types: {', '.join(sorted(registry))}.",
            given.path,
        )
        return None
    return registry[given.value]


def _action(
    node: Mapping, cls: type[Component[Any, Any]], defaults: Mapping, what: str, mistakes: Mistakes
) -> ActionLayout:
    own, given = {}, {}
    for key, entry in node.entries.items():
        if key in ACTION_KEYS:
            own[key] = entry
        elif key in cls.Input.model_fields:
            given[key] = entry
        elif key in cls.Config.model_fields or key in COMPONENT_KEYS:
            mistakes.add(
                entry.key_span,
                f"'{key}' belongs to the component, not to its action",
                f"move `{key}` one level up, beside `type`",
                entry.node.path,
            )
        else:
            unknown_key(key, entry.key_span, entry.node.path, what, {*ACTION_KEYS, *cls.Input.model_fields}, mistakes)
    return ActionLayout(_part(node, own), _part(node, {**defaults.entries, **given}), what)


def _workflow(node: Mapping, mistakes: Mistakes) -> WorkflowLayout:
    what = name_of(node, "workflow")
    own, flat = {}, {}
    for key, entry in node.entries.items():
        if key in WORKFLOW_KEYS:
            own[key] = entry
        elif key in ("job", "jobs"):
            continue
        elif key in JOB_KEYS:
            flat[key] = entry
        else:
            unknown_key(
                key, entry.key_span, entry.node.path, what, {*WORKFLOW_KEYS, *JOB_KEYS, "job", "jobs"}, mistakes
            )
    if "job" not in node.entries and "jobs" not in node.entries:
        return WorkflowLayout(_part(node, own), [_part(node, flat)], True, what)
    for entry in flat.values():
        mistakes.add(
            entry.key_span, f"'{entry.key}' of {what} belongs to a job", "move it into one of the jobs", entry.node.path
        )
    jobs = items(node, "job", mistakes)
    if not jobs and not mistakes:
        mistakes.add(node.span, f"{what} has an empty list of jobs", "write at least one job, or none", node.path)
    return WorkflowLayout(_part(node, own), jobs, False, what)


def _part(node: Mapping, entries: dict[str, Entry]) -> Mapping:
    return Mapping(entries, node.span, node.path)


def identify(
    nodes: Iterable[tuple[Mapping, Span]], singular: str, fallback: str, reserved: Iterable[str], mistakes: Mistakes
) -> list[str]:
    """Return an id for each: its own, or the fallback for the one that may go without; tell clashes."""
    ids: list[str] = []
    first: dict[str, Span] = {}
    unnamed: Span | None = None
    for node, span in nodes:
        given = node.entries.get("id")
        if given is None:
            if unnamed is not None:
                mistakes.add(
                    span,
                    f"a second {singular} without an id",
                    f"only one may go without; the first is on line {unnamed.line}: give this one an `id`",
                    node.path,
                )
            unnamed = unnamed or span
            ids.append(fallback)
            continue
        value = given.node.value if given.node.kind == "scalar" else None
        name = value if isinstance(value, str) else str(value)
        if name in first:
            mistakes.add(
                given.node.span,
                f"two {PLURAL[singular]} are called '{name}'",
                f"the first is on line {first[name].line}; give this one another id",
                given.node.path,
            )
        elif name in reserved:
            mistakes.add(
                given.node.span, f"the id '{name}' is taken by the product itself", "choose another", given.node.path
            )
        first.setdefault(name, given.node.span)
        ids.append(name)
    return ids
