"""Both layouts, singular and plural, flat and inline: however a document is written, it means the same plan."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from graphs.language.nodes import Binding, ListTemplate, MappingTemplate, Template, Text
from graphs.plan import CallJob, ComponentCall, Plan
from tests.checker.compiling import compiled, messages, workflow


def placeless(plan: Plan) -> Any:
    """Return what a plan says without where it was written."""
    components = {
        id: (each.type, each.config, each.default_action, each.options,
             [(a.id, bare(a.input), bare(a.output)) for a in each.actions.values()])
        for id, each in plan.components.items()
    }  # fmt: skip
    workflows = {
        id: (each.title, bare(each.output), each.output_kind, each.inputs,
             [(job.id, job.kind, bare(getattr(job, "call", None) and job.call.input)) for job in each.jobs.values()])
        for id, each in plan.workflows.items()
    }  # fmt: skip
    return components, workflows, plan.default_workflow, plan.controller


def bare(template: Template | None) -> Any:
    match template:
        case Binding():
            return replace(template, source=None, at=(0, 0), expr=repr(template.expr).split("at=")[0])
        case Text(parts=parts):
            return [part if isinstance(part, str) else bare(part) for part in parts]
        case MappingTemplate(items=items):
            return [(key, bare(item)) for key, item in items]
        case ListTemplate(items=items):
            return [bare(item) for item in items]
        case _:
            return template


WITH_ACTION = """
    component:
      id: chat
      type: http-client
      base_url: https://example.com
      action:
        path: /chat
        body: {prompt: "${input.prompt}"}
        stream_format: json
        output: ${response[].text}
"""
FLAT = """
    component:
      id: chat
      type: http-client
      base_url: https://example.com
      path: /chat
      body: {prompt: "${input.prompt}"}
      stream_format: json
      output: ${response[].text}
