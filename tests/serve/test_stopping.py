"""What `anabranch serve` does when it stops, part by part, without Ray's processes."""

import os
import subprocess
import sys
import warnings
from types import SimpleNamespace

import pytest

with warnings.catch_warnings():
    # Ray's own modules warn when they are imported, and warnings are errors here.
    warnings.simplefilter("ignore")
    from ray import serve as ray_serve

    from deployments.serve import command

from deployments.serve import descendants


@pytest.mark.parametrize(
    ("outcome", "said"),
    [
        (TimeoutError(), "Requests still under way after 30 s are cut."),
        (RuntimeError("no replica"), "The ingress could not be asked to stop: no replica"),
    ],
)
async def test_an_ingress_that_is_not_drained_keeps_nothing_from_ending(monkeypatch, capsys, outcome, said):
    async def results_async(timeout_s: float) -> list[int]:
        assert timeout_s == command.PATIENCE == 30.0
        raise outcome

    handle = SimpleNamespace(broadcast=lambda method: SimpleNamespace(results_async=results_async))
    monkeypatch.setattr(ray_serve, "get_app_handle", lambda name: handle)
    assert await command._drained("it") == 0
    assert capsys.readouterr().err == f"{said}\n"


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_a_process_whose_parent_has_ended_is_still_found_and_ended():
    # In a process of its own: a subreaper would keep orphans of other tests.
    script = """
import os, subprocess, sys
from deployments.serve.descendants import descendants, end_descendants, keep_descendants
keep_descendants()
sleeper = "import subprocess, sys; print(subprocess.Popen(['sleep', '1000'], start_new_session=True, stdout=2).pid, flush=True)"
parent = subprocess.run([sys.executable, "-c", sleeper], stdout=subprocess.PIPE, check=True)
orphan = int(parent.stdout)
assert descendants() == [orphan], descendants()
end_descendants()
assert descendants() == []
"""
    ran = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr


def test_what_descends_from_another_process_is_left_alone():
    assert os.getppid() not in descendants.descendants()
