"""What is checked is a Plan and nothing else: frozen, picklable, and holding no text of the document."""

from __future__ import annotations

import dataclasses
import pickle
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from graphs.plan import Inputs, Options, Readers, Sessions
from graphs.source import DocumentError
from tests.checker.compiling import compiled, messages

EVERYTHING = (Path(__file__).parent.parent / "documents" / "everything.yaml").read_text(encoding="utf-8")


def parts(value: Any) -> list[Any]:
    """Return everything a plan holds."""
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = [getattr(value, each.name) for each in dataclasses.fields(value)]
    elif isinstance(value, dict):
        inner = [*value.keys(), *value.values()]
    elif isinstance(value, list | tuple | set | frozenset):
        inner = list(value)
    else:
        inner = []
    return [value, *(part for each in inner for part in parts(each))]


def test_a_plan_pickles_to_itself() -> None:
    plan = compiled(EVERYTHING)
    assert pickle.loads(pickle.dumps(plan)) == plan


def test_timeouts_are_seconds_in_the_plan_and_none_where_not_written() -> None:
    plan = compiled(EVERYTHING)
    assert (plan.workflows["main"].timeout, plan.workflows["polish"].timeout) == (600.0, None)
    jobs = plan.workflows["main"].jobs
    assert (jobs["full"].timeout, jobs["brief"].timeout) == (90.0, None)


def test_a_flat_workflow_has_its_timeout_itself() -> None:
    plan = compiled("component: {type: echo, text: hi}\nworkflow: {timeout: 5s}\n")
    [workflow] = plan.workflows.values()
    assert (workflow.timeout, [job.timeout for job in workflow.jobs.values()]) == (5.0, [None])


def test_who_reads_whose_output_is_settled_once_and_travels_with_the_plan() -> None:
    jobs = """
        workflow:
          output: ${output}
          jobs:
            - {id: a}
            - {id: b, input: {text: "${jobs.a.output}"}}
            - {id: c, input: {text: "so ${jobs.a.output}"}, depends_on: b}
            - {id: route, type: if, condition: "${input.x}", if_true: d}
            - {id: d, retry: 2, input: {text: "${jobs.a.output}"}}
        """
    plan = compiled("component: {type: echo, text: '${input.text}'}\n", jobs)
    [workflow] = pickle.loads(pickle.dumps(plan)).workflows.values()
    wiring = workflow.wiring
    assert wiring == next(iter(plan.workflows.values())).wiring
    assert workflow.wiring is wiring
    assert wiring.readers["a"] == Readers(flowing=("b",), whole=True, ended=False, result=False)
    assert wiring.readers["b"] == Readers(flowing=(), whole=False, ended=True, result=False)
    assert wiring.inputs["c"] == Inputs(frozenset(), frozenset({"a"}), frozenset({"b"}))
    assert wiring.inputs["d"].whole == {"a"}
    assert (wiring.finals, wiring.needs_final) == (("d", "c"), True)


def test_a_plan_is_frozen() -> None:
    plan = compiled(EVERYTHING)
    with pytest.raises(dataclasses.FrozenInstanceError):
        plan.default_workflow = "other"  # type: ignore[misc]


def test_a_plan_holds_only_values_and_what_the_language_and_the_plan_define() -> None:
    modules = {type(part).__module__ for part in parts(compiled(EVERYTHING))}
    assert modules <= {"builtins", "graphs.plan", "graphs.language.nodes"}


def test_a_plan_doesnt_know_the_environment_but_for_what_it_took_from_it() -> None:
    plan = compiled("component: {type: echo, text: '${env.A} ${env.UNUSED | x}'}\n", env={"A": "value-of-a", "B": "b"})
    texts = [part for part in parts(plan) if isinstance(part, str)]
    assert not any("env." in text or "UNUSED" in text for text in texts)


def test_two_compilations_are_equal() -> None:
    assert compiled(EVERYTHING) == compiled(EVERYTHING)


def test_resources_become_options() -> None:
    plan = compiled(EVERYTHING)
    writer = plan.components["writer"].options
    assert (writer.num_gpus, writer.memory, writer.accelerator_type) == (0.5, 8 * 2**30, "L4")
    assert (writer.replicas, writer.max_concurrent_count, writer.max_queued) == (2, 16, 32)
    assert writer.runtime_env == {"env_vars": {"MODE": "quiet"}}
    assert plan.components["echo"].options == Options()
    assert plan.controller.options.autoscaling == {
        "min": 1, "max": 3, "target_ongoing_requests": 20.0, "upscale_delay": 5.0,
    }  # fmt: skip


