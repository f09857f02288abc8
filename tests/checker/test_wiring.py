"""Who waits for whom, and where a stream can flow: needs, feeds_from, routed_by, whole, flows."""

from __future__ import annotations

import pytest

from graphs.plan import Job, WorkflowCall
from tests.checker.compiling import compiled, messages, workflow

ECHO = "components: [{id: echo, type: echo, default: true, text: '${input.text}'}]\n"


def jobs(text: str) -> dict[str, Job]:
    return dict(workflow(ECHO, text).jobs)


def test_a_job_needs_what_its_bindings_and_depends_on_name() -> None:
    found = jobs(
        """
        workflow:
          jobs:
            - {id: a}
            - {id: b}
            - {id: c, input: {text: "${jobs.a.output.x[0]}"}, depends_on: b, condition: "${jobs.d.output}"}
            - {id: d}
        """
    )
    assert found["c"].needs == found["c"].feeds_from == {"a", "b", "d"}
    assert found["a"].needs == frozenset()


def test_a_need_named_in_a_default_an_output_or_an_on_error_counts() -> None:
    found = jobs(
        """
        workflow:
          jobs:
            - {id: a}
            - {id: b}
            - {id: c}
            - id: last
              input: {text: "${input.x | ${jobs.a.output}}"}
              output: "${output} ${jobs.b.output}"
              on_error: {output: "${jobs.c.output}"}
        """
    )
    assert found["last"].needs == {"a", "b", "c"}


def test_what_a_router_leads_to_waits_for_it_and_takes_nothing_from_it() -> None:
    found = jobs(
        """
        workflow:
          jobs:
            - {id: route, type: if, condition: "${input.x}", if_true: a, if_false: b}
            - {id: a}
            - {id: b, on_error: {to: c}}
            - {id: c, input: {text: "${jobs.a.output}"}}
        """
    )
    assert found["a"].routed_by == found["b"].routed_by == {"route"}
    assert (found["a"].needs, found["a"].feeds_from) == ({"route"}, frozenset())
    assert (found["c"].routed_by, found["c"].needs, found["c"].feeds_from) == ({"b"}, {"a", "b"}, {"a"})


@pytest.mark.parametrize(
    ("given", "flows"),
    [
        ("{text: '${jobs.a.output}'}", True),
        ("{text: '${jobs.a.output as text}'}", True),
        ("{text: '${jobs.a.output as text;sse-text}'}", True),
        ("{text: 'It said ${jobs.a.output}'}", False),
        ("{text: '${jobs.a.output as integer}'}", False),
        ("{text: '${jobs.a.output.text}'}", False),
        ("{text: '${jobs.a.output == null}'}", False),
        ("{text: ['${jobs.a.output}']}", False),
        ("{text: '${jobs.a.output}', other: '${jobs.a.output}'}", False),
        ("'${jobs.a.output}'", False),
    ],
)
def test_a_stream_flows_where_it_is_the_whole_of_what_the_component_can_take_once(given: str, flows: bool) -> None:
    found = jobs(f"workflow: {{jobs: [{{id: a}}, {{id: b, input: {given}}}]}}\n")
    assert (found["b"].flows, found["b"].whole) == (({"a"}, frozenset()) if flows else (frozenset(), {"a"}))


@pytest.mark.parametrize(
    ("action", "flows"),
    [
        ("text: '${input.text}'", True),
        ("text: 'Say ${input.text}'", False),
        ("text: '${input.text}', interval: '${input.text}'", False),
        ("text: hi, repeat: '${input.text}'", False),
        ("text: '${input.text as json}'", False),
    ],
)
def test_a_stream_flows_only_into_a_field_that_takes_streams(action: str, flows: bool) -> None:
    found = workflow(
        f"components: [{{id: echo, type: echo, {action}}}]\n"
        "workflow: {jobs: [{id: a, input: {text: hi}}, {id: b, input: {text: '${jobs.a.output}'}}]}\n"
    ).jobs
    assert found["b"].flows == ({"a"} if flows else frozenset())


def test_a_condition_on_a_job_needs_it_whole() -> None:
    found = jobs("workflow: {jobs: [{id: a}, {id: b, condition: '${jobs.a.output}'}]}\n")
    assert found["b"].whole == {"a"}


def test_a_stream_flows_into_the_items_of_a_for_each_and_through_an_output() -> None:
    found = jobs(
        """
        workflow:
          jobs:
            - {id: a}
            - {id: each, type: for-each, input: "${jobs.a.output}", do: {input: {text: "${item}"}}}
            - {id: through, output: "${jobs.each.output}"}
        """
    )
    assert (found["each"].flows, found["through"].flows) == ({"a"}, {"each"})


