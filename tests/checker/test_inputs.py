"""What a workflow's input holds, and how its output is written, inferred from the bindings that read and give them."""

from __future__ import annotations

import pytest

from graphs.plan import InputField, OutputKind
from tests.checker.compiling import workflow


def inputs(binding: str) -> tuple[InputField, ...]:
    return workflow(f"component:\n  type: echo\n  text: {binding}\n").inputs


@pytest.mark.parametrize(
    ("binding", "field"),
    [
        ("${input.a}", InputField("a")),
        ("${input.a as text}", InputField("a", "text")),
        ("${input.a as string}", InputField("a", "text")),
        ("${input.a | 5}", InputField("a", "integer", default=5, required=False)),
        ("${input.a | false}", InputField("a", "boolean", default=False, required=False)),
        ("${input.a | hello there}", InputField("a", "text", default="hello there", required=False)),
        ("${input.a | null}", InputField("a", required=False)),
        ("${input.a as number | 1}", InputField("a", "number", default=1, required=False)),
        ("${input.a as image/png;base64}", InputField("a", "image", "png", "base64")),
        (
            "${input.a as select/x,y | y}",
            InputField("a", "select", "x,y", default="y", required=False, options=("x", "y")),
        ),
        ("${input.a @(description What to say)}", InputField("a", description="What to say")),
        ("Say ${input.a as text} now", InputField("a", "text")),
        ("${input.a.b}", InputField("a", required=False)),
        ("${input.a == 'x' or input.a == 'y'}", InputField("a", "text", required=False, options=("x", "y"))),
    ],
)
def test_a_binding_describes_its_field(binding: str, field: InputField) -> None:
    assert inputs(f'"{binding}"') == (field,)


def test_what_is_learnt_in_several_places_comes_together() -> None:
    [field] = inputs("'${input.a} ${input.a as integer} ${input.a @(description How many)}'")
    assert field == InputField("a", "integer", description="How many")


def test_fields_come_in_the_order_they_are_read() -> None:
    assert [field.name for field in inputs("'${input.b} ${input.a} ${input.b}'")] == ["b", "a"]


def test_a_second_choice_is_a_field_that_may_be_missing() -> None:
    first, second = inputs("'${input.a | ${input.b}}'")
    assert (first.required, second.required) == (False, False)


def test_a_job_hands_its_field_on_to_where_it_is_described() -> None:
    plan = workflow(
        "component: {type: echo, text: '${input.text as text @(description What to say)}'}\n"
        "workflow: {job: {input: {text: '${input.words}'}}}\n"
    )
    assert plan.inputs == (InputField("words", "text", description="What to say"),)


def test_conditions_routers_and_outputs_are_read_too() -> None:
    plan = workflow(
        """
        component: {type: echo, text: hi}
        workflow:
          jobs:
            - {id: route, type: switch, input: "${input.kind as select/a,b}", cases: [{value: "${input.first}", then: x}]}
            - {id: x, condition: "${input.on}"}
            - {id: each, type: for-each, input: "${input.list as list}", do: {output: "${input.deep}"}}
          output: {text: "${output}", title: "${input.title | none}"}
        """
    )
    assert [field.name for field in plan.inputs] == ["kind", "first", "on", "list", "deep", "title"]


def test_a_nested_workflow_describes_what_is_handed_to_it() -> None:
    from tests.checker.compiling import compiled

    plan = compiled(
        """
        components:
          - {id: say, type: echo, text: "${input.text as text | hi}"}
          - {id: inner, type: workflow, workflow: one}
        workflows:
          - {id: two, component: inner}
          - {id: one, component: say}
        """
    ).workflows["two"]
    assert plan.inputs == (InputField("text", "text", default="hi", required=False),)


@pytest.mark.parametrize(
    ("output", "kind"),
    [
        ("${output}", OutputKind()),
        ("${output as text;sse-text}", OutputKind("text", "sse-text")),
        ("${output as text;sse-json}", OutputKind("text", "sse-json")),
        ("${output as json}", OutputKind("json")),
        ("{a: '${output}', b: '${jobs.job.output}', c: 'x ${output}'}", OutputKind("json", "sse-json", ("a", "b"))),
        ("{a: text}", OutputKind("json")),
    ],
)
def test_the_output_says_how_it_is_written(output: str, kind: OutputKind) -> None:
    assert workflow(f"component: {{type: echo, text: hi}}\nworkflow:\n  output: {output}\n").output_kind == kind


def test_an_output_names_the_jobs_it_reads() -> None:
    plan = workflow(
        "component: {type: echo, text: hi}\nworkflow: {jobs: [{id: a}, {id: b}], output: '${jobs.a.output}'}\n"
    )
    assert plan.reads == {"a"}
