"""Check a document's sources against a Registry and return a Plan, or raise every Diagnostic at once."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import reduce
from pathlib import Path

from graphs import document
from graphs.checker import bindings, layout
from graphs.checker.bridges import bridges, check_models
from graphs.checker.bridges import secrets as secrets_of_bridges
from graphs.checker.calls import warn_of_unread
from graphs.checker.components import (
    CheckedComponent,
    check_component,
    is_true,
    options,
    report_bindings,
    report_shared,
)
from graphs.checker.doors import aliases, doors
from graphs.checker.drafts import Surroundings, node_at, node_text
from graphs.checker.environment import Environment, Lookup, report_missing, resolve
from graphs.checker.layout import Layout, WorkflowLayout
from graphs.checker.local_paths import runtime_env
from graphs.checker.one_or_many import identify
from graphs.checker.placement import placed
from graphs.checker.store import secrets as secrets_of_store
from graphs.checker.store import store
from graphs.checker.warnings import warn_of_lookalikes, warn_of_lost_results, warn_of_unused
from graphs.checker.workflows import CheckedWorkflow, check_workflow, report_recursion, report_unknown_workflows
from graphs.component import Registry
from graphs.document import job_types
from graphs.plan import Controller, Model, Plan, Sessions, Webui
from graphs.source import DocumentError, Entry, MappingNode, Mistakes, Node, Source, parse
from graphs.validation import to_data, validate

INGRESS = "Ingress"
"""The name of the deployment that answers HTTP; no component may take it."""
BRIDGES = "Bridges"
"""The same of the one that holds the bridges."""


def check(sources: Sequence[Source], registry: Registry, lookup: Lookup, mistakes: Mistakes | None = None) -> Plan:
    """Return the plan of the documents merged in order; `lookup` finds environment variables.

    A caller that wants to see warnings hands its own `mistakes` over.
    """
    mistakes = Mistakes() if mistakes is None else mistakes
    roots = [root for source in sources if (root := parse(source, mistakes)) is not None]
    if mistakes or not roots:
        raise DocumentError(mistakes.found)
    environment = Environment(lookup)
    written = _merged(roots)
    root = resolve(written, environment, mistakes)
    mistakes.secrets = environment.hidden()
    report_missing(environment, mistakes)
    warn_of_lookalikes(written, mistakes)
    layouts = layout.read(root, mistakes)
    checker = _Checker(layouts, registry, mistakes, sources[0].folder) if layouts else None
    plan = checker.plan(environment.secrets()) if checker else None
    if plan is None:
        raise DocumentError(mistakes.found)
    return replace(plan, reads_messages=bindings.reads(root, "session", "messages"))


def _merged(roots: list[Node]) -> Node:
    """Merge documents: mappings deeply, anything else replaced by the later one. What only anchors need is left out."""
    result = reduce(_merge, roots)
    if result.kind != "mapping":
        return result
    entries = {key: entry for key, entry in result.entries.items() if not key.startswith(document.EXTENSION)}
    return result.having(entries)


def _merge(below: Node, above: Node) -> Node:
    if below.kind != "mapping" or above.kind != "mapping":
        return above
    entries = dict(below.entries)
    for key, entry in above.entries.items():
        known = entries.get(key)
        entries[key] = Entry(key, entry.span, _merge(known.node, entry.node)) if known else entry
    return above.having(entries)


@dataclass
class _Checker:
    """One pass over a document; every step adds its mistakes and goes on."""

    document: Layout
    registry: Registry
    mistakes: Mistakes
    folder: Path
    """That of the first document."""
    ids: list[str] = field(default_factory=list[str])
    known: tuple[str, ...] = ()
    """Ids of the components at the top, in document order."""
    workflow_nodes: dict[str, MappingNode] = field(default_factory=dict[str, MappingNode])

    def plan(self, secrets: frozenset[str]) -> Plan | None:
        named = self._components()
        inline, inline_ids = self._inline_components(set(named))
        components = {**named, **inline}
        report_shared(components, self.mistakes)
        default = (
            self.known[0] if len(self.known) == 1 else self._marked(self.document.components, self.ids, "component")
        )
        ids = self._workflow_ids(self.mistakes) if self.document.workflows else self.ids
        default_workflow = self._default_workflow(ids, default)
        if self.document.workflows_known:
            report_unknown_workflows(self.workflow_nodes, ids, default_workflow, self.mistakes)
        workflows = self._workflows(components, inline_ids, default, ids, default_workflow)
        report_recursion(self.workflow_nodes, workflows, default_workflow, self.mistakes)
        controller = self._controller(components)
        if self.mistakes:
            return None
        offered = doors(components, list(workflows), written=bool(self.document.workflows))
        models = {**offered.models, **self._aliases(offered.models)}
        check_models(controller.bridges, self.document.controller, models, self.mistakes)
        if self.mistakes:
            return None
        self._warn(components, workflows)
        return Plan(
            controller=controller,
            components=offered.components,
            workflows={id: each.runnable(workflows) for id, each in workflows.items()},
            default_workflow=default_workflow,
            secrets=secrets | secrets_of_store(controller.store) | secrets_of_bridges(controller.bridges),
            models=models,
            doors=offered.workflows,
        )

    def _aliases(self, models: Mapping[str, Model]) -> dict[str, Model]:
        node = self.document.controller
        written = node.given("models") if node else None
        given = to_data(written) if written is not None else {}
        return aliases(given, written, models, self.mistakes)

    def _warn(self, components: Mapping[str, CheckedComponent], workflows: Mapping[str, CheckedWorkflow]) -> None:
        """Warn of what could only follow from a mistake as long as there is one."""
        warn_of_unused(components, workflows, self.mistakes)
        for workflow in workflows.values():
            warn_of_lost_results(workflow, self.mistakes)
            for draft in workflow.drafts.values():
                warn_of_unread(draft, self.mistakes)

    def _components(self) -> dict[str, CheckedComponent]:
        nodes = self.document.components
        ids = identify(nodes, "component", self.mistakes, reserved=(INGRESS, BRIDGES))
        checked: dict[str, CheckedComponent] = {}
        self.ids, self.known = ids, tuple(dict.fromkeys(ids))
        for id, node in zip(ids, nodes, strict=True):
            component = self._component(node, id)
            if component is not None:
                checked.setdefault(id, component)
        return checked

    def _component(self, node: MappingNode, id: str) -> CheckedComponent | None:
        sorted_keys = layout.component(node, self.registry, self.mistakes)
        if sorted_keys is None:
            return None
        if sorted_keys.cls.type == "workflow" and sorted_keys.well:
            self.workflow_nodes[id] = node
        placement = placed(sorted_keys, self.document.controller, self.registry, self.mistakes)
        return check_component(sorted_keys, id, placement, self.mistakes)

    def _inline_components(self, taken: set[str]) -> tuple[dict[str, CheckedComponent], dict[int, str]]:
        """Check components written inside jobs; without an id they are named after workflow and job."""
        checked: dict[str, CheckedComponent] = {}
        ids: dict[int, str] = {}
        for workflow, workflow_id in zip(self.document.workflows, self._workflow_ids(Mistakes()), strict=True):
            for node, job_id in _inline(workflow):
                name = node_text(node, "id") or f"{workflow_id}-{job_id}"
                if name in taken or name in (INGRESS, BRIDGES):
                    at, hint = node.get("id") or node, "give this one another `id`"
                    self.mistakes.add(at, f"two components are called '{name}'", hint)
                    continue
                taken.add(name)
                component = self._component(node, name)
                if component is not None:
                    checked[name] = component
                    ids[id(node)] = name
        return checked, ids

    def _marked(self, nodes: Iterable[MappingNode], ids: list[str], singular: str) -> str | None:
        marked = [(node, id) for node, id in zip(nodes, ids, strict=True) if is_true(node.get("default"))]
        if len(marked) > 1:
            node, id = marked[1]
            message = f"two {singular}s are the default: '{marked[0][1]}' and '{id}'"
            self.mistakes.add(node.entries["default"], message, "keep one", node.path)
        return marked[0][1] if marked else None

    def _workflow_ids(self, mistakes: Mistakes) -> list[str]:
        return identify([each.keys for each in self.document.workflows], "workflow", mistakes)

    def _workflows(
        self,
        components: Mapping[str, CheckedComponent],
        inline: Mapping[int, str],
        default: str | None,
        ids: list[str],
        default_workflow: str | None,
    ) -> dict[str, CheckedWorkflow]:
        layouts = self.document.workflows or _one_each(self.document.components, self.ids)
        checked: dict[str, CheckedWorkflow] = {}
        for workflow, id in zip(layouts, ids, strict=True):
            job_ids = identify(workflow.jobs, "job", self.mistakes)
            jobs = zip(job_ids, workflow.jobs, strict=True)
            routers = frozenset(job_id for job_id, job in jobs if node_text(job, "type") in job_types.ROUTERS)
            around = Surroundings(
                components=components,
                inline=inline,
                default_component=default if self.document.workflows else id,
                default_hidden=any(layout.hides_default(node) for node in self.document.components),
                named_components=self.known if self.document.components_known else None,
                workflows=tuple(ids),
                default_workflow=default_workflow,
                jobs=tuple(dict.fromkeys(job_ids)) if workflow.well else None,
                routers=routers,
            )
            checked[id] = check_workflow(workflow, id, job_ids, around, self.mistakes)
        return checked

    def _default_workflow(self, ids: list[str], default_component: str | None) -> str | None:
        if len(ids) == 1:
            return ids[0]
        if not self.document.workflows:
            return default_component
        return self._marked([each.keys for each in self.document.workflows], ids, "workflow")

    def _controller(self, components: Mapping[str, CheckedComponent]) -> Controller:
        node = self.document.controller
        valid = validate(document.Controller, node, self.mistakes, "the controller") if node else document.Controller()
        report_bindings(node.get("runtime_env") if node else None, self.mistakes)
        environment = runtime_env(valid.runtime_env, node, self.mistakes) if valid and node else None
        known = node if valid else None
        valid = valid or document.Controller()
        webui = valid.webui
        guests = (each.plan.options for each in components.values() if each.plan.placement == "ingress")
        closing_time = max((each.closing_time for each in guests), default=0.0)
        return Controller(
            name=valid.name,
            host=valid.host,
            port=valid.port,
            origins=tuple(valid.origins),
            compression=valid.compression,
            max_request_size=valid.max_request_size,
            webui=Webui(webui.driver, webui.host, webui.port) if webui else None,
            options=replace(options(valid, environment), closing_time=closing_time),
            store=store(valid.store or document.Store(), node, self.folder, self.mistakes),
            primary=valid.doors.primary,
            sessions=Sessions(valid.sessions.keep_for, valid.sessions.max_messages, valid.sessions.max_characters),
            bridges=bridges(valid, known, self.mistakes),
        )


def _inline(workflow: WorkflowLayout) -> Iterator[tuple[MappingNode, str]]:
    """Yield the components that are written inside jobs, each with the id of its job."""
    unnamed = 0
    for job in workflow.jobs:
        given = node_text(job, "id")
        unnamed += given is None
        fallback = "job" if unnamed == 1 else f"job-{unnamed}"  # a second one is a mistake of its own
        for node in (job.get("component"), node_at(job, "do", "component")):
            if node is not None and node.kind == "mapping":
                yield node, given or fallback


def _one_each(components: list[MappingNode], ids: Sequence[str]) -> list[WorkflowLayout]:
    """A document without workflows: every component gets one, under its id."""
    layouts: list[WorkflowLayout] = []
    for node, id in zip(components, ids, strict=True):
        titles = {key: entry for key, entry in node.entries.items() if key in ("title", "description")}
        layouts.append(WorkflowLayout(node.having(titles), [node.having({})], True, f"workflow '{id}'"))
    return layouts
