"""Make the two layouts one: the document's tree in; its components, actions, workflows and jobs out, keys sorted."""

from __future__ import annotations

from collections.abc import Container
from dataclasses import dataclass, field
from typing import NamedTuple

from graphs import document
from graphs.checker.bindings import bounds
from graphs.checker.one_or_many import as_id, one_or_many
from graphs.component import ComponentType, Registry
from graphs.document import job_types
from graphs.source import Entry, MappingNode, Mistakes, Node
from graphs.suggest import did_you_mean
from graphs.validation import as_mapping, describe, nearest_key, unknown_key

COMPONENT_KEYS = frozenset(document.Component.model_fields)
ACTION_KEYS = frozenset(document.Action.model_fields)
WORKFLOW_KEYS = frozenset(document.Workflow.model_fields)

KNOWN = (
    f"Known keys: {', '.join(sorted(document.DOCUMENT_KEYS))}. "
    f"What only holds anchors stands under a key that begins with `{document.EXTENSION}`."
)


class ActionLayout(NamedTuple):
    keys: MappingNode
    """id, default, output."""
    input: MappingNode
    """The fields of the type's Input, the component's own among them as defaults."""
    what: str
    meant: frozenset[str] = frozenset()
    """Keys that reported mistakes suggest."""


class ComponentLayout(NamedTuple):
    node: MappingNode
    cls: ComponentType
    keys: MappingNode
    config: MappingNode
    actions: list[ActionLayout]
    what: str
    meant: frozenset[str]
    well: bool
    """Whether every key has found its place."""
    actions_known: bool
    """False when a mistake hides which actions there are."""


class WorkflowLayout(NamedTuple):
    keys: MappingNode
    jobs: list[MappingNode]
    flat: bool
    what: str
    well: bool = True
    """False when a mistake hides which jobs there are."""


class Layout(NamedTuple):
    controller: MappingNode | None
    components: list[MappingNode]
    workflows: list[WorkflowLayout]
    components_known: bool
    """False when a mistake hides which components there are."""
    workflows_known: bool


def read(root: Node, mistakes: Mistakes) -> Layout | None:
    """Return the document's parts; None if it has none that can be found."""
    if root.kind != "mapping":
        expected = f"expected `key: value` lines, got {describe(root)}"
        mistakes.add(root, expected, as_mapping(root, "begin with `component:`"))
        return None
    if "type" in root.entries:
        first = root.entries["type"]
        hint = "indent them below a line `component:`"
        mistakes.add(first.span, "these are a component's keys, at the top of the document", hint)
        return None
    for entry in root.entries.values():
        if entry.key not in document.DOCUMENT_KEYS:
            unknown_key(entry.key, root, "the document", document.DOCUMENT_KEYS, mistakes, otherwise=KNOWN)
    controller = root.get("controller")
    if controller is not None and controller.kind != "mapping":
        expected = f"expected controller to be a mapping, got {describe(controller)}"
        mistakes.add(controller, expected, as_mapping(controller, "write `key: value` lines below it, or leave it out"))
        controller = None
    components, components_known = one_or_many(root, "component", mistakes)
    workflows, workflows_known = one_or_many(root, "workflow", mistakes)
    if not components and not workflows and not mistakes:
        mistakes.add(root.span, "the document has no component", "write `component:` with a type")
    return Layout(
        controller=controller,
        components=components,
        workflows=[_workflow(node, mistakes) for node in workflows],
        components_known=components_known,
        workflows_known=workflows_known,
    )


def hides_default(node: MappingNode) -> bool:
    """Return whether a mistake hides that a component or an action is the default."""
    given = node.get("default")
    if given is not None:
        return given.kind != "scalar" or not isinstance(given.value, bool)
    return hides(node, "default", ())


def hides(node: MappingNode, name: str, known: Container[str]) -> bool:
    """Return whether one of the unknown keys of a node was probably meant to be this one."""
    return any(key not in known and nearest_key(key, (name,)) for key in node.entries)


