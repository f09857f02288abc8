"""What a job calls: the component and the action that it names, or that are the default."""

from __future__ import annotations

from graphs.checker import bindings
from graphs.checker.components import CheckedComponent
from graphs.checker.drafts import Draft, Surroundings
from graphs.checker.layout import hides, hides_default
from graphs.document import job_types
from graphs.language import parse
from graphs.language.nodes import Template
from graphs.plan import ComponentCall, WorkflowCall
from graphs.source import MappingNode, Mistakes, Node
from graphs.suggest import did_you_mean
from graphs.validation import describe


def check_call(draft: Draft, node: MappingNode, action: str | None, around: Surroundings, mistakes: Mistakes) -> None:
    """Note the component that a job calls, and how; `node` is the job, or its `do`."""
    component = _component(node, draft, around, mistakes)
    if component is None:
        return
    draft.called = component
    chosen = component.action(action)
    if chosen is None:
        _report_action(draft, node, action, component, mistakes)
        return
    given = bindings.to_template(node.get("input")) or _passed_on(draft)
    if component.plan.type != "workflow":
        draft.call = ComponentCall(component.plan.id, chosen.id, given)
        return
    workflow = component.plan.config.get("workflow") or around.default_workflow
    if isinstance(workflow, str) and workflow in around.workflows:
        inner = bindings.fields_of(chosen.input) or {}
        draft.call = WorkflowCall(
            component.plan.id, workflow, given, inner.get("input", parse("${input}")), chosen.output
        )


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


def _passed_on(draft: Draft) -> Template:
    """Return the input of a job that has none: the workflow's, or the item of a for-each."""
    return parse("${item}" if isinstance(draft.spec, job_types.ForEachJob) else "${input}")


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
        expected = f"expected the id of a component, got {describe(given)}"
        mistakes.add(given, expected, "write `component: id`")
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
