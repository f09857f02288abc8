"""A document changed and deployed again, over the REST API that `serve deploy` calls, while streams run."""

import asyncio
import textwrap
from collections.abc import AsyncIterator, Iterator
from contextlib import AsyncExitStack
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from ray.dashboard.modules.serve.sdk import ServeSubmissionClient

from tests.fakes.http_server import Answer, Upstream, Wait, openai_events
from tests.serve.api import DEADLINE, END, Api, Reading, calling, data, until
from tests.serve.clusters import Cluster, running

pytestmark = pytest.mark.asyncio(loop_scope="module")

NAME = "redeployed"
Replicas = dict[str, set[str]]

DOCUMENT = """
    components:
      - id: changes
        type: http-client
        base_url: {base_url}
        headers: {{X-Version: "{version}"}}
        action:
          path: /changes
          stream_format: json
          output: ${{response[].choices[0].delta.content}}
      - id: stays
        type: http-client
        base_url: {base_url}
        replicas: {replicas}
        action:
          path: /stays
          stream_format: json
          output: ${{response[].choices[0].delta.content}}
"""

BUILT_WITHIN = 90.0
"""Seconds in which an application is built, or its failure told: Ray tries that four times, each time in a new process."""


class Deployment:
    """The application as `serve deploy` and `serve status` see it."""

    def __init__(self, dashboard: str, path: Path, base_url: str) -> None:
        self._client = ServeSubmissionClient(dashboard)
        self._path = path
        self._base_url = base_url
        self._revision = 0

    def write(self, version: int = 1, replicas: int = 1) -> None:
        document = DOCUMENT.format(base_url=self._base_url, version=version, replicas=replicas)
        self._path.write_text(textwrap.dedent(document))

    def spoil(self) -> None:
        self._path.write_text(self._path.read_text().replace("stream_format: json", "stream_fromat: json", 1))

    async def deploy(self) -> None:
        """Have the file read again."""
        self._revision += 1
        args = {"config": str(self._path), "revision": self._revision}
        application = {"name": NAME, "route_prefix": "/", "import_path": "graphs.app:build", "args": args}
        await asyncio.to_thread(self._client.deploy_applications, {"applications": [application]})

    async def reached(self, status: str = "RUNNING") -> dict[str, Any]:
        """The application once it has this status, which it hasn't while old replicas finish what they have begun."""
        return await until(
            self._application,
            lambda found: (
                found["deployed_app_config"]["args"]["revision"] == self._revision and found["status"] == status
            ),
            BUILT_WITHIN,
        )

    async def replicas(self) -> Replicas:
        """The ids of the replicas that run, by deployment."""
        return {
            id: {each["replica_id"] for each in deployment["replicas"] if each["state"] == "RUNNING"}
            for id, deployment in (await self._application())["deployments"].items()
        }

    async def _application(self) -> dict[str, Any]:
        return (await asyncio.to_thread(self._client.get_serve_details))["applications"][NAME]


@pytest.fixture(scope="module")
def cluster() -> Iterator[Cluster]:
    with running(dashboard=True) as cluster:
        yield cluster


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def upstream() -> AsyncIterator[Upstream]:
    async with Upstream() as server:
        yield server


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def deployment(cluster: Cluster, upstream: Upstream, tmp_path_factory) -> Deployment:
    path = tmp_path_factory.mktemp("redeploy") / "document.yaml"
    deployment = Deployment(cluster.dashboard, path, upstream.base_url)
    deployment.write()
    await deployment.deploy()
    await deployment.reached()
    return deployment


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(cluster: Cluster, deployment: Deployment) -> AsyncIterator[Api]:
    async with calling(cluster.url) as api:
        yield api


async def test_the_same_document_again_restarts_nothing(deployment):
    before = await deployment.replicas()
    assert set(before) == {"changes", "stays", "Ingress"}
    await deployment.deploy()
    await deployment.reached()
    assert await deployment.replicas() == before


async def test_a_changed_component_restarts_alone_with_the_ingress_and_no_stream_is_cut(deployment, api, upstream):
    go_on = asyncio.Event()
    before = await deployment.replicas()
    async with asyncio.timeout(2 * DEADLINE), AsyncExitStack() as stack:
        readings = {}
        for id in ("changes", "stays"):
            steps = openai_events(["before", " after"])
            answers = (
                Answer([*steps[:2], Wait(go_on), *steps[2:]], "text/event-stream"),
                Answer(steps, "text/event-stream"),
            )
            upstream.queue(f"/{id}", *answers)
            readings[id] = await begun(stack, api, id)
        meanwhile = asyncio.create_task(asking(api, "stays", go_on))
        deployment.write(version=2)
        await deployment.deploy()

        def replaced(now: Replicas) -> bool:
            return all(now.get(id) and not now[id] & before[id] for id in ("changes", "Ingress"))

        after = await until(deployment.replicas, replaced)
        assert after["stays"] == before["stays"]
        for id in ("changes", "stays"):
            assert (await api.run(id)).body == data("before", " after") + END
        go_on.set()
        for reading in readings.values():
            assert await reading.rest() == data(" after") + END
        assert set(await meanwhile) == {data("before", " after") + END}
    await deployment.reached()
    versions = [call.headers["X-Version"] for call in upstream.calls if call.path == "/changes"]
    assert versions == ["1", "2"]


async def begun(stack: AsyncExitStack, api: Api, workflow: str) -> Reading:
    reading = await stack.enter_async_context(api.stream(workflow))
    assert await reading.event() == data("before")
    return reading


async def asking(api: Api, workflow: str, enough: asyncio.Event) -> list[bytes]:
    """Ask again and again until there is enough; return every answer."""
    answers = []
    while not enough.is_set():
        answers.append((await api.run(workflow)).body)
    return answers


async def test_more_replicas_leave_those_there_are(deployment):
    before = await deployment.replicas()
    deployment.write(version=2, replicas=2)
    await deployment.deploy()
    await deployment.reached()
    after = await deployment.replicas()
    assert after["changes"] == before["changes"]
    assert after["stays"] > before["stays"]
    assert len(after["stays"]) == 2


async def test_a_document_with_a_mistake_is_refused_with_its_place_and_what_runs_goes_on(deployment, api):
    before = await deployment.replicas()
    deployment.spoil()
    await deployment.deploy()
    refused = await deployment.reached("DEPLOY_FAILED")
    assert "document.yaml:9:7: unknown key 'stream_fromat'" in refused["message"]
    assert "did you mean 'stream_format'?" in refused["message"]
    assert (await api.run("stays")).status == 200
    deployment.write(version=2, replicas=2)
    await deployment.deploy()
    await deployment.reached()
    assert await deployment.replicas() == before