def test_limits_of_the_controller_that_are_nothing_are_the_defaults() -> None:
    document = "controller: {max_concurrent_count: null, max_queued: null}\ncomponent: {type: echo, text: hi}\n"
    assert compiled(document).controller.options == compiled(document.split("\n", 1)[1]).controller.options


@pytest.mark.parametrize(
    ("written", "sent"),
    [
        ("'*'", "*"),
        ("https://a.example", "https://a.example"),
        ("HTTPS://A.Example/", "https://a.example"),
        ("https://a.example:443", "https://a.example"),
        ("http://a.example:80", "http://a.example"),
        ("http://a.example:443", "http://a.example:443"),
        ("http://localhost:3000", "http://localhost:3000"),
        ("'http://[::1]:8080'", "http://[::1]:8080"),
        ("chrome-extension://abcdef", "chrome-extension://abcdef"),
        ("'null'", "null"),
    ],
)
def test_an_origin_is_kept_as_browsers_send_it(written: str, sent: str) -> None:
    assert compiled(
        f"controller: {{origins: [{written}]}}\ncomponent: {{type: echo, text: hi}}\n"
    ).controller.origins == (sent,)


def test_all_mistakes_of_a_document_are_told_at_once_in_its_order() -> None:
    wrong = (
        EVERYTHING.replace("port: 8080", "prt: 8080").replace("gpt2", "[gpt2]").replace("if_true: wait", "if_true: wat")
    )
    wrong = wrong.replace("${jobs.left.output}", "${jobs.lft.output}")
    assert messages(wrong) == [
        "unknown key 'prt' in the controller",
        "expected text, got a list",
        "job 'route' leads to unknown job 'wat'",
        "unknown job 'lft' in ${jobs.lft.output}",
    ]


LINES = EVERYTHING.splitlines()
JUNK = ["null", "[]", "{}", "5", "-1", "true", "hi", '""', "[1, {a: b}]", "{a: {b: c}}", '"${input.x}"', '"${"', '"${output}"',
        '"${jobs.nope.output}"', '"${env.NOPE}"', '"${response[]}"', "*nope", "!tag x", "1e999", "x" * 200]  # fmt: skip

values = st.sampled_from(JUNK)
characters = st.sampled_from(list("\t{}[]:#\"'$|>@-é한\x00 "))


@st.composite
def broken(draw: st.DrawFn) -> str:
    """Return the document with a few lines lost, doubled, swapped, indented, cut, or given another value."""
    lines = list(LINES)
    for _ in range(draw(st.integers(1, 3))):
        at = draw(st.integers(0, len(lines) - 1))
        line = lines[at]
        match draw(st.integers(0, 6)):
            case 0:
                del lines[at]
            case 1:
                lines.insert(at, line)
            case 2:
                lines[at] = f"{line.split(':')[0]}: {draw(values)}"
            case 3:
                lines[at] = f"  {line}"
            case 4:
                lines[at] = line[1:]
            case 5:
                place = draw(st.integers(0, len(line)))
                lines[at] = line[:place] + draw(characters) + line[place:]
            case _:
                place = draw(st.integers(0, len(line)))
                lines[at] = line[:place] + line[place + 1 :]
    return "\n".join(lines)


@settings(max_examples=150, deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(broken())
def test_any_document_is_a_plan_or_told_what_is_wrong(text: str) -> None:
    error = attempted(text)
    for diagnostic in error.diagnostics if error is not None else ():
        assert diagnostic.render()
    assert error is None or pickle.loads(pickle.dumps(error)).message == error.message


def attempted(text: str) -> DocumentError | None:
    try:
        compiled(text)
    except DocumentError as error:
        return error
    return None


def test_a_plan_says_whether_a_binding_reads_what_was_said_in_the_session() -> None:
    echo = "component: {type: echo, text: '%s'}"
    assert not compiled(echo % "${session.id}").reads_messages
    assert not compiled(echo % r"\${session.messages}").reads_messages
    assert compiled(echo % "${session.messages}").reads_messages
    assert compiled(echo % "${input.x | ${session.messages[-1].content}}").reads_messages


def test_sessions_are_kept_and_sent_as_the_document_says() -> None:
    assert compiled("component: {type: echo, text: x}").controller.sessions == Sessions(30 * 86400.0, 400, None)
    written = (
        "controller: {sessions: {keep_for: 2h, max_messages: 9, max_characters: 100}}\ncomponent: {type: echo, text: x}"
    )
    assert compiled(written).controller.sessions == Sessions(7200.0, 9, 100)
