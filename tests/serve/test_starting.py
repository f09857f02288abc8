"""`anabranch serve` while it starts: what it says, which of Ray's processes and flags there are, and what `--dashboard` adds."""

import os
import re
import subprocess
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest

from bench.systems import SCRIPTS, Server, System, serving
from deployments.serve import command
from deployments.telemetry.redaction import Redactor
from graphs.cli import main
from graphs.errors import Unavailable

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    import ray

    from deployments.serve import ray_node, starting
    from deployments.serve.ray_internals import DeploymentStatus
    from deployments.serve.starting import ApplicationStatus, Progress, wait_until_running

HELLO = "configs/hello.yaml"
ONLY_FOR_THE_DASHBOARD = {" dashboard.py", " monitor.py", "DashboardAgent"}


def states(**by_name: DeploymentStatus) -> dict[str, SimpleNamespace]:
    return {name: SimpleNamespace(status=status, message="") for name, status in by_name.items()}


def test_each_deployment_is_named_once_with_the_seconds_it_took_and_the_ingress_by_its_own_word():
    said: list[str] = []
    progress = Progress(said.append)
    progress.update({"chat": False, "Ingress": False}, 1.0)
    progress.update({"chat": True, "Ingress": False}, 2.13)
    progress.update({"chat": True, "Ingress": True}, 3.0)
    progress.update({"chat": True, "Ingress": True}, 3.1)
    assert said == ["  chat     ready after 2.1 s", "  ingress  ready after 3.0 s"]


def test_a_deployment_that_takes_long_is_named_once_before_it_is_ready():
    said: list[str] = []
    progress = Progress(said.append)
    for seconds in (9.9, 10.0, 30.0):
        progress.update({"model": False, "echo": True}, seconds)
    progress.update({"model": True, "echo": True}, 61.0)
    assert said == ["  echo   ready after 9.9 s", "  model  still starting after 10 s", "  model  ready after 61.0 s"]


def test_it_waits_until_the_application_runs(monkeypatch):
    healthy, updating = DeploymentStatus.HEALTHY, DeploymentStatus.UPDATING
    seen = iter(
        [
            SimpleNamespace(status=ApplicationStatus.DEPLOYING, message="", deployments=states(a=updating)),
            SimpleNamespace(status=ApplicationStatus.DEPLOYING, message="", deployments=states(a=healthy)),
            SimpleNamespace(status=ApplicationStatus.RUNNING, message="", deployments=states(a=healthy)),
        ]
    )
    monkeypatch.setattr(starting.serve, "status", lambda: SimpleNamespace(applications={"app": next(seen)}))
    monkeypatch.setattr(starting, "POLL", 0.0)
    said: list[str] = []
    wait_until_running("app", time.monotonic(), Redactor(frozenset()), said.append)
    assert len(said) == 1
    assert next(seen, None) is None


def test_a_deployment_that_failed_ends_the_wait_with_its_cause_and_without_secrets(monkeypatch):
    failed = states(a=DeploymentStatus.DEPLOY_FAILED, b=DeploymentStatus.UPDATING)
    failed["a"].message = "Error:\nValueError: no key s3cr3t-s3cr3t"
    application = SimpleNamespace(status=ApplicationStatus.DEPLOY_FAILED, message="it failed", deployments=failed)
    monkeypatch.setattr(starting.serve, "status", lambda: SimpleNamespace(applications={"app": application}))
    with pytest.raises(Unavailable) as refused:
        wait_until_running("app", 0.0, Redactor(frozenset({"s3cr3t-s3cr3t"})), print)
    first, second = refused.value.message.splitlines()
    assert first == "Deploying application app failed: it failed"
    assert second.startswith("component 'a' could not be started: ValueError: no key ")
    assert "s3cr3t" not in second


def test_flags_of_a_ray_of_its_own_are_set_only_where_the_command_starts_that_ray(monkeypatch):
    def set_flags(own: bool) -> set[str]:
        monkeypatch.setattr(os, "environ", {})
        return set(command._set_flags(own)) & set(command.OWN_FLAGS)

    assert set_flags(own=True) == set(command.OWN_FLAGS)
    assert set_flags(own=False) == set()


def test_a_flag_that_the_user_has_set_stays_and_is_the_one_that_ray_must_have_read(monkeypatch):
    chosen = dict.fromkeys([*command.FAST_FLAGS, *command.OWN_FLAGS], "chosen")
    monkeypatch.setattr(os, "environ", dict(chosen))
    assert chosen.items() <= command._set_flags(own=True).items()
    assert chosen.items() <= os.environ.items()


def test_a_dashboard_for_a_cluster_that_runs_already_is_refused(monkeypatch, capsys):
    monkeypatch.setenv("RAY_ADDRESS", "10.0.0.1:6379")
    assert main(["serve", HELLO, "--dashboard"]) == 1
    assert capsys.readouterr().err.startswith("--dashboard is for a Ray that this command starts")


def test_this_ray_starts_its_processes_as_is_expected():
    ray_node.check()


@pytest.mark.parametrize(
    ("where", "what", "missing"),
    [
        ("node", "Node", "the method start_monitor of nodes"),
        ("services", "start_raylet", "raylet's option --dashboard_agent_command="),
        ("raylet", None, "raylet's persist_port"),
    ],
)
def test_a_ray_that_starts_its_processes_in_another_way_is_refused(
    monkeypatch, where: str, what: str | None, missing: str
):
    class Node:
        def start_raylet(self) -> None: ...

    def start_raylet() -> None: ...

    if what is None:
        monkeypatch.setattr(ray_node, where, SimpleNamespace())
    else:
        monkeypatch.setattr(getattr(ray_node, where), what, {"Node": Node, "start_raylet": start_raylet}[what])
    with pytest.raises(Unavailable, match=f"^Ray {ray.__version__} no longer has .*{missing}.*--dashboard"):
        ray_node.check()


@pytest.fixture(scope="module", params=[(), ("--dashboard",)], ids=["as it comes", "with the dashboard"])
def started(request) -> Iterator[tuple[Server, bool]]:
    def line(port: int, _: Path) -> list[str]:
        return [str(SCRIPTS / "anabranch"), "serve", HELLO, "--port", str(port), *request.param]

    with serving(System("hello", "anabranch serve", line, says="Serving ")) as server:
        yield server, bool(request.param)


def test_its_processes_are_those_that_were_asked_for_and_each_deployment_is_said_to_be_ready(started):
    server, dashboard = started
    names = [process.name for process in server.processes.find()]
    assert {each for each in ONLY_FOR_THE_DASHBOARD if any(each in name for name in names)} == (
        ONLY_FOR_THE_DASHBOARD if dashboard else set()
    )
    assert any("no_agent.py" in name for name in names) is not dashboard
    log = server.log.read_text()
    ready = re.findall(r"^  (\w+) +ready after \d+\.\d s$", log, re.MULTILINE)
    assert sorted(ready) == ["echo", "ingress", "shouter"]
    assert log.index("Ray started after") < log.index("ready after") < log.index("Serving ")


def test_serve_status_answers_where_there_is_a_dashboard(started):
    server, dashboard = started
    address = re.search(r"View the dashboard at \S*?(http://[\d.]+:\d+)", server.log.read_text())
    assert (address is not None) is dashboard
    if address is not None:
        status = subprocess.run(
            [str(SCRIPTS / "serve"), "status", "-a", address[1]],
            env={**os.environ, "RAY_AUTH_MODE": "token"}, capture_output=True, text=True, check=True,
        )  # fmt: skip
        assert "status: RUNNING" in status.stdout
