"""A job's input against what the called component reads: what is missing is a mistake, what is unread a warning."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

from graphs.checker.bindings import fields_of
from graphs.checker.components import CheckedComponent
from graphs.checker.drafts import Draft
from graphs.checker.routes import node_at
from graphs.document import job_types
from graphs.language import references
from graphs.language.nodes import Binding, Template
from graphs.plan import ActionPlan, ComponentCall
from graphs.source import MappingNode, Mistakes
from graphs.suggest import closest


def check_given(draft: Draft, mistakes: Mistakes) -> None:
    """Report what the called component needs and the job's input, written out, doesn't give."""
    call = _Given.of(draft)
    if call is None:
        return
    extra = call.extra()
    for name in sorted(_needed(call.component, call.action.id, _plain(call.action.input), call.given)):
        _report_missing(name, call.given, extra, draft, call.component, mistakes)
    for key in extra:
        near = closest(key, [name for name in call.read if name not in call.given.entries])
        if near:
            entry = call.given.entries[key]
            message = f"component '{call.component.plan.id}' doesn't read '{key}'"
            hint = f"did you mean '{near}'? It reads: {', '.join(sorted(call.read))}."
            mistakes.add(entry, message, hint)


def warn_of_unread(draft: Draft, mistakes: Mistakes) -> None:
    """Warn of what the job's input gives and the called component doesn't read; only for documents without mistakes."""
    call = _Given.of(draft)
    if call is None:
        return
    for key in call.extra():
        entry = call.given.entries[key]
        message = f"component '{call.component.plan.id}' doesn't read '{key}'"
        hint = f"read it there as ${{input.{key}}}, or remove it"
        mistakes.warn(entry, message, hint)


@dataclass(frozen=True)
class _Given:
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
        if draft.called is None or not isinstance(draft.call, ComponentCall) or not isinstance(given, MappingNode):
            return None
        action = draft.called.action(draft.call.action)
        if action is None:
            return None
        templates = (action.input, *(() if action.output is None else (action.output,)))
        paths = [each.path for template in templates for each in references(template) if each.name == "input"]
        read = frozenset(str(path[0]) for path in paths if path)
        return cls(given, draft.called, action, read, whole=not all(paths))

    def extra(self) -> list[str]:
        """Return the keys that are given and not read."""
        return [] if self.whole else [key for key in self.given.entries if key not in self.read]


def _report_missing(
    name: str, given: MappingNode, extra: list[str], draft: Draft, component: CheckedComponent, mistakes: Mistakes
) -> None:
    near = closest(name, extra)
    message = f"component '{component.plan.id}' needs '{name}', and {draft.what} doesn't give it"
    if near is None:
        mistakes.add(given, message, f"add `{name}: …` to the job's input")
        return
    extra.remove(near)
    entry = given.entries[near]
    mistakes.add(entry, message, f"did you mean '{name}' instead of '{near}'?")


def _needed(component: CheckedComponent, action: str, plain: Mapping[str, str], given: MappingNode) -> set[str]:
    """Return the inputs that are missing and leave a field empty that every call needs."""
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