@pytest.mark.parametrize(
    ("retry", "flows"),
    [("1", True), ("{max_attempts: 1, delay: 5s}", True), ("2", False), ("{max_attempts: 9}", False)],
)
def test_a_job_that_is_tried_again_is_handed_a_stream_whole_so_that_each_attempt_can_read_it(
    retry: str, flows: bool
) -> None:
    found = jobs(
        f"""
        workflow:
          jobs:
            - {{id: a}}
            - {{id: b, retry: {retry}, input: {{text: "${{jobs.a.output}}"}}}}
            - {{id: c, retry: {retry}, type: for-each, input: "${{jobs.a.output}}", do: {{}}}}
            - {{id: d, retry: {retry}, output: "${{jobs.a.output}}"}}
        """
    )
    for job in "bcd":
        assert (found[job].flows, found[job].whole) == (({"a"}, frozenset()) if flows else (frozenset(), {"a"}))


def test_a_job_may_read_what_only_the_other_branch_gives() -> None:
    assert jobs(
        """
        workflow:
          jobs:
            - {id: route, type: if, condition: "${input.x}", if_true: a, if_false: b}
            - {id: a}
            - {id: b, input: {text: "${jobs.a.output | nothing}"}}
        """
    )


def test_a_workflow_component_is_called_in_the_same_run() -> None:
    plan = compiled(
        """
        components:
          - {id: say, type: echo, text: "${input.text}"}
          - {id: inner, type: workflow, workflow: one, action: {input: {text: "${input.words}"}, output: "${result}"}}
        workflows:
          - {id: one, component: say}
          - {id: two, jobs: [{component: inner, input: {words: hi}}]}
        """
    )
    [job] = plan.workflows["two"].jobs.values()
    call = job.call  # type: ignore[union-attr]
    assert isinstance(call, WorkflowCall)
    assert (call.workflow, call.component, call.output is not None) == ("one", "inner", True)


def test_a_workflow_component_that_names_none_runs_the_default_one() -> None:
    plan = compiled(
        """
        components:
          - {id: say, type: echo, text: "${input.text}"}
          - {id: inner, type: workflow}
        workflows:
          - {id: one, default: true, component: say}
          - {id: two, jobs: [{component: inner}]}
        """
    )
    [job] = plan.workflows["two"].jobs.values()
    assert job.call.workflow == "one"  # type: ignore[union-attr]


@pytest.mark.parametrize(("written", "attempts"), [("3", 3), ("{max_attempts: 2, delay: 1s, backoff: exponential}", 2)])
def test_retry_is_a_number_or_a_mapping(written: str, attempts: int) -> None:
    [job] = jobs(f"workflow: {{retry: {written}}}\n").values()
    assert job.retry.max_attempts == attempts
    assert job.retry.backoff == (1.0 if written == "3" else 2.0)


# --- cycles and dead ends ----------------------------------------------------------------------------------------------


def test_a_cycle_names_every_job_in_it() -> None:
    chain = ", ".join(f"{{id: j{n}, input: {{text: '${{jobs.j{(n + 1) % 4}.output}}'}}}}" for n in range(4))
    assert messages(ECHO, f"workflow: {{jobs: [{chain}]}}\n") == [
        "jobs wait for each other: j0 -> j1 -> j2 -> j3 -> j0"
    ]


def test_every_cycle_is_told() -> None:
    text = (
        "workflow: {jobs: ["
        + ", ".join(f"{{id: {one}, depends_on: {other}}}" for one, other in ("ab", "ba", "cd", "dc"))
        + "]}\n"
    )
    assert len(messages(ECHO, text)) == 2


def test_a_long_chain_of_jobs_is_no_problem() -> None:
    chain = ", ".join(f"{{id: j{n}, depends_on: j{n + 1}}}" for n in range(1500))
    assert len(jobs(f"workflow: {{jobs: [{chain}, {{id: j1500}}]}}\n")) == 1501


def test_only_the_cause_of_a_dead_end_is_told() -> None:
    text = """
        workflow:
          jobs:
            - {id: route, type: if, condition: "${input.x}", if_true: a}
            - {id: a, condition: false, on_error: {to: b}}
            - {id: b, on_error: {to: c}}
            - {id: c}
            - {id: d}
        """
    assert messages(ECHO, text) == ["job 'a' can never run: its condition is always false"]
