"""The deployment of the bridges answers over the components' handles, and keeps what it is asked in the store of all."""

import asyncio
from pathlib import Path

import pytest
from aiohttp import ClientSession
from ray import serve

from deployments.components import registry
from graphs.app import compose
from graphs.load import load_inline
from tests.bridges.clients import ANSWERS, STATUS, asker
from tests.bridges.conftest import broker, program, quiet  # noqa: F401
from tests.bridges.mosquitto import Mosquitto
from tests.serve.api import until

pytestmark = pytest.mark.asyncio(loop_scope="module")

DOCUMENT = """
controller:
  store: "sqlite:///{store}"
  bridges:
    - {{type: mqtt, url: "mqtt://127.0.0.1:{port}", project: home}}
components:
  - {{id: far, type: echo, text: "${{input.prompt}}"}}
  - {{id: near, type: echo, text: "${{input.prompt}}", placement: ingress}}
workflows:
  - {{id: chat, default: true, component: far}}
  - {{id: beside, component: near}}
"""


async def test_bridges_answer_from_a_deployment_of_their_own(
    cluster: str,
    quiet: Mosquitto,  # noqa: F811
    tmp_path: Path,
) -> None:
    plan = load_inline(DOCUMENT.format(store=tmp_path / "runs.db", port=quiet.port), registry(), {})
    await asyncio.to_thread(serve.run, compose(plan, registry()), name="bridged", route_prefix="/")
    try:
        async with ClientSession(cluster) as session:

            async def bridge() -> str:
                async with session.get("/ready") as answer:
                    assert answer.status == 200
                    return (await answer.json())["bridges"]["mqtt"]

            await until(bridge, lambda said: "can't be reached" in said)
            quiet.start()
            await until(bridge, lambda said: said == "connected")
            async with asker(quiet.port) as client:
                await client.ask({"sessionId": "s", "message": "over a handle", "stream": True})
                assert await client.text(f"{ANSWERS}/s") == "over a handle"
                await client.ask({"sessionId": "t", "message": "inside the replica", "model": "beside"})
                assert (await client.next(f"{ANSWERS}/t"))[0].payload == b"inside the replica"
                async with session.get("/llm/chat/session/s") as answer:
                    said = (await answer.json())["messages"]
                assert [each["content"] for each in said] == ["over a handle", "over a handle"]
                await asyncio.to_thread(serve.delete, "bridged")
                assert client.of(STATUS)[-1].payload == b"offline"
    finally:
        await asyncio.to_thread(serve.delete, "bridged")
