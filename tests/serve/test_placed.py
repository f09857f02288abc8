"""Components placed in the ingress, on a real cluster: they run in its process, and one that misbehaves harms no other."""

import asyncio
import textwrap
import uuid
from collections.abc import AsyncIterator
from contextlib import suppress

import pytest
import pytest_asyncio
from ray import serve
from ray.serve.context import _get_global_client

from deployments.components import registry
from deployments.serve.start_failures import causes
from graphs.app import compose
from graphs.component import Chunk
from graphs.load import load_inline
from tests.serve.api import DEADLINE, END, Api, calling, data, error_of, until
from tests.serve.drill import SECRET, Drill, DrillInput, heard, tell, told

pytestmark = pytest.mark.asyncio(loop_scope="module")


class LightDrill(Drill):
    """A drill that may be placed in the ingress; it can also be deaf to being cancelled."""

    type = "light-drill"
    light = True

    async def run(self, input: DrillInput) -> AsyncIterator[Chunk]:
        if input.do != "deaf":
            async for chunk in super().run(input):
                yield chunk
            return
        yield "deaf"
        waiting = asyncio.ensure_future(told(f"{input.event} go on"))
        tell(f"{input.event} started")
        while not waiting.done():
            with suppress(asyncio.CancelledError):
                await asyncio.shield(waiting)


TYPES = {**registry(), "drill": Drill, "light-drill": LightDrill}

DOCUMENT = """
    controller: {max_request_size: 2MB}
    components:
      - id: near
        type: echo
        placement: ingress
        action: {text: "NEAR ${input.text as text}"}
      - id: here
        type: light-drill
        placement: ingress
        max_concurrent_count: 4
        action: &drill {do: "${input.do}", text: "${input.text}", count: "${input.count | 3}", event: "${input.event | ''}"}
      - {id: hangs, type: light-drill, placement: ingress, action: {do: deaf, event: "${input.event}"}}
      - {id: fails, type: light-drill, placement: ingress, action: {do: raise, count: 0, text: "${env.SECRET}"}}
      - {id: far, type: drill, action: *drill}
    workflows:
      - {id: near, output: "${output as text;sse-text}", jobs: [{component: near}]}
      - {id: here, output: "${output as text;sse-text}", jobs: [{component: here}]}
      - {id: where, jobs: [{component: here}]}
      - {id: hangs, output: "${output as text;sse-text}", jobs: [{component: hangs}]}
      - {id: fails, jobs: [{component: fails}]}
      - {id: far, jobs: [{component: far}]}
      - id: through
        output: ${jobs.third.output as text;sse-text}
        jobs:
          - {id: first, component: here, input: {do: stream}}
          - {id: second, component: far, input: {do: pass, text: "${jobs.first.output}"}}
          - {id: third, component: here, input: {do: pass, text: "${jobs.second.output}"}}
"""
TWICE = """
    controller: {placement: ingress, replicas: 2}
    component: {id: twin, type: light-drill, action: {do: where}}
"""


async def deploy(document: str, name: str = "main") -> None:
    app = compose(load_inline(textwrap.dedent(document), TYPES, {"SECRET": SECRET}), TYPES)
    prefix = "/" if name == "main" else f"/{name}"
    await asyncio.to_thread(serve.run, app, name=name, route_prefix=prefix)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def api(latch: None, cluster: str) -> AsyncIterator[Api]:
    await deploy(DOCUMENT)
    async with calling(cluster) as api:
        yield api


@pytest.fixture
def event() -> str:
    return uuid.uuid4().hex


def pids(name: str = "main") -> dict[str, set[int]]:
    """The processes of the replicas that run, by deployment."""
    deployments = _get_global_client().get_serve_details()["applications"][name]["deployments"]
    return {
        id: {each["pid"] for each in deployment["replicas"] if each["state"] == "RUNNING"}
        for id, deployment in deployments.items()
    }


async def test_placed_components_have_no_deployment_and_run_in_the_process_of_the_ingress(api: Api):
    known = await asyncio.to_thread(pids)
    assert set(known) == {"far", "Ingress"}
    assert {(await api.run("where", do="where")).json()["pid"]} == known["Ingress"]
    assert {(await api.run("far", do="where")).json()["pid"]} == known["far"]


