"""What a workflow's input holds, and how its output is written, inferred from the bindings that read and give them."""

from __future__ import annotations

import pytest

from graphs.plan import InputField, OutputKind
from tests.checker.compiling import compiled, workflow


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
        ("${input.a.b}", InputField("a")),
        ("${input.a.b | 5}", InputField("a", required=False)),
        ("${input.a > 5}", InputField("a")),
        ("${not (5 <= input.a.b)}", InputField("a")),
        ("${input.a > 5 | false}", InputField("a")),
        ("${input.a > 5 or true}", InputField("a")),
        ("${input.a and input.a > 5}", InputField("a", required=False)),
        ("${run.id | ${input.a > 5}}", InputField("a", required=False)),
        ("${not input.a}", InputField("a", required=False)),
        ("${'x' in input.a}", InputField("a", required=False)),
        ("${input.a == 'x' or input.a == 'y'}", InputField("a", "text", required=False, options=("x", "y"))),
    ],
)
def test_a_binding_describes_its_field(binding: str, field: InputField) -> None:
    assert inputs(f'"{binding}"') == (field,)


def test_what_is_learnt_in_several_places_comes_together() -> None:
    [field] = inputs("'${input.a} ${input.a as integer} ${input.a @(description How many)}'")
    assert field == InputField("a", "integer", description="How many")


@pytest.mark.parametrize("secret", ["s3cr3t-admin-token", "abc", "42x"])
def test_what_came_from_the_environment_is_no_option(secret: str) -> None:
    plan = workflow(
        "component: {type: echo, text: hi}\n"
        "workflow: {condition: \"${input.token == env.TOKEN or input.token == 'guest' or env.TOKEN == input.token}\"}\n",
        env={"TOKEN": secret},
    )
    assert plan.inputs == (InputField("token", "text", required=False, options=("guest",)),)


def test_what_came_from_the_environment_is_no_default() -> None:
    plan = workflow("component: {type: echo, text: '${input.text | ${env.GREETING}}'}\n", env={"GREETING": "abc"})
    assert plan.inputs == (InputField("text", required=False),)


@pytest.mark.parametrize("order", ["${input.a} ${input.a | 5}", "${input.a | 5} ${input.a}"])
def test_a_field_that_is_read_once_without_a_default_is_required(order: str) -> None:
    assert inputs(f"'{order}'") == (InputField("a", "integer"),)


def test_jobs_that_read_a_field_with_and_without_a_default_require_it() -> None:
    plan = workflow(
        "component: {type: echo, text: '${input.text}'}\n"
        "workflow: {jobs: [{id: x, input: {text: '${input.a}'}}, {id: y, input: {text: '${input.a | 5}'}}]}\n"
    )
    assert plan.inputs == (InputField("a", "integer"),)


@pytest.mark.parametrize(
    ("text", "given", "field"),
    [
        ("${input.text | hi}", "${input.a}", InputField("a", "text", default="hi", required=False)),
        ("${input.text}", "${input.a}", InputField("a")),
        ("${input.text | hi}", "say ${input.a}", InputField("a")),
        ("${input.text | hi} ${input}", "${input.a}", InputField("a", "text")),
        ("hi", "${input.a}", InputField("a")),
        ("${input.text | hi}", "${input.a.b}", InputField("a", required=False)),
        ("${input.text as text}", "${input.a.b}", InputField("a")),
        ("${input.text > 5}", "${input.a}", InputField("a")),
        (
            "${input.text == 'x' or input.text == 'y'}",
            "${input.a}",
            InputField("a", "text", None, None, None, False, ("x", "y")),
        ),
    ],
)
def test_what_a_job_only_hands_on_is_required_where_it_is_read(text: str, given: str, field: InputField) -> None:
    plan = workflow(f'component: {{type: echo, text: "{text}"}}\nworkflow: {{job: {{input: {{text: "{given}"}}}}}}\n')
    assert plan.inputs == (field,)


