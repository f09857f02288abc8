"""A job's input against what the component it calls reads of it: what is needed and not given is told."""

from __future__ import annotations

from collections.abc import Mapping

from graphs import document
from graphs.checker.bindings import fields_of
from graphs.checker.components import CheckedComponent
from graphs.checker.drafts import Draft
from graphs.checker.routes import node_at
from graphs.language import bindings, references
from graphs.language.nodes import Binding, Template
from graphs.plan import ComponentCall
from graphs.source import MappingNode, Mistakes
from graphs.suggest import closest


def check_given(draft: Draft, mistakes: Mistakes) -> None:
    """Tell what the called component needs and the job's input, written out, doesn't give."""
    given = (
        node_at(draft.node, "do", "input") if isinstance(draft.spec, document.ForEachJob) else draft.node.get("input")
    )
    if draft.called is None or not isinstance(draft.call, ComponentCall) or not isinstance(given, MappingNode):
        return
    action = draft.called.action(draft.call.action)
    if action is None:
        return
    read = _read(action.input)
    needed = _needed(draft.called, action.id, _plain(action.input), given)
    extra = [key for key in given.entries if key not in read]
    for name in sorted(needed):
        _report_missing(name, given, extra, draft, draft.called, mistakes)
    for key in extra:
        near = closest(key, [name for name in read if name not in given.entries])
        if near:
            entry = given.entries[key]
            message = f"component '{draft.called.plan.id}' doesn't read '{key}'"
            hint = f"did you mean '{near}'? It reads: {', '.join(sorted(read))}."
            mistakes.add(entry.key_span, message, hint, entry.node.path)


def _report_missing(
    name: str, given: MappingNode, extra: list[str], draft: Draft, component: CheckedComponent, mistakes: Mistakes
) -> None:
    near = closest(name, extra)
    message = f"{draft.what} doesn't give component '{component.plan.id}' the '{name}' it needs"
    if near is None:
        mistakes.add(given.span, message, f"add `{name}: …` to the job's input", given.path)
        return
    extra.remove(near)
    entry = given.entries[near]
    mistakes.add(entry.key_span, message, f"did you mean '{name}' instead of '{near}'?", entry.node.path)


def _needed(component: CheckedComponent, action: str, plain: Mapping[str, str], given: MappingNode) -> set[str]:
    """Return the inputs that aren't given and whose absence leaves a field empty that no call can do without."""
    empty = {field: name for field, name in plain.items() if name not in given.entries}
    needed = {name for field, name in empty.items() if field in component.required()}
    for field, name in empty.items():
        if field not in component.required() and component.complaints(action, frozenset({field})):
            needed.add(name)
    return needed


def _plain(action_input: Template) -> Mapping[str, str]:
    """Return the fields that are `input.NAME` and nothing else, each with its NAME."""
    plain: dict[str, str] = {}
    for field, template in (fields_of(action_input) or {}).items():
        if isinstance(template, Binding) and template.default is None and template.expr.kind == "reference":
            reference = template.expr
            if reference.name == "input" and len(reference.path) == 1:
                plain[field] = str(reference.path[0])
    return plain


def _read(action_input: Template) -> frozenset[str]:
    """Return every NAME that is read as `input.NAME`."""
    return frozenset(
        str(reference.path[0])
        for binding in bindings(action_input)
        for reference in references(binding)
        if reference.name == "input" and reference.path
    )