"""


def test_a_flat_component_means_the_same_as_one_with_an_action() -> None:
    assert placeless(compiled(FLAT)) == placeless(compiled(WITH_ACTION))


@pytest.mark.parametrize("wrapped", ["actions:\n        - path: /chat", "action:\n        path: /chat"])
def test_a_list_of_one_action_means_the_same_as_an_action(wrapped: str) -> None:
    text = f"component:\n  type: http-client\n  base_url: https://example.com\n  {wrapped}\n"
    assert list(compiled(text).components["component"].actions) == ["action"]


def test_singular_keys_are_lists_of_one() -> None:
    one = "component: {id: a, type: echo, text: hi}\nworkflow: {id: w, job: {id: j, component: a}}\n"
    many = "components: [{id: a, type: echo, text: hi}]\nworkflows: [{id: w, jobs: [{id: j, component: a}]}]\n"
    assert placeless(compiled(one)) == placeless(compiled(many))


def test_a_flat_workflow_is_one_job_that_gets_the_whole_input() -> None:
    plan = workflow("component: {type: echo, text: '${input.text}'}\nworkflow: {title: Say, output: '${output}'}\n")
    [job] = plan.jobs.values()
    assert isinstance(job, CallJob)
    assert isinstance(job.call, ComponentCall)
    assert (plan.id, job.id, job.call.component) == ("workflow", "job", "component")
    assert isinstance(job.call.input, Binding)
    assert plan.title == "Say"


def test_a_flat_workflow_may_hold_its_jobs_keys() -> None:
    plan = workflow(
        "components: [{id: a, type: echo, text: '${input.text}'}, {id: b, type: echo, text: hi}]\n"
        "workflow: {component: a, input: {text: Hello}, condition: '${input.on}', output: '${output as text}'}\n"
    )
    [job] = plan.jobs.values()
    assert isinstance(job, CallJob)
    assert (job.call.component, job.condition_text, job.output) == ("a", "${input.on}", None)
    assert plan.output_kind.type == "text"


def test_a_document_without_workflows_gives_one_to_every_component() -> None:
    plan = compiled(
        """
        components:
          - {id: a, type: echo, text: hi, title: Says hi}
          - {id: b, type: echo, text: ho, default: true}
        """
    )
    assert list(plan.workflows) == ["a", "b"]
    assert plan.workflows["a"].title == "Says hi"
    assert [next(iter(each.jobs.values())).call.component for each in plan.workflows.values()] == ["a", "b"]  # type: ignore[union-attr]
    assert plan.default_workflow == "b"


def test_an_inline_component_is_a_component_named_after_its_workflow_and_job() -> None:
    plan = compiled(
        """
        workflow:
          id: main
          jobs:
            - id: say
              component: {type: echo, text: "${input.text}"}
            - component: {id: own, type: echo, text: hi}
        """
    )
    assert list(plan.components) == ["main-say", "own"]
    assert [job.call.component for job in plan.workflows["main"].jobs.values()] == ["main-say", "own"]  # type: ignore[union-attr]


def test_keys_of_the_input_on_the_component_are_defaults_of_every_action() -> None:
    plan = compiled(
        """
        component:
          type: echo
          interval: 1
          actions:
            - {id: a, text: hi, default: true}
            - {id: b, text: ho, interval: 2}
        """
    )
    inputs = {id: dict(action.input.value) for id, action in plan.components["component"].actions.items()}  # type: ignore[union-attr]
    assert inputs == {"a": {"interval": 1, "text": "hi"}, "b": {"interval": 2, "text": "ho"}}


def test_one_of_each_kind_may_go_without_an_id() -> None:
    plan = compiled(
        """
        components: [{type: echo, text: hi}, {id: other, type: echo, text: ho}]
        workflows: [{jobs: [{component: component}, {id: two, component: other}]}, {id: more, component: other}]
        """
    )
    assert list(plan.components) == ["component", "other"]
    assert list(plan.workflows) == ["workflow", "more"]
    assert list(plan.workflows["workflow"].jobs) == ["job", "two"]


def test_an_empty_id_is_none() -> None:
    assert list(compiled("component:\n  id:\n  type: echo\n  text: hi\n").components) == ["component"]


@pytest.mark.parametrize(("marked", "default"), [("", None), ("default: true, ", "b")])
def test_the_default_workflow_is_the_marked_one(marked: str, default: str | None) -> None:
    plan = compiled(f"component: {{type: echo, text: hi}}\nworkflows: [{{id: a}}, {{id: b, {marked}title: B}}]\n")
    assert plan.default_workflow == default


def test_a_job_that_names_no_component_gets_the_default_one() -> None:
    plan = workflow(
        "components: [{id: a, type: echo, text: a}, {id: b, type: echo, text: b, default: true}]\nworkflow: {title: W}\n"
    )
    [job] = plan.jobs.values()
    assert job.call.component == "b"  # type: ignore[union-attr]


def test_the_default_action_is_the_marked_one() -> None:
    plan = workflow("component: {type: echo, actions: [{id: a, text: a}, {id: b, text: b, default: true}]}\n")
    [job] = plan.jobs.values()
    assert job.call.action == "b"  # type: ignore[union-attr]


# --- several files -----------------------------------------------------------------------------------------------------

BASE = """
    controller: {port: 8080, origins: [https://a.example]}
    component: {id: chat, type: echo, text: hi}
"""


def test_files_merge_mappings_deeply_and_replace_the_rest() -> None:
    plan = compiled(BASE, "controller: {origins: [https://b.example], webui: {port: 8081}}\ncomponent: {text: ho}\n")
    assert (plan.controller.port, plan.controller.origins) == (8080, ("https://b.example",))
    assert plan.controller.webui is not None
    assert dict(plan.components["chat"].actions["action"].input.value) == {"text": "ho"}  # type: ignore[union-attr]


def test_a_mistake_is_told_in_the_file_that_makes_it() -> None:
    from graphs.source import DocumentError

    with pytest.raises(DocumentError) as caught:
        compiled(BASE, "component: {txt: ho}\n")
    assert [str(each.span) for each in caught.value.diagnostics] == ["2.yaml:1:13"]


def test_files_are_all_read_before_any_is_judged() -> None:
    assert messages("component: [\n", "a: 1\na: 2\n") == [
        "this [ is never closed, or a ',' is missing in it",
        "'a' is written twice",
    ]


HEADERS_ON_BOTH = """
    component:
      id: api
      type: http-client
      base_url: https://example.com
      headers: {authorization: "Bearer ${input.key}", x-a: component}
      action:
        path: /chat
        headers: {x-a: action}
"""


def test_headers_with_bindings_may_stand_on_the_component_and_the_actions_go_over_them() -> None:
    component = compiled(HEADERS_ON_BOTH).components["api"]
    headers = dict(component.actions["action"].input.items)["headers"]  # type: ignore[union-attr]
    assert component.config == {"base_url": "https://example.com"}
    assert [key for key, _ in headers.items] == ["authorization", "x-a"]
    assert dict(headers.items)["x-a"].value == "action"


def test_an_inline_component_is_named_after_its_workflow_and_its_job_even_when_the_job_has_no_id() -> None:
    plan = compiled("workflow: {id: kill, job: {component: {type: echo, text: hi}}}")
    assert list(plan.components) == ["kill-job"]


def test_of_two_jobs_without_an_id_only_that_is_reported() -> None:
    job = "{component: {type: echo, text: hi}}"
    assert messages(f"workflow: {{id: kill, jobs: [{job}, {job}]}}") == ["a second job without an id"]


def test_keys_that_begin_with_x_hold_what_anchors_share() -> None:
    plan = compiled(
        """
        x-shared: &shared
          text: hi
          note: ${nothing.of.this, is a binding
        x-more: {text: &text hi, unset: "${env.NOT_SET}"}
        component:
          type: echo
          text: *text
        """
    )
    assert list(plan.components) == ["component"]


def test_a_bundle_of_keys_may_be_merged_from_an_anchor_at_the_top() -> None:
    plan = compiled("x-echo: &echo {type: echo, text: hi}\ncomponent: {<<: *echo, replicas: 3}\n")
    assert plan.components["component"].options.replicas == 3
