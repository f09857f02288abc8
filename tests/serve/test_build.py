"""What building says in the log, and what it refuses."""

from __future__ import annotations

import pytest

from graphs import app
from graphs.app import BuildArgs, build
from graphs.errors import Unavailable


def test_warnings_of_a_document_stand_in_the_log(caplog: pytest.LogCaptureFixture):
    build(BuildArgs(document="component: {type: echo, text: say $API_KEY}", check_placement=False))
    [record] = [each for each in caplog.records if each.name == "anabranch.build"]
    assert (record.levelname, record.getMessage().splitlines()[0]) == (
        "WARNING", "<document>:1:35: warning: '$API_KEY' is plain text, not a binding"
    )  # fmt: skip


@pytest.mark.parametrize("check_placement", [True, False])
def test_a_store_that_is_a_file_is_refused_on_several_nodes(monkeypatch: pytest.MonkeyPatch, check_placement: bool):
    nodes = [{"Alive": alive, "Resources": {"CPU": 8.0}} for alive in (True, True, False)]
    monkeypatch.setattr(app.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(app.ray, "nodes", lambda: nodes)
    document = "controller: {{store: '{}'}}\ncomponent: {{type: echo, text: hi}}"
    with pytest.raises(Unavailable, match=r"the file /runs\.db, and the cluster has 2 nodes that"):
        build(BuildArgs(document=document.format("sqlite:////runs.db"), check_placement=check_placement))
    build(BuildArgs(document=document.format("postgresql://db/runs"), check_placement=check_placement))
    nodes[1]["Alive"] = False
    build(BuildArgs(document=document.format("sqlite:////runs.db"), check_placement=check_placement))


def test_a_document_without_a_store_is_served_on_several_nodes_and_keeps_no_runs(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
):
    monkeypatch.setattr(app.ray, "is_initialized", lambda: True)
    monkeypatch.setattr(app.ray, "nodes", lambda: [{"Alive": True, "Resources": {"CPU": 8.0}}] * 2)
    bound = []
    monkeypatch.setattr(app.ingress, "bind_ingress", lambda plan, *_: bound.append(plan))
    build(BuildArgs(document="component: {type: echo, text: hi}"))
    assert bound[0].controller.store.url is None
    assert "no run can be kept: controller.store is the file" in caplog.text
