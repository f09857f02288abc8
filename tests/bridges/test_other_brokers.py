"""A broker that speaks MQTT 3.1.1 alone is spoken to in that."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path

import pytest
from amqtt.broker import Broker

from deployments.bridges.mqtt import connection
from tests.bridges.bridged import bridge, bridged
from tests.bridges.clients import ANSWERS, STATUS, V311, asker
from tests.bridges.mosquitto import free_port
from tests.sessions.talking import Echo


@pytest.fixture
async def amqtt() -> AsyncIterator[int]:
    """The port of an amqtt in this process."""
    port = free_port()
    broker = Broker(
        {
            "listeners": {"default": {"type": "tcp", "bind": f"127.0.0.1:{port}"}},
            "plugins": {"amqtt.plugins.authentication.AnonymousAuthPlugin": {"allow_anonymous": True}},
        }
    )
    await broker.start()
    yield port
    await broker.shutdown()


async def test_amqtt_brings_questions_and_takes_answers(
    amqtt: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECTED_WITHIN", 0.5)  # it says nothing to MQTT 5
    async with bridged(Echo(), tmp_path, bridge(amqtt)), asker(amqtt, V311) as client:
        assert (await client.next(STATUS))[0].payload == b"online"
        await client.ask(b"plain")
        await client.until(lambda got: any(each.payload == b"plain " for each in got))
        await client.ask({"sessionId": "s", "message": "a b c", "stream": True})
        assert await client.text(f"{ANSWERS}/s") == "a b c "