@pytest.mark.parametrize(("text", "required"), [("${input.text as text | hi}", False), ("${input.text as text}", True)])
def test_a_part_that_is_handed_to_a_workflow_is_required_where_it_is_read(text: str, required: bool) -> None:
    plan = compiled(
        f"""
        components:
          - {{id: say, type: echo, text: "{text}"}}
          - {{id: inner, type: workflow, workflow: one}}
        workflows:
          - {{id: two, job: {{component: inner, input: {{text: "${{input.user.name}}"}}}}}}
          - {{id: one, component: say}}
        """
    ).workflows["two"]
    assert plan.inputs == (InputField("user", required=required),)


def test_the_output_of_an_action_is_read_too() -> None:
    plan = workflow("component: {type: echo, text: hi, output: '${input.title | none} ${result}'}\n")
    assert plan.inputs == (InputField("title", "text", default="none", required=False),)


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
        ("'x ${output}'", OutputKind("text")),
        ("{a: '${output}', b: '${jobs.job.output}', c: 'x ${output}'}", OutputKind("json", "sse-json", ("a", "b"))),
        ("{a: text}", OutputKind("json")),
        ("{word: '${output[]}'}", OutputKind("json", "sse-json")),
        ("{word: '${output[]}', all: '${jobs.job.output}'}", OutputKind("json", "sse-json")),
        ("{a: '${session.id}', b: '${run.id}', c: '${input.c}'}", OutputKind("json")),
        ("{a: '${output as text}', b: '${output as integer}'}", OutputKind("json", "sse-json", ("a",))),
        ("{a: '${output[0]}', b: '${jobs.job.output.title}'}", OutputKind("json")),
        ("{a: '${input.a | ${output}}', b: '${output.b | ${input.b}}'}", OutputKind("json", "sse-json", ("a",))),
    ],
)
def test_the_output_says_how_it_is_written(output: str, kind: OutputKind) -> None:
    assert workflow(f"component: {{type: echo, text: hi}}\nworkflow:\n  output: {output}\n").output_kind == kind


@pytest.mark.parametrize(
    ("job", "streams"),
    [
        ("{}", {"whole"}),
        ("{output: '${output[]}'}", {"whole"}),
        ("{output: '${output as json}'}", set()),
        ("{output: {x: '${output}', y: 1}}", {"inner"}),
        ("{output: {x: '${output[]}', y: 1}}", {"whole"}),
        ("{component: fixed}", set()),
        ("{component: mapped}", set()),
        ("{component: chunks}", {"whole"}),
        ("{component: fixed, output: '${jobs.other.output}'}", {"whole"}),
        ("{type: delay, duration: 1}", set()),
        ("{type: for-each, input: [1], do: {}}", set()),
        ("{type: for-each, input: [1], do: {}, streaming: true}", {"whole"}),
        ("{component: nested}", {"whole"}),
    ],
)
def test_only_what_may_come_in_chunks_is_among_the_streams(job: str, streams: set[str]) -> None:
    plan = compiled(
        f"""
        components:
          - {{id: say, type: echo, text: hi, default: true}}
          - {{id: fixed, type: echo, text: hi, output: "${{result.text}}"}}
          - {{id: mapped, type: echo, text: hi, output: {{x: "${{result}}"}}}}
          - {{id: chunks, type: echo, text: hi, output: {{x: "${{result[]}}"}}}}
          - {{id: nested, type: workflow, workflow: two}}
        workflows:
          - id: one
            jobs: [{{id: other}}, {{id: job, {job[1:]}]
            output: {{whole: "${{jobs.job.output}}", inner: "${{jobs.job.output.x}}"}}
          - id: two
        """
    ).workflows["one"]
    assert set(plan.output_kind.names) == streams


def test_an_output_names_the_jobs_it_reads() -> None:
    plan = workflow(
        "component: {type: echo, text: hi}\nworkflow: {jobs: [{id: a}, {id: b}], output: '${jobs.a.output}'}\n"
    )
    assert plan.reads == {"a"}