def name_of(node: MappingNode, singular: str, fallback: str | None = None) -> str:
    """Return how messages call it: `component 'chat'`, or `the component` when it has no id."""
    given = node.given("id")
    if given is None:
        return f"the {singular}" if fallback is None else f"{singular} '{fallback}'"
    return f"the {singular}" if given.kind != "scalar" else f"{singular} '{as_id(given)}'"


def component(node: MappingNode, registry: Registry, mistakes: Mistakes) -> ComponentLayout | None:
    """Sort a component's keys into its own, its type's Config and its actions' Input; None for an unknown type."""
    what = name_of(node, "component")
    before = len(mistakes.found)
    cls = _component_type(node, registry, what, mistakes)
    if cls is None:
        return None
    keys = _sort_keys(node, cls, what, mistakes)
    defaults = node.having(keys.shared)
    known = not any(nearest_key(key, ("action", "actions")) for key in keys.unknown)
    if "action" in node.entries or "actions" in node.entries:
        nodes, all_known = one_or_many(node, "action", mistakes)
        known = known and all_known
        name = f"the action of {what}" if "action" in node.entries else f"an action of {what}"
        actions = [_action(each, cls, defaults, name, mistakes) for each in nodes]
        _report_empty(node, "actions", what, mistakes)
        if keys.output is not None:
            mistakes.add(keys.output, f"output of {what} belongs to its action", "move it under `action:`")
    else:
        flat = node.having({"output": keys.output} if keys.output else {})
        actions = [ActionLayout(flat, defaults, what, frozenset(keys.meant))]
    return ComponentLayout(
        node=node,
        cls=cls,
        keys=node.having(keys.own),
        config=node.having(keys.config),
        actions=actions,
        what=what,
        meant=frozenset(keys.meant),
        well=len(mistakes.found) == before and known,
        actions_known=known,
    )


@dataclass
class _Keys:
    """A component's keys: its own, its type's Config, its type's Input, and the flat form's output."""

    own: dict[str, Entry] = field(default_factory=dict[str, Entry])
    config: dict[str, Entry] = field(default_factory=dict[str, Entry])
    shared: dict[str, Entry] = field(default_factory=dict[str, Entry])
    output: Entry | None = None
    unknown: list[str] = field(default_factory=list[str])
    meant: set[str] = field(default_factory=set[str])


def _sort_keys(node: MappingNode, cls: ComponentType, what: str, mistakes: Mistakes) -> _Keys:
    keys = _Keys()
    for key, entry in node.entries.items():
        if key in COMPONENT_KEYS:
            keys.own[key] = entry
        elif key in ("action", "actions"):
            continue
        elif key in cls.Config.model_fields and not _differs_by_call(key, entry, cls):
            keys.config[key] = entry
        elif key in cls.Input.model_fields:
            keys.shared[key] = entry
        elif key == "output":
            keys.output = entry
        else:
            names = {*COMPONENT_KEYS, *cls.Config.model_fields, *cls.Input.model_fields, "action", "actions", "output"}
            models = (cls.Config, cls.Input, document.Component)
            place = f"{what} ({cls.type})"
            keys.unknown.append(key)
            hint = f"`{key}` belongs to a job; write it on those that call {what}"
            near = unknown_key(key, node, place, names, mistakes, models, hint if key in job_types.JOB_KEYS else None)
            keys.meant |= set(cls.Input.model_fields) if near in ("action", "actions") else {near} if near else set()
    return keys


def _differs_by_call(key: str, entry: Entry, cls: ComponentType) -> bool:
    """Return whether a key of both component and action (headers) holds bindings: then it belongs to the actions."""
    return key in cls.Input.model_fields and entry.node.kind == "mapping" and any(bounds(entry.node))


