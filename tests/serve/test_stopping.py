"""What `anabranch serve` does when it stops, part by part, without Ray's processes."""

import asyncio
import json
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
    from deployments.serve.ingress import Draining

from deployments.serve import descendants


class Request:
    """A request to an application, and what it is answered."""

    def __init__(self, app: Draining) -> None:
        self.sent: list[dict] = []
        self.task = asyncio.ensure_future(
            app({"type": "http", "method": "GET", "path": "/"}, self._receive, self._send)
        )

    async def _receive(self) -> dict:
        return {"type": "http.request", "body": b""}

    async def _send(self, message) -> None:
        self.sent.append(message)


async def test_requests_under_way_end_new_ones_are_refused_and_then_it_is_drained():
    go_on = asyncio.Event()

    async def slow(scope, receive, send) -> None:
        await go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": []})

    app = Draining(slow)
    first, second = Request(app), Request(app)
    await asyncio.sleep(0)
    draining = asyncio.ensure_future(app.drain())
    await asyncio.sleep(0)
    late = Request(app)
    await late.task
    assert late.sent[0]["status"] == 503
    assert json.loads(late.sent[1]["body"]) == {"error": {"type": "unavailable", "message": "the server is stopping"}}
    assert not draining.done()
    go_on.set()
    assert await draining == 2
    assert [each.sent[0]["status"] for each in (first, second)] == [200, 200]


async def test_a_request_that_fails_or_is_left_is_no_longer_under_way():
    async def broken(scope, receive, send) -> None:
        raise RuntimeError("a bug")

    async def endless(scope, receive, send) -> None:
        await asyncio.Event().wait()

    for app in (Draining(broken), Draining(endless)):
        request = Request(app)
        await asyncio.sleep(0)
        request.task.cancel()
        await asyncio.wait([request.task])
        if not request.task.cancelled():
            assert isinstance(request.task.exception(), RuntimeError)
        assert await app.drain() == 0


async def test_a_server_without_requests_is_drained_at_once():
    assert await Draining(lambda scope, receive, send: asyncio.sleep(0)).drain() == 0


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
