"""What a job calls and gives: the component and the action, and its input against what they read.

What is missing there is a mistake, what is unread a warning.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from graphs.checker import bindings
from graphs.checker.bindings import fields_of
from graphs.checker.components import CheckedComponent
from graphs.checker.drafts import Draft, Surroundings, node_at
from graphs.checker.layout import hides, hides_default
from graphs.document import job_types
from graphs.language import parse, references
from graphs.language.nodes import Binding, Template
from graphs.plan import ActionPlan, ComponentCall, WorkflowCall
from graphs.source import MappingNode, Mistakes, Node
from graphs.suggest import closest, did_you_mean
from graphs.validation import describe


def check_call(draft: Draft, node: MappingNode, action: str | None, around: Surroundings, mistakes: Mistakes) -> None:
    """Note the component that a job calls, and how; `node` is the job, or its `do`."""
    component = _component(node, draft, around, mistakes)
    if component is None:
        return
    draft.called, draft.action = component, component.action(action)
    chosen = draft.action
    if chosen is None:
        _report_action(draft, node, action, component, mistakes)
        return
    each = isinstance(draft.spec, job_types.ForEachJob)
    given = bindings.to_template(node.get("input")) or parse("${item}" if each else "${input}")
    if component.plan.type != "workflow":
        draft.call = ComponentCall(component.plan.id, chosen.id, given)
        return
    workflow = component.plan.config.get("workflow") or around.default_workflow
    if isinstance(workflow, str) and workflow in around.workflows:
        handed = (fields_of(chosen.input) or {}).get("input", parse("${input}"))
        draft.call = WorkflowCall(component.plan.id, workflow, given, handed, chosen.output)


def _report_action(
    draft: Draft, node: MappingNode, action: str | None, component: CheckedComponent, mistakes: Mistakes
) -> None:
    id, actions, layout = component.plan.id, component.plan.actions, component.layout
    if not layout.actions_known or not actions or len(actions) < len(layout.actions):
        return
    given = node.get("action")
    if action is not None:
        hint = did_you_mean(action, actions, f"Actions: {', '.join(actions)}.")
        mistakes.add((given or node).span, f"component '{id}' has no action '{action}'", hint, node.path)
    elif not hides(node, "action", job_types.JOB_KEYS) and not any(hides_default(each.keys) for each in layout.actions):
        message = f"{draft.what} doesn't say which action of component '{id}' it calls"
        hint = f"write `action:` with one of {', '.join(actions)}, or mark one `default: true`"
        mistakes.add(given or node, message, hint)


def _component(node: MappingNode, draft: Draft, around: Surroundings, mistakes: Mistakes) -> CheckedComponent | None:
    given = node.get("component")
    if given is None or (given.kind == "scalar" and given.value is None):
        if around.default_component is not None:
            return around.components.get(around.default_component)
        _report_no_component(given or node, node, draft, around, mistakes)
        return None
    if given.kind == "mapping":
        return around.components.get(around.inline.get(id(given), ""))
    if given.kind != "scalar" or not isinstance(given.value, str):
        mistakes.add(given, f"expected the id of a component, got {describe(given)}", "write `component: id`")
        return None
    known = around.named_components
    if known is not None and given.value not in known:
        hint = did_you_mean(given.value, known, f"Components: {', '.join(known) or 'none'}.")
        mistakes.add(given, f"{draft.what} calls unknown component '{given.value}'", hint)
        return None
    return around.components.get(given.value)


def _report_no_component(at: Node, node: MappingNode, draft: Draft, around: Surroundings, mistakes: Mistakes) -> None:
    known = around.named_components
    if known is None or around.default_hidden or hides(node, "component", job_types.JOB_KEYS):
        return
    if not known:
        message, hint = f"{draft.what} names no component, and the document has none", "write `component:` with a type"
    else:
        message = f"{draft.what} names no component, and there are several"
        hint = f"write `component:` with one of {', '.join(known)}, or mark one `default: true`"
    mistakes.add(at, message, hint)


# --- its input ----------------------------------------------------------------------------------------------------------


def check_given(draft: Draft, mistakes: Mistakes) -> None:
    """Report what the called component needs and the job's input, written out, doesn't give."""
    call = _Given.of(draft)
    if call is None:
        return
    extra = call.extra()
    for name in sorted(_needed(call)):
        _report_missing(name, call, extra, draft, mistakes)
    for key in extra:
        near = closest(key, [name for name in call.read if name not in call.given.entries])
        if near:
            entry = call.given.entries[key]
            message = f"component '{call.component.plan.id}' doesn't read '{key}'"
            mistakes.add(entry, message, f"did you mean '{near}'? It reads: {', '.join(sorted(call.read))}.")


def warn_of_unread(draft: Draft, mistakes: Mistakes) -> None:
    """Warn of what the job's input gives and the called component doesn't read; only for documents without mistakes."""
    call = _Given.of(draft)
    if call is None:
        return
    for key in call.extra():
        entry = call.given.entries[key]
        message = f"component '{call.component.plan.id}' doesn't read '{key}'"
        mistakes.warn(entry, message, f"read it there as ${{input.{key}}}, or remove it")


class _Given(NamedTuple):
    """The input that a job writes out for a component, and what the component reads of it."""

    given: MappingNode
    component: CheckedComponent
    action: ActionPlan
    read: frozenset[str]
    """Every NAME that is read as `input.NAME`."""
    whole: bool
    """Whether `input` is read as it is, with all that it holds."""

    @classmethod
    def of(cls, draft: Draft) -> _Given | None:
        """Return it for a job that has one."""
        each = isinstance(draft.spec, job_types.ForEachJob)
        given = node_at(draft.node, "do", "input") if each else draft.node.get("input")
        if draft.called is None or draft.action is None or not isinstance(given, MappingNode) or not draft.templates:
            return None
        paths = [each.path for template in draft.templates for each in references(template) if each.name == "input"]
        read = frozenset(str(path[0]) for path in paths if path)
        return cls(given, draft.called, draft.action, read, whole=not all(paths))

    def extra(self) -> list[str]:
        """Return the keys that are given and not read."""
        return [] if self.whole else [key for key in self.given.entries if key not in self.read]


def _report_missing(name: str, call: _Given, extra: list[str], draft: Draft, mistakes: Mistakes) -> None:
    near = closest(name, extra)
    message = f"component '{call.component.plan.id}' needs '{name}', and {draft.what} doesn't give it"
    if near is None:
        mistakes.add(call.given, message, f"add `{name}: …` to the job's input")
        return
    extra.remove(near)
    mistakes.add(call.given.entries[near], message, f"did you mean '{name}' instead of '{near}'?")


def _needed(call: _Given) -> set[str]:
    """Return the inputs that are missing and leave a field empty that every call needs."""
    component, fields = call.component, call.component.cls.Input.model_fields
    empty = [(field, name) for field, name in _plain(call.action.input) if name not in call.given.entries]
    return {name for field, name in empty if fields[field].is_required() or component.complaints(call.action.id, field)}


def _plain(action_input: Template) -> Iterator[tuple[str, str]]:
    """Yield the fields that are `input.NAME` and nothing else, each with its NAME."""
    for field, template in (fields_of(action_input) or {}).items():
        if isinstance(template, Binding) and template.default is None and template.expr.kind == "reference":
            reference = template.expr
            if reference.name == "input" and len(reference.path) == 1:
                yield field, str(reference.path[0])
