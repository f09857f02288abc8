"""Check a document's sources against a Registry and return a Plan, or raise every Diagnostic at once."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from graphs import spec
from graphs.checker import layout
from graphs.checker.bindings import Environment, Lookup, resolve, tell_missing
from graphs.checker.components import CheckedComponent, check_component, is_true, options
from graphs.checker.ids import PLURAL, identify
from graphs.checker.jobs import Surroundings, id_of, node_at
from graphs.checker.layout import Layout, WorkflowLayout
from graphs.checker.workflows import check_workflow
from graphs.component import Registry
from graphs.errors import DocumentError
from graphs.plan import CallJob, Controller, ForEachJob, Plan, Webui, WorkflowPlan
from graphs.source import Entry, Mistakes, Node, Source, Span, parse
from graphs.source import Mapping as MappingNode
from graphs.suggest import closest
from graphs.validation import validate

INGRESS = "Ingress"
"""The name of the deployment that answers HTTP; no component may take it."""


def check(sources: Sequence[Source], registry: Registry, lookup: Lookup) -> Plan:
    """Return the plan of the documents merged in order; `lookup` finds environment variables."""
    mistakes = Mistakes()
    parsed = [parse(source, mistakes) for source in sources]
    roots = [root for root in parsed if root is not None]
    if mistakes or not roots:
        raise DocumentError(mistakes.sorted())
    environment = Environment(lookup)
    root = resolve(_merged(roots), environment, mistakes)
    tell_missing(environment, mistakes)
    document = layout.read(root, mistakes)
    plan = _Checker(document, registry, mistakes).plan(frozenset(environment.secrets)) if document else None
    if mistakes or plan is None:
        raise DocumentError(mistakes.sorted())
    return plan


def _merged(roots: list[Node]) -> Node:
    """Merge documents: mappings deeply, anything else replaced by the later one."""
    result = roots[0]
    for root in roots[1:]:
        result = _merge(result, root)
    return result


def _merge(below: Node, above: Node) -> Node:
    if below.kind != "mapping" or above.kind != "mapping":
        return above
    entries = dict(below.entries)
    for key, entry in above.entries.items():
        known = entries.get(key)
        entries[key] = Entry(key, entry.key_span, _merge(known.node, entry.node)) if known else entry
    return MappingNode(entries, above.span, above.path)


class _Checker:
    """One pass over a document; every step adds its mistakes and goes on."""

    def __init__(self, document: Layout, registry: Registry, mistakes: Mistakes) -> None:
        self.document = document
        self.registry = registry
        self.mistakes = mistakes
        self.known: tuple[str, ...] = ()
        self.workflow_nodes: dict[str, MappingNode] = {}

    def plan(self, secrets: frozenset[str]) -> Plan:
        named = self._components()
        inline, inline_ids = self._inline_components(set(named))
        components = {**named, **inline}
        default = self._default_component(named)
        workflows = self._workflows(components, inline_ids, default)
        _tell_workflow_components(self.workflow_nodes, workflows, self.mistakes)
        return Plan(
            controller=self._controller(),
            components={id: each.plan for id, each in components.items()},
            workflows=workflows,
            default_workflow=self._default_workflow(workflows, default),
            secrets=secrets,
        )

    def _components(self) -> dict[str, CheckedComponent]:
        nodes = self.document.components
        ids = identify([(n, n.span) for n in nodes], "component", "component", (INGRESS,), self.mistakes)
        checked: dict[str, CheckedComponent] = {}
        self.known = tuple(dict.fromkeys(ids))
        for id, node in zip(ids, nodes, strict=True):
            component = self._component(node, id)
            if component is not None:
                checked.setdefault(id, component)
        return checked

    def _component(self, node: MappingNode, id: str) -> CheckedComponent | None:
        sorted_keys = layout.component(node, self.registry, self.mistakes)
        if sorted_keys is None:
            return None
        if sorted_keys.cls.type == "workflow":
            self.workflow_nodes[id] = node
        return check_component(sorted_keys, id, self.mistakes)

    def _inline_components(self, taken: set[str]) -> tuple[dict[str, CheckedComponent], dict[int, str]]:
        """Check components written inside jobs; they are named after workflow and job unless they say otherwise."""
        checked: dict[str, CheckedComponent] = {}
        ids: dict[int, str] = {}
        for workflow, workflow_id in zip(self.document.workflows, self._workflow_ids(Mistakes()), strict=True):
            for index, job in enumerate(workflow.jobs):
                for node in (job.get("component"), node_at(job, "do", "component")):
                    if node is None or node.kind != "mapping":
                        continue
                    id = _text(node.get("id")) or f"{workflow_id}-{_text(job.get('id')) or (f'job-{index + 1}')}"
                    if id in taken or id == INGRESS:
                        span = (node.get("id") or node).span
                        self.mistakes.add(
                            span, f"two components are called '{id}'", "give this one another `id`", node.path
                        )
                        continue
                    taken.add(id)
                    component = self._component(node, id)
                    if component is not None:
                        checked[id] = component
                        ids[id_of(node)] = id
        return checked, ids

    def _default_component(self, named: Mapping[str, CheckedComponent]) -> str | None:
        nodes = self.document.components
        if len(nodes) == 1:
            return next(iter(named), None)
        return self._marked([(n, id) for n, id in zip(nodes, self.known, strict=False)], "component")

    def _marked(self, nodes: list[tuple[MappingNode, str]], singular: str) -> str | None:
        marked = [(node, id) for node, id in nodes if is_true(node.get("default"))]
        if len(marked) > 1:
            node, id = marked[1]
            self.mistakes.add(
                _place(node, "default"),
                f"two {PLURAL[singular]} are the default: '{marked[0][1]}' and '{id}'",
                "keep one",
                node.path,
            )
        return marked[0][1] if marked else None

    def _workflow_ids(self, mistakes: Mistakes) -> list[str]:
        nodes = [(w.keys, w.keys.span) for w in self.document.workflows]
        return identify(nodes, "workflow", "workflow", (), mistakes)

    def _workflows(
        self,
        components: Mapping[str, CheckedComponent],
        inline: Mapping[int, str],
        default: str | None,
    ) -> dict[str, WorkflowPlan]:
        layouts = self.document.workflows or _one_each(self.document.components, self.known)
        ids = self._workflow_ids(self.mistakes) if self.document.workflows else list(self.known)
        plans: dict[str, WorkflowPlan] = {}
        for workflow, id in zip(layouts, ids, strict=True):
            job_ids = identify([(j, j.span) for j in workflow.jobs], "job", "job", (), self.mistakes)
            around = Surroundings(
                workflow=id,
                components=components,
                inline=inline,
                default_component=default if self.document.workflows else id,
                named_components=self.known,
                workflows=tuple(ids),
                jobs=tuple(dict.fromkeys(job_ids)),
            )
            plans[id] = check_workflow(workflow, id, job_ids, around, self.mistakes)
        return plans

    def _default_workflow(self, workflows: Mapping[str, WorkflowPlan], default_component: str | None) -> str | None:
        if len(workflows) == 1:
            return next(iter(workflows))
        if not self.document.workflows:
            return default_component
        return self._marked(
            [(w.keys, id) for w, id in zip(self.document.workflows, workflows, strict=False)], "workflow"
        )

    def _controller(self) -> Controller:
        node = self.document.controller
        valid = validate(spec.Controller, node, self.mistakes, "the controller") if node else spec.Controller()
        valid = valid or spec.Controller()
        webui = valid.webui
        return Controller(
            name=valid.name,
            host=valid.host,
            port=valid.port,
            origins=tuple(valid.origins),
            compression=valid.compression,
            max_request_size=valid.max_request_size,
            webui=Webui(webui.driver, webui.host, webui.port) if webui else None,
            options=options(valid),
        )


def _one_each(components: list[MappingNode], ids: Sequence[str]) -> list[WorkflowLayout]:
    """A document without workflows: every component gets one, under its id."""
    layouts: list[WorkflowLayout] = []
    for node, id in zip(components, ids, strict=False):
        empty = MappingNode({}, node.span, node.path)
        titles = {key: entry for key, entry in node.entries.items() if key in ("title", "description")}
        keys = MappingNode(titles, node.span, node.path)
        layouts.append(WorkflowLayout(keys, [empty], True, f"workflow '{id}'"))
    return layouts


def _tell_workflow_components(
    nodes: Mapping[str, MappingNode], workflows: Mapping[str, WorkflowPlan], mistakes: Mistakes
) -> None:
    """Tell components of type `workflow` that name none, an unknown one, or one that leads back to itself."""
    names: dict[str, str] = {}
    for id, node in nodes.items():
        given = node.get("workflow")
        if given is None or (name := _text(given)) is None:
            continue
        if name in workflows:
            names[id] = name
            continue
        near = closest(name, workflows)
        listed = f"Workflows: {', '.join(workflows)}."
        mistakes.add(
            given.span,
            f"component '{id}' runs unknown workflow '{name}'",
            f"did you mean '{near}'? {listed}" if near else listed,
            given.path,
        )
    calls = {id: _called_workflows(plan) for id, plan in workflows.items()}
    for id, name in names.items():
        path = _path_back(name, name, calls, [])
        if path:
            given = nodes[id].get("workflow")
            assert given is not None
            mistakes.add(
                given.span,
                f"workflow '{name}' runs itself: {' -> '.join(path)}",
                "remove one of these calls",
                given.path,
            )


def _called_workflows(plan: WorkflowPlan) -> list[str]:
    calls = (job.call for job in plan.jobs.values() if isinstance(job, CallJob | ForEachJob))
    return [call.workflow for call in calls if call.kind == "workflow"]


def _path_back(start: str, at: str, calls: Mapping[str, list[str]], path: list[str]) -> list[str] | None:
    for name in calls.get(at, []):
        if name == start:
            return [*path, at, start]
        if name not in path and (found := _path_back(start, name, calls, [*path, at])):
            return found
    return None


def _text(node: Node | None) -> str | None:
    return node.value if node is not None and node.kind == "scalar" and isinstance(node.value, str) else None


def _place(node: MappingNode, key: str) -> Span:
    entry = node.entries.get(key)
    return entry.key_span if entry else node.span
