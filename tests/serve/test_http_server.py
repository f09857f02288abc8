"""Servers that belong to replicas, over Ray Serve: several of them, killed from either side, with the replica's GPUs."""

import asyncio
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from ray import serve
from ray._private.worker import global_worker
from ray.serve.context import _get_global_client

from deployments.components import registry
from graphs.app import compose
from graphs.load import load_inline
from tests.serve.api import END, Api, calling, data, until
from tests.servers.waiting import gone, parent_of

pytestmark = pytest.mark.asyncio(loop_scope="module")

TYPES = registry()
LITTLE = Path(__file__).parent.parent / "servers" / "little.py"

DOCUMENT = """
    components:
      - id: twins
        type: http-server
        start: [PYTHON, -S, LITTLE, "${port}", --brood]
        healthcheck: {path: /health, interval: 200ms}
        replicas: 2
        resources: {num_gpus: 1}
        actions: &calls
          - id: chat
            path: /v1/chat/completions
            body: {stream: true}
            stream_format: json
            output: ${response[].choices[0].delta.content}
          - id: who
            default: true
            path: /who
            method: GET
      - id: single
        type: http-server
        start: exec PYTHON -S LITTLE ${port} --deaf --brood --once BROKEN
        healthcheck: {path: /health, interval: 200ms}
        stop_timeout: 200ms
        actions: *calls
    workflows:
      - id: chat
        output: ${output as text;sse-text}
        jobs: [{component: twins, action: chat}]
      - id: who
        jobs: [{component: twins}]
      - id: single
        jobs: [{component: single}]
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file that keeps the single server from starting, as long as it is there."""
    return tmp_path_factory.mktemp("servers") / "broken"


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(cluster: str, broken: Path) -> AsyncIterator[Api]:
    document = textwrap.dedent(DOCUMENT)
    for name, value in {"PYTHON": sys.executable, "LITTLE": LITTLE, "BROKEN": broken}.items():
        document = document.replace(name, str(value))
    serve.run(compose(load_inline(document, TYPES), TYPES), name="main")
    async with calling(cluster) as api:
        yield api


async def servers(api: Api, workflow: str = "who", count: int = 2) -> dict[int, dict[str, Any]]:
    """Return what the servers of all replicas say of themselves, by process: replicas are called by chance."""
    found: dict[int, dict[str, Any]] = {}

    async def look() -> int:
        answer = await api.run(workflow)
        if answer.status == 200:
            found[answer.json()["pid"]] = answer.json()
        return len(found)

    await until(look, lambda seen: seen >= count)
    return found


def replicas(deployment: str) -> list[int]:
    """The processes of a deployment's running replicas."""
    details = _get_global_client().get_serve_details()["applications"]["main"]["deployments"][deployment]
    return [each["pid"] for each in details["replicas"] if each["state"] == "RUNNING"]


async def log_of_single() -> str:
    logs = Path(global_worker.node.get_session_dir_path(), "logs", "serve").glob("replica_main_single_*")  # noqa: ASYNC240
    return "".join(path.read_text(encoding="utf-8") for path in logs)


async def test_a_server_streams_to_the_client(api: Api) -> None:
    answer = await api.run("chat")
    assert answer.body == data("한국어 ", "and ", "🙂") + END


async def test_each_replica_has_a_server_with_its_own_port_and_its_own_gpu(api: Api) -> None:
    found = (await servers(api)).values()
    assert len({each["port"] for each in found}) == 2
    assert len({each["CUDA_VISIBLE_DEVICES"] for each in found}) == 2


async def test_a_server_that_is_killed_is_started_again_by_its_replica(api: Api) -> None:
    (before,) = (await servers(api, "single", 1)).values()
    (replica,) = replicas("single")
    os.kill(before["pid"], signal.SIGKILL)
    assert await gone(before["brood"])

    async def look() -> Any:
        answer = await api.run("single")
        return answer.json()["pid"] if answer.status == 200 else before["pid"]

    after = await until(look, lambda pid: pid != before["pid"])
    assert await gone(before["pid"])
    assert replicas("single") == [replica]
    assert parent_of(after) != replica  # Ray kills a worker's own children, and could not be outlived by theirs


async def test_a_replica_that_is_killed_leaves_nothing_behind_and_is_replaced(api: Api) -> None:
    before = await servers(api)
    os.kill(replicas("twins")[0], signal.SIGKILL)
    first = asyncio.create_task(_first_gone(list(before)))
    dead = before[await first]
    assert await gone(dead["brood"])
    after = await servers(api, count=2)
    assert len(set(after) & set(before)) == 1


async def _first_gone(pids: list[int]) -> int:
    waiting = {asyncio.create_task(gone(pid)): pid for pid in pids}
    done, others = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    for task in others:
        task.cancel()
    await asyncio.wait(others)
    return waiting[done.pop()]


async def test_what_a_server_says_is_in_its_replicas_log(api: Api) -> None:
    assert await until(log_of_single, lambda text: "single | little server starts" in text)


async def test_a_replica_whose_server_stays_away_is_unhealthy_and_replaced(api: Api, broken: Path) -> None:
    (before,) = (await servers(api, "single", 1)).values()
    (replica,) = replicas("single")
    broken.touch()  # noqa: ASYNC240  (what the server looks for)
    os.kill(before["pid"], signal.SIGKILL)
    answer = await until(lambda: api.get("/ready"), lambda answer: answer.status == 503)
    assert answer.json()["components"]["twins"] == "ready"
    assert answer.json()["components"]["single"] != "ready"
    broken.unlink()  # noqa: ASYNC240
    assert await servers(api, "single", 1)
    assert replica not in replicas("single")


async def test_with_the_application_everything_goes(api: Api) -> None:
    found = [*(await servers(api)).values(), *(await servers(api, "single", 1)).values()]
    await asyncio.to_thread(serve.delete, "main")
    for each in found:
        assert await gone(each["pid"])
        assert await gone(each["brood"])
