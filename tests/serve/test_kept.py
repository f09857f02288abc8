"""Kept runs over two replicas of the ingress: whichever answers, whichever dies, and over a start anew."""

import asyncio
import json
import os
import signal
import sqlite3
import textwrap
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from aiohttp import ClientError, ClientSession, ClientTimeout, TCPConnector
from ray import serve
from ray.serve.context import _get_global_client

from deployments.components import registry
from graphs.app import compose
from graphs.load import load_inline
from tests.serve.api import DEADLINE, Answer, until
from tests.serve.drill import Drill, tell, told

pytestmark = pytest.mark.asyncio(loop_scope="module")

APPLICATION = "kept"
ENOUGH = 16
"""Requests over connections of their own, of which both replicas get some."""


class LightDrill(Drill):
    """A drill that runs in the replica of the ingress which owns the run: its process tells the owner's."""

    type = "light-drill"
    light = True


TYPES = {**registry(), "light-drill": LightDrill}

DOCUMENT = """
    controller:
      replicas: 2
      store: "sqlite:///{store}"
    component:
      id: here
      type: light-drill
      placement: ingress
      action: {{do: "${{input.do}}", count: 3, event: "${{input.event | ''}}"}}
    workflow:
      id: drill
      output: ${{output as text;sse-text}}
      jobs: [{{component: here}}]
"""


class Served:
    """The application, asked over a new connection each time, and the file of its store."""

    def __init__(self, url: str, store: Path) -> None:
        self.url, self.store = url, store
        self._session = ClientSession(
            connector=TCPConnector(force_close=True), timeout=ClientTimeout(total=2 * DEADLINE)
        )

    async def aclose(self) -> None:
        await self._session.close()

    async def begin(self) -> None:
        """Build the application and start it."""
        document = textwrap.dedent(DOCUMENT).format(store=self.store)
        app = compose(load_inline(document, TYPES, {}), TYPES)
        await asyncio.to_thread(serve.run, app, name=APPLICATION, route_prefix="/")

    async def ask(self, method: str, path: str, body: Any = None, **headers: str) -> Answer:
        async with self._session.request(method, f"{self.url}{path}", json=body, headers=headers) as response:
            return Answer(response.status, response.headers, await response.read())

    async def start(self, **input: Any) -> str:
        """Start a run that nobody waits for, and return its id."""
        answer = await self.ask("POST", "/workflows/runs", {"input": input, "wait_for_completion": False})
        assert answer.status == 202, answer
        return answer.json()["task_id"]

    async def waiting(self) -> tuple[str, str, int]:
        """Return a run that has said its owner's process and waits; what it waits for; and that process."""
        event = uuid.uuid4().hex
        id = await self.start(do="wait", event=event)
        return id, event, await told(f"{event} started")

    async def task(self, id: str) -> dict[str, Any]:
        answer = await self.ask("GET", f"/tasks/{id}")
        assert answer.status == 200, answer
        return answer.json()

    async def ended(self, id: str) -> dict[str, Any]:
        return await until(lambda: self.task(id), lambda task: "completed_at" in task)

    async def follow(self, id: str, begun: asyncio.Semaphore | None = None) -> list[dict[str, str]] | None:
        """Read a run's stream to its end, and return its events; None if the stream was cut.

        `begun` is released once the first event is there.
        """
        read: list[dict[str, str]] = []
        with suppress(ClientError):
            async with self._session.get(f"{self.url}/tasks/{id}/stream") as response:
                assert response.status == 200, await response.read()
                while event := (await response.content.readuntil(b"\n\n")).decode():
                    if event != ":\n\n":
                        read.append(dict(line.split(": ", 1) for line in event.split("\n") if ": " in line))
                    if begun is not None and len(read) == 1:
                        begun.release()
            return read
        return None

    def row(self, id: str, column: str) -> Any:
        """Return what the store says of a run."""
        with sqlite3.connect(self.store) as connection:
            (found,) = connection.execute(f"SELECT {column} FROM runs WHERE id = ?", (id,)).fetchone()
        return found


def pids() -> list[int]:
    """The processes of the ingress' replicas."""
    details = _get_global_client().get_serve_details()["applications"][APPLICATION]["deployments"]["Ingress"]
    return [each["pid"] for each in details["replicas"] if each["state"] == "RUNNING"]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def served(cluster: str, latch: None, tmp_path_factory) -> AsyncIterator[Served]:
    served = Served(cluster, tmp_path_factory.mktemp("kept") / "runs.db")
    await served.begin()
    yield served
    await served.aclose()


