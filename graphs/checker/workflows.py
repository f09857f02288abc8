"""Check one workflow: its layout in, a WorkflowPlan out; and that none runs itself."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, NamedTuple

from graphs import document, plan
from graphs.checker import bindings, input_fields, outputs
from graphs.checker.bindings import Visible, fields_of, required
from graphs.checker.drafts import Draft, Surroundings, listed, node_at, node_text
from graphs.checker.jobs import check_job
from graphs.checker.layout import WorkflowLayout, name_of
from graphs.checker.wiring import Wires, wire
from graphs.document import job_types
from graphs.language import chunked_names, references
from graphs.language.nodes import Binding, Template, Text
from graphs.source import MappingNode, Mistakes, Node
from graphs.suggest import did_you_mean
from graphs.validation import validate


class CheckedWorkflow(NamedTuple):
    id: str
    spec: document.Workflow | None
    drafts: Mapping[str, Draft]
    wires: Mapping[str, Wires]
    output: Template | None

    @property
    def runs(self) -> Iterator[str]:
        """Yield the workflows that its jobs run."""
        for draft in self.drafts.values():
            if isinstance(draft.call, plan.WorkflowCall):
                yield draft.call.workflow

    def inputs(self, workflows: Mapping[str, CheckedWorkflow]) -> tuple[plan.InputField, ...]:
        """Return the fields of its input; those of the workflows it runs are among them."""
        return input_fields.infer(self.drafts, self.output, lambda name: workflows[name].inputs(workflows))

    def runnable(self, workflows: Mapping[str, CheckedWorkflow]) -> plan.WorkflowPlan:
        """Return the runnable workflow; only for documents without mistakes."""
        return plan.WorkflowPlan(
            id=self.id,
            title=self.spec.title if self.spec else None,
            description=self.spec.description if self.spec else None,
            jobs={id: _plan(draft, self.wires[id]) for id, draft in self.drafts.items()},
            output=self.output,
            reads=_read_jobs(self.output),
            output_kind=_output_kind(self.output, self.drafts),
            inputs=self.inputs(workflows),
            timeout=self.spec.timeout if self.spec else None,
        )


def check_workflow(
    layout: WorkflowLayout, id: str, job_ids: list[str], around: Surroundings, mistakes: Mistakes
) -> CheckedWorkflow:
    """Return the workflow, checked; after mistakes it is only good for checking the rest."""
    valid = validate(document.Workflow, layout.keys, mistakes, layout.what)
    drafts: dict[str, Draft] = {}
    for node, job_id in zip(layout.jobs, job_ids, strict=True):
        what = layout.what if layout.flat else name_of(node, "job", job_id)
        draft = check_job(node, job_id, what, around, mistakes)
        if draft is not None:
            drafts.setdefault(job_id, draft)
    output = layout.keys.get("output")
    names = frozenset({"output", "input", "jobs", "run", "session"})
    seen = Visible(f"the output of {layout.what}", names, frozenset({"output"}), around.jobs, around.routers)
    bindings.check_names(output, seen, mistakes)
    return CheckedWorkflow(id, valid, drafts, wire(drafts, mistakes), bindings.to_template(output))


def _read_jobs(template: Template | None) -> frozenset[str]:
    found = references(template) if template is not None else ()
    return frozenset(str(each.path[0]) for each in found if each.name == "jobs" and each.path)


def _output_kind(template: Template | None, drafts: Mapping[str, Draft]) -> plan.OutputKind:
    if template is None:
        return plan.OutputKind()
    if isinstance(template, Binding):
        cast = template.final_cast or template.cast
        if cast is None:
            return plan.OutputKind()
        format: Any = cast.format if cast.format in ("sse-text", "sse-json") else None
        return plan.OutputKind(cast.name, format)
    if isinstance(template, Text):
        return plan.OutputKind("text")
    if chunked_names(template):  # one stream, each of whose chunks has this shape
        return plan.OutputKind("json", "sse-json")
    streams = outputs.Streams(drafts)
    names = tuple(key for key, item in (fields_of(template) or {}).items() if streams.in_output(item))
    return plan.OutputKind("json", "sse-json" if names else None, names)


def _plan(draft: Draft, wires: Wires) -> plan.Job:
    """Return the runnable job; only called for documents without mistakes."""
    valid, common = draft.spec, _common(draft, wires)
    match valid:
        case job_types.ForEachJob():
            assert draft.call is not None
            return plan.ForEachJob(
                **common,
                items=required(draft.node.get("input")),
                call=draft.call,
                item_output=draft.template("do", "output"),
                max_concurrent_count=valid.max_concurrent_count,
                streaming=draft.template("streaming"),
            )
        case job_types.IfJob():
            cases = _if_cases(draft, valid)
            return plan.IfJob(**common, cases=cases, otherwise=valid.if_false or valid.otherwise)
        case job_types.SwitchJob():
            written = zip(listed(draft.node, "cases"), valid.cases, strict=True)
            cases = tuple(plan.Case(required(node_at(node, "value")), case.then) for node, case in written)
            given = required(draft.node.get("input"))
            return plan.SwitchJob(**common, input=given, cases=cases, otherwise=valid.otherwise)
        case job_types.RandomJob():
            routes = tuple((r.to, 1.0 if r.weight is None else r.weight) for r in valid.routings if r.weight != 0)
            return plan.RandomJob(**common, routes=routes)
        case job_types.DelayJob():
            duration, time = draft.template("duration"), draft.template("time")
            return plan.DelayJob(**common, duration=duration, time=time, timezone=valid.timezone)
        case _:
            assert draft.call is not None
            return plan.CallJob(**common, call=draft.call)


def _common(draft: Draft, wires: Wires) -> dict[str, Any]:
    valid = draft.spec
    condition = None if isinstance(valid, job_types.IfJob) else draft.template("condition")
    node = draft.node.get("condition")
    return {
        **wires._asdict(),
        "id": draft.id,
        "where": str(draft.node.span),
        "condition": condition,
        "condition_text": None if condition is None or node is None else _condition_text(node),
        "output": draft.template("output"),
        "retry": plan.Retry(valid.retry.max_attempts, valid.retry.delay, valid.retry.backoff, valid.retry.max_delay),
        "on_error": plan.OnError(draft.template("on_error", "output"), valid.on_error.to) if valid.on_error else None,
        "timeout": valid.timeout,
    }


def _condition_text(node: Node) -> str:
    """Return a condition as the document writes it: never a value from the environment."""
    match node.kind:
        case "bound":
            return str(node.scalar.value)
        case "scalar":
            return str(node.value) if node.shown is None else node.shown
        case _:
            return ""


def _if_cases(draft: Draft, valid: job_types.IfJob) -> tuple[plan.Case, ...]:
    if not valid.conditions:
        return (plan.Case(required(draft.node.get("condition")), valid.if_true),)
    written = zip(listed(draft.node, "conditions"), valid.conditions, strict=True)
    return tuple(plan.Case(required(node_at(node, "condition")), each.if_true) for node, each in written)


# --- components of type `workflow` --------------------------------------------------------------------------------------


def report_unknown_workflows(
    nodes: Mapping[str, MappingNode], workflows: Sequence[str], default: str | None, mistakes: Mistakes
) -> None:
    """Report components that run a workflow that doesn't exist; `nodes` are those of type `workflow`, by id."""
    listed = f"Workflows: {', '.join(workflows)}."
    for id, node in nodes.items():
        given = node.given("workflow")
        name = _named(node, default)
        if given is not None and name is not None and name not in workflows:
            hint = did_you_mean(name, workflows, listed)
            mistakes.add(given, f"component '{id}' runs unknown workflow '{name}'", hint)
        elif given is None and default is None:
            hint = f"write `workflow:` with one of {', '.join(workflows)}"
            mistakes.add(node, f"component '{id}' doesn't say which workflow it runs", hint)


def report_recursion(
    nodes: Mapping[str, MappingNode], workflows: Mapping[str, CheckedWorkflow], default: str | None, mistakes: Mistakes
) -> None:
    """Report every cycle of workflows that run each other, once."""
    seen: set[str] = set()
    for node in nodes.values():
        name = _named(node, default)
        path = _path_back(name, workflows) if name is not None and name not in seen else None
        if path:
            seen |= set(path)
            span = (node.given("workflow") or node).span
            message = f"workflow '{name}' runs itself: {' -> '.join(path)}"
            mistakes.add(span, message, "remove one of these calls", node.path)


def _named(node: MappingNode, default: str | None) -> str | None:
    return default if node.given("workflow") is None else node_text(node, "workflow")


def _path_back(start: str, workflows: Mapping[str, CheckedWorkflow]) -> list[str] | None:
    paths = [[start]]
    seen: set[str] = set()
    while paths:
        path = paths.pop()
        for name in workflows[path[-1]].runs if path[-1] in workflows else ():
            if name == start:
                return [*path, start]
            if name not in seen:
                seen.add(name)
                paths.append([*path, name])
    return None