def _component_type(node: MappingNode, registry: Registry, what: str, mistakes: Mistakes) -> ComponentType | None:
    given, types = node.get("type"), ", ".join(sorted(registry))
    if given is None:
        _report_typeless(node, what, types, mistakes)
        return None
    if given.kind != "scalar" or not isinstance(given.value, str):
        mistakes.add(given, f"expected a component type, got {describe(given)}", f"write one of {types}")
        return None
    if given.value not in registry:
        hint = did_you_mean(given.value, registry, f"Types: {types}.")
        mistakes.add(given, f"unknown component type {describe(given)}", hint)
        return None
    return registry[given.value]


def _report_typeless(node: MappingNode, what: str, types: str, mistakes: Mistakes) -> None:
    for key in node.entries:
        if key not in COMPONENT_KEYS and nearest_key(key, ("type",)):
            unknown_key(key, node, what, ("type",), mistakes)
            return
    mistakes.add(node, f"{what} needs a 'type'", f"write `type:` with one of {types}")


def _action(
    node: MappingNode, cls: ComponentType, defaults: MappingNode, what: str, mistakes: Mistakes
) -> ActionLayout:
    own: dict[str, Entry] = {}
    given: dict[str, Entry] = {}
    meant: set[str] = set()
    for key, entry in node.entries.items():
        if key in ACTION_KEYS:
            own[key] = entry
        elif key in cls.Input.model_fields:
            given[key] = entry
        elif key in cls.Config.model_fields or key in COMPONENT_KEYS:
            hint = f"move `{key}` one level up, beside `type`"
            mistakes.add(entry, f"'{key}' belongs to the component, not to its action", hint)
        else:
            near = unknown_key(key, node, what, {*ACTION_KEYS, *cls.Input.model_fields}, mistakes, (cls.Input,))
            meant |= {near} if near else set()
    return ActionLayout(node.having(own), node.having(_over(defaults, given, cls)), what, frozenset(meant))


def _over(defaults: MappingNode, given: dict[str, Entry], cls: ComponentType) -> dict[str, Entry]:
    """Put an action's fields over the component's; what both may write (headers) is merged."""
    entries = {**defaults.entries, **given}
    for key in given.keys() & defaults.entries.keys() & cls.Config.model_fields.keys():
        below, above = defaults.entries[key].node, given[key].node
        if below.kind == "mapping" and above.kind == "mapping":
            entries[key] = Entry(key, given[key].span, above.having({**below.entries, **above.entries}))
    return entries


def _workflow(node: MappingNode, mistakes: Mistakes) -> WorkflowLayout:
    what = name_of(node, "workflow")
    before = len(mistakes.found)
    own: dict[str, Entry] = {}
    flat: dict[str, Entry] = {}
    for key, entry in node.entries.items():
        if key in WORKFLOW_KEYS:
            own[key] = entry
        elif key in ("job", "jobs"):
            continue
        elif key in job_types.JOB_KEYS:
            flat[key] = entry
        else:
            names = {*WORKFLOW_KEYS, *job_types.JOB_KEYS, "job", "jobs"}
            unknown_key(key, node, what, names, mistakes, (job_types.CallJob,))
    if "job" not in node.entries and "jobs" not in node.entries:
        well = len(mistakes.found) == before
        return WorkflowLayout(node.having(own), [node.having(flat)] if well or flat else [], True, what, well)
    for entry in flat.values():
        mistakes.add(entry, f"'{entry.key}' of {what} belongs to a job", "move it into one of the jobs")
    jobs, jobs_known = one_or_many(node, "job", mistakes)
    _report_empty(node, "jobs", what, mistakes)
    return WorkflowLayout(node.having(own), jobs, False, what, jobs_known and bool(jobs))


def _report_empty(node: MappingNode, key: str, what: str, mistakes: Mistakes) -> None:
    given = node.get(key)
    if given is not None and given.kind == "list" and not given.items:
        mistakes.add(given, f"{what} has an empty list of {key}", "write at least one, or leave it out")