async def test_a_run_without_a_request_is_found_and_followed_at_both_replicas_alike(served: Served):
    id, event, owner = await served.waiting()
    assert owner in await asyncio.to_thread(pids)
    found = await asyncio.gather(*(served.task(id) for _ in range(ENOUGH)))
    assert {task["status"] for task in found} <= {"processing", "streaming"}
    followers = [asyncio.create_task(served.follow(id)) for _ in range(ENOUGH)]

    async def reads() -> int:
        return served.row(id, "reads")

    await until(reads, lambda reads: reads > 0)  # some of them are at the replica that isn't the owner's
    tell(f"{event} go on")
    heard = await asyncio.gather(*followers)
    assert [each.get("data") for each in heard[0]] == [str(owner), "went on", None]
    assert heard == [heard[0]] * ENOUGH
    ended = await asyncio.gather(*(served.ended(id) for _ in range(ENOUGH)))
    assert {(task["status"], task["output"]) for task in ended} == {("completed", f"{owner}went on")}
    assert await served.follow(id) == heard[0]


async def test_a_run_is_stopped_by_a_request_to_the_replica_that_does_not_run_it(served: Served):
    async def stop_one() -> int:
        id, event, _ = await served.waiting()
        answer = await served.ask("POST", f"/tasks/{id}/cancel")
        assert (answer.status, answer.json()["status"]) == (200, "cancelled")
        await told(f"{event} stopped")
        again = await served.ask("POST", f"/tasks/{id}/cancel")
        assert (again.status, again.json()["status"]) == (200, "cancelled")
        return served.row(id, "stop")

    await until(stop_one, lambda asked: asked == 1)


async def test_the_runs_of_a_replica_that_is_killed_are_lost_and_the_others_go_on(served: Served):
    runs: dict[int, tuple[str, str]] = {}

    async def start_one() -> int:
        id, event, owner = await served.waiting()
        runs.setdefault(owner, (id, event))
        return len(runs)

    await until(start_one, lambda owners: owners == 2)
    (killed, (lost, _)), (survivor, (alive, go_on)) = runs.items()
    begun = asyncio.Semaphore(0)
    followers = [asyncio.create_task(served.follow(lost, begun)) for _ in range(ENOUGH)]
    async with asyncio.timeout(DEADLINE):
        for _ in range(ENOUGH):
            await begun.acquire()
    os.kill(killed, signal.SIGKILL)
    heard = [events for events in await asyncio.gather(*followers) if events is not None]
    assert heard, "those at the other replica are told"
    for events in heard:
        assert events[-1]["event"] == "error"
        assert json.loads(events[-1]["data"])["error"]["type"] == "lost"

    async def seen() -> dict[str, Any] | None:
        with suppress(ClientError, AssertionError):  # Serve routes to the dead replica for a moment
            return await served.task(lost)

    task = await until(seen, lambda task: task is not None and task["status"] == "failed")
    assert task["error"]["type"] == "lost"
    tell(f"{go_on} go on")
    task = await served.ended(alive)
    assert (task["status"], task["output"]) == ("completed", f"{survivor}went on")

    async def left() -> list[str]:
        with sqlite3.connect(served.store) as connection:
            return [
                id
                for id, owner in connection.execute("SELECT id, owner FROM runs WHERE ended_at IS NULL")
                if owner == served.row(lost, "owner")
            ]

    await until(left, lambda left: not left)


async def test_after_a_start_anew_old_runs_have_ended_and_a_key_stands_for_its_run(served: Served):
    body = {"input": {"do": "stream"}, "wait_for_completion": False}
    key = {"Idempotency-Key": "the same"}
    first = (await served.ask("POST", "/workflows/runs", body, **key)).json()["task_id"]
    events = await served.follow(first)
    under_way, _, _ = await served.waiting()
    await asyncio.to_thread(serve.delete, APPLICATION)
    await served.begin()
    again = await asyncio.gather(*(served.ask("POST", "/workflows/runs", body, **key) for _ in range(ENOUGH)))
    assert {(answer.status, answer.json()["task_id"]) for answer in again} == {(202, first)}
    assert await served.follow(first) == events
    assert (await served.task(first))["output"] == "0 1 2 "
    task = await served.ended(under_way)
    assert (task["status"], task["error"]["type"]) == ("failed", "lost")
    other = await served.ask("POST", "/workflows/runs", {**body, "input": {"do": "where"}}, **key)
    assert (other.status, other.error()["type"]) == (422, "invalid_input")
    listed = (await served.ask("GET", "/tasks?limit=500")).json()["tasks"]
    assert {first, under_way} <= {task["task_id"] for task in listed}
    assert {task["status"] for task in listed} <= {"completed", "cancelled", "failed"}