async def test_readiness_names_those_in_the_ingress_beside_the_others(api: Api):
    answer = await api.get("/ready")
    assert answer.status == 200
    assert answer.json()["components"] == dict.fromkeys(("near", "here", "hangs", "fails", "far"), "ready")


async def test_streams_flow_from_the_ingress_to_a_deployment_and_back(api: Api):
    assert (await api.run("through")).body == data("0 ", "1 ", "2 ") + END


async def test_one_that_hangs_and_one_that_fails_on_every_call_harm_no_other(api: Api, event: str):
    async with asyncio.timeout(DEADLINE):
        async with api.stream("hangs", event=event) as reading:
            assert await reading.event() == data("deaf")
            await told(f"{event} started")
            for _ in range(3):
                answer = await api.run("fails")
                assert (answer.status, answer.error()["component"]) == (502, "fails")
                assert answer.error()["message"].endswith("ValueError: bad ***")
                assert (await api.run("near", text="one")).body == data("NEAR", " one") + END
                assert (await api.run("through")).body == data("0 ", "1 ", "2 ") + END
        # Its client has left, and it doesn't hear that; others still don't notice.
        assert (await api.run("near", text="two")).body == data("NEAR", " two") + END
        assert (await api.get("/ready")).status == 200
        tell(f"{event} go on")


async def test_a_client_that_leaves_stops_a_component_in_the_ingress(api: Api, event: str):
    async with asyncio.timeout(DEADLINE):
        async with api.stream("here", do="wait", event=event) as reading:
            await reading.event()
        await told(f"{event} stopped")


async def test_a_component_in_the_ingress_fails_in_the_stream_as_any_other(api: Api):
    async with api.stream("here", do="raise", count=1) as reading:
        assert await reading.event() == data("0 ")
        error = error_of(await reading.rest())
        assert (error["type"], error["component"]) == ("component_failed", "here")
        assert error["message"].endswith("component 'here' failed: ValueError: bad ***")


async def test_a_component_that_cannot_be_set_up_in_the_ingress_fails_the_start_in_its_own_line(api: Api):
    broken = """
        component: {id: broken, type: light-drill, placement: ingress, breaks: true, action: {do: whole}}
    """
    with pytest.raises(RuntimeError):
        await deploy(broken, "broken")
    status = serve.status().applications["broken"]
    assert status.status == "DEPLOY_FAILED"
    said = (
        f"<document>:2:12: component 'broken' could not be set up: RuntimeError: no such model, and the key is {SECRET}"
    )
    assert causes({"Ingress": status.deployments["Ingress"].message}) == [said]
    await asyncio.to_thread(serve.delete, "broken")


async def test_a_change_of_a_component_in_the_ingress_restarts_the_ingress_alone(api: Api):
    before = await asyncio.to_thread(pids)
    assert await heard("here closed") is None
    await deploy(DOCUMENT.replace("NEAR", "NEARER"))

    async def ask() -> bytes:
        return (await api.run("near", text="one")).body

    await until(ask, lambda body: body == data("NEARER", " one") + END)
    assert (await api.run("through")).body == data("0 ", "1 ", "2 ") + END
    after = await asyncio.to_thread(pids)
    assert after["far"] == before["far"]
    assert after["Ingress"].isdisjoint(before["Ingress"])
    async with asyncio.timeout(DEADLINE):
        await told("here closed")  # the old ingress closes what ran in it


async def test_each_replica_of_the_ingress_has_its_own(api: Api):
    await deploy(TWICE, "twice")
    twice = Api(api._session, f"{api.url}/twice")
    expected = (await asyncio.to_thread(pids, "twice"))["Ingress"]
    assert len(expected) == 2
    assert set(await asyncio.to_thread(pids, "twice")) == {"Ingress"}
    seen: set[int] = set()

    async def ask() -> set[int]:
        answers = await asyncio.gather(*(twice.run() for _ in range(8)))
        seen.update(answer.json()["pid"] for answer in answers)
        return seen

    assert await until(ask, lambda seen: len(seen) == 2) == expected
    await asyncio.to_thread(serve.delete, "twice")
