"""What is printed: a command that runs, what isn't enforced, and what a change has changed."""

import json
import shlex
import subprocess
import textwrap
from typing import Any

import pytest

from deployments.components import registry
from deployments.dev import report
from deployments.dev.graph import Changes
from deployments.local.component import LocalComponent
from deployments.telemetry.redaction import Redactor
from graphs.load import load_inline
from graphs.plan import Plan

TYPES = registry()
URL = "http://127.0.0.1:8080"


def plan(document: str) -> Plan:
    return load_inline(textwrap.dedent(document), TYPES, {})


def sent(document: str) -> Any:
    """What the shell sends when the command is typed as printed."""
    command = report.curl(plan(document), URL)
    assert command is not None
    # Not curl, but what it is given: the shell takes the quotes away.
    typed = subprocess.run(["sh", "-c", command.replace("curl", "printf '%s\\0'", 1)], capture_output=True, check=True)
    words = typed.stdout.decode().split("\0")[:-1]
    assert words == shlex.split(command)[1:]
    assert words[:2] == ["-N", f"{URL}/workflows/runs"]
    return json.loads(words[-1])


def test_the_command_gives_what_must_be_given_and_leaves_the_rest_to_its_defaults():
    document = """
        component:
          type: echo
          action:
            text: ${input.prompt as text}
            repeat: ${input.times as integer}
            interval: ${input.interval | 0}
    """
    assert sent(document) == {"input": {"prompt": "Hello", "times": 1}, "output_only": True}


def test_the_command_holds_quotes_of_every_kind():
    document = """
        component:
          type: echo
          action: {text: "${input.it as select/it's \\"so\\",no}"}
    """
    assert sent(document)["input"] == {"it": 'it\'s "so"'}


def test_the_command_names_the_workflow_where_none_is_the_default():
    document = """
        component: {type: echo, action: {text: hi}}
        workflows:
          - id: one
          - id: two
    """
    assert sent(document)["workflow_id"] == "one"
    assert "workflow_id" not in sent(document.replace("id: two", "id: two\n            default: true"))


def test_a_document_without_a_workflow_has_no_command():
    assert report.curl(Plan(plan("component: {type: echo, action: {text: hi}}").controller, {}, {}, None), URL) is None


def test_what_is_asked_of_a_cluster_is_noted_and_what_is_not_asked_is_not(capsys: pytest.CaptureFixture[str]):
    document = """
        components:
          - {id: plain, type: echo, action: {text: hi}}
          - id: greedy
            type: echo
            resources: {num_gpus: 1, num_cpus: 2, memory: 2GiB}
            replicas: 3
            action: {text: hi}
          - id: elastic
            type: echo
            autoscaling: {min: 1, max: 3}
            runtime_env: {env_vars: {A: b}}
            action: {text: hi}
        workflow:
          jobs:
            - {id: a, component: plain}
            - {id: b, component: greedy}
            - {id: c, component: elastic}
    """
    report.tell_ready(plan(document), [], URL, 0.0)
    said = capsys.readouterr().err
    assert (
        "  greedy asks for 1 GPU, 2 CPUs, 2147483648 bytes of memory, 3 replicas; dev runs it once, in this process\n"
        in said
    )
    assert "  elastic asks for autoscaling, a runtime_env; dev runs it once, in this process\n" in said
    assert "plain asks" not in said


def local(plan: Plan) -> dict[str, LocalComponent]:
    return {id: LocalComponent(each, TYPES[each.type], Redactor()) for id, each in plan.components.items()}


BEFORE = """
    components:
      - {id: kept, type: echo, action: {text: hi}}
      - {id: gone, type: echo, action: {text: hi}}
      - {id: other, type: echo, action: {text: hi}}
    workflows:
      - {id: same, jobs: [{component: kept}]}
      - {id: changed, jobs: [{component: kept}]}
      - {id: removed, jobs: [{component: gone}]}
      - {id: last, jobs: [{component: other}]}
"""
AFTER = """
    controller: {max_request_size: 1MB, port: 7777}
    # A comment moves everything one line down: that is no change.
    components:
      - {id: kept, type: echo, action: {text: hi}}
      - {id: new, type: echo, action: {text: hi}}
      - {id: other, type: echo, action: {text: ho}}
    workflows:
      - {id: same, jobs: [{component: kept}]}
      - {id: changed, title: Another, jobs: [{component: kept}]}
      - {id: last, jobs: [{component: other}]}
      - {id: more, jobs: [{component: new}]}
"""


def test_a_change_names_what_was_added_changed_and_removed(capsys: pytest.CaptureFixture[str]):
    old, new = plan(BEFORE), plan(AFTER)
    before, after = local(old), local(new)
    fresh = {id: after[id] for id in ("new", "other")}
    changes = Changes({"kept": before["kept"]}, fresh, {}, frozenset(), {id: before[id] for id in ("gone", "other")})
    report.tell_changed(old, new, changes, 2, 0.0)
    said = capsys.readouterr().err
    assert (
        ": component new added; component other changed; component gone removed; workflow more added; "
        "workflow changed changed; workflow removed removed; controller changed.\n"
    ) in said
    assert "2 requests under way end with what they began with.\n" in said
    assert "start `anabranch dev` again to listen there" in said


def test_a_comment_changes_nothing_that_runs(capsys: pytest.CaptureFixture[str]):
    old, new = plan(BEFORE), plan(f"    # A comment.\n{BEFORE}")
    kept = local(old)
    report.tell_changed(old, new, Changes(kept, {}, {}, frozenset(), {}), 1, 0.0)
    said = capsys.readouterr().err
    assert ": nothing that runs has changed.\n" in said
    assert "1 request under way ends with what it began with.\n" in said
