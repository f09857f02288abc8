"""`anabranch dev` answers through a broker, and a changed document goes on where the one before it stops."""

from __future__ import annotations

from pathlib import Path

from deployments.components import registry
from deployments.dev.graph import Front
from graphs.load import load_inline
from tests.bridges.clients import ANSWERS, STATUS, asker
from tests.bridges.conftest import broker, program  # noqa: F401
from tests.bridges.mosquitto import Mosquitto
from tests.serve.api import calling
from tests.transports.served import serving

DOCUMENT = """
controller:
  store: "sqlite:///{store}"
  bridges: {{type: mqtt, url: "mqtt://127.0.0.1:{port}", project: home}}
component: {{id: chat, type: echo, text: "{says}"}}
"""


async def test_a_changed_document_answers_what_is_asked_from_then_on(
    broker: Mosquitto,  # noqa: F811
    tmp_path: Path,
) -> None:
    types = registry()

    async def load(says: str) -> None:
        text = DOCUMENT.format(store=tmp_path / "runs.db", port=broker.port, says=says)
        await front.load(load_inline(text, types, {}), types, lambda _: None)

    front = Front()
    await load("before")
    try:
        async with serving(front) as url, calling(url) as api, asker(broker.port) as client:
            await client.until(lambda _: [each.payload for each in client.of(STATUS)][-1:] == [b"online"])
            await client.ask({"sessionId": "s", "message": "x"})
            assert (await client.next(f"{ANSWERS}/s"))[0].payload == b"before"
            assert (await api.get("/ready")).json()["bridges"] == {"mqtt": "connected"}
            await load("after")
            await client.until(lambda _: [each.payload for each in client.of(STATUS)][-2:] == [b"offline", b"online"])
            await client.ask({"sessionId": "s", "message": "x"})
            assert (await client.next(f"{ANSWERS}/s", 2))[1].payload == b"after"
    finally:
        await front.aclose()
