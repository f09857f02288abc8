"""An http-server as documents write it: its port, and the folder it runs in."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from deployments.components import registry
from deployments.serve.options import serve_options
from graphs.load import load
from graphs.source import DocumentError

DOCUMENT = """
component:
  type: http-server
  start: {start}
  working_dir: {folder}
  action: {{path: /}}
"""


@pytest.fixture
def beside(tmp_path: Path) -> Path:
    (tmp_path / "a" / "server").mkdir(parents=True)
    return tmp_path / "a"


def config(beside: Path, folder: str = ".", start: str = "./serve --port ${port}") -> Any:
    path = beside / "one.yaml"
    path.write_text(DOCUMENT.format(folder=folder, start=start))
    (component,) = load([path], registry(), {}).components.values()
    return component.config


@pytest.mark.parametrize(("written", "meant"), [("server", "server"), ("./server", "server"), (".", ""), ("../a", "")])
def test_a_relative_folder_begins_beside_the_document(
    beside: Path, written: str, meant: str, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir("/")
    assert config(beside, written)["working_dir"] == str(beside / meant)


@pytest.mark.parametrize("written", ["/srv/only-in-the-image", "~/server"])
def test_other_folders_are_the_replicas(beside: Path, written: str):
    assert config(beside, written)["working_dir"] == written


@pytest.mark.parametrize("written", ["none", "./none"])
def test_a_relative_folder_must_be_there(beside: Path, written: str):
    with pytest.raises(DocumentError, match=f"there is no folder '{written}'"):
        config(beside, written)


@pytest.mark.parametrize(
    ("completion", "message"),
    [
        ("{type: polling, endpoint: 'http://elsewhere/jobs'}", "unknown key .*endpoint"),
        ("{type: polling}", "polling needs a path to ask"),
        ("{type: polling, paht: /jobs}", "did you mean 'path'"),
    ],
)
def test_a_job_is_asked_for_at_the_server_itself(beside: Path, completion: str, message: str):
    path = beside / "jobs.yaml"
    document = DOCUMENT.format(folder=".", start="./serve ${port}")
    path.write_text(document.replace("{path: /}", f"{{path: /jobs, completion: {completion}}}"))
    with pytest.raises(DocumentError, match=message):
        load([path], registry(), {})


@pytest.mark.parametrize(
    ("keys", "given"),
    [
        ("stop_timeout: 60s", 70),
        ("{stop_timeout: 1m, clean: rm -r cache}", 80),
        ("stop_timeout: 5", 30),
        ("clean: rm -r cache", 30),
        ("clean: null", 30),
    ],
)
def test_a_replica_has_time_to_stop_its_server_and_to_clean(beside: Path, keys: str, given: float):
    path = beside / "one.yaml"
    added = "".join(f"  {line}\n" for line in keys.strip("{}").split(", "))
    path.write_text(DOCUMENT.format(folder=".", start="./serve ${port}") + added)
    (component,) = load([path], registry(), {}).components.values()
    assert serve_options(component.options)["graceful_shutdown_timeout_s"] == given


def test_no_folder_is_none(beside: Path):
    assert config(beside, "null")["working_dir"] is None


@pytest.mark.parametrize(
    ("start", "command"),
    [
        ("serve --port ${port}", ["/bin/sh", "-ec", "serve --port ${port}"]),
        (r'[serve, "--home=\\${HOME}", "${port}"]', ["serve", "--home=${HOME}", "${port}"]),
    ],
)
def test_the_port_reaches_the_replica_as_it_is_written(beside: Path, start: str, command: list[str]):
    assert registry()["http-server"].Config.model_validate(config(beside, start=start)).model_dump()["start"] == command


@pytest.mark.parametrize("start", ["serve --port ${prt}", "serve --port ${input.port}"])
def test_nothing_but_the_port_is_known(beside: Path, start: str):
    with pytest.raises(DocumentError, match="port"):
        config(beside, start=start)
