"""A broker that speaks MQTT 3.1.1 alone is spoken to in that."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

import pytest

from deployments.bridges.mqtt import connection
from tests.bridges.bridged import bridge, bridged
from tests.bridges.clients import ANSWERS, STATUS, V311, asker
from tests.bridges.mosquitto import Mosquitto
from tests.sessions.talking import Echo

MQTT_5 = b"\x00\x04MQTT\x05"
"""How a CONNECT names its protocol and version."""


async def piped(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
            await writer.drain()
    writer.close()


@pytest.fixture
async def older(broker: Mosquitto) -> AsyncIterator[int]:
    """The port of a broker that says nothing to clients of MQTT 5, as some do that don't know it."""
    tasks: set[asyncio.Task[None]] = set()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        first = await reader.read(65536)
        if MQTT_5 in first[:16]:
            await reader.read()
            writer.close()
            return
        there, back = await asyncio.open_connection("127.0.0.1", broker.port)
        back.write(first)
        tasks.update({asyncio.create_task(piped(reader, back)), asyncio.create_task(piped(there, writer))})

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for task in tasks:
        task.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


async def test_an_older_broker_brings_questions_and_takes_answers(
    older: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "CONNECTED_WITHIN", 0.5)
    async with bridged(Echo(), tmp_path, bridge(older)), asker(older, V311) as client:
        assert (await client.next(STATUS))[0].payload == b"online"
        await client.ask(b"plain")
        await client.until(lambda got: any(each.payload == b"plain " for each in got))
        await client.ask({"sessionId": "s", "message": "a b c", "stream": True})
        assert await client.text(f"{ANSWERS}/s") == "a b c "
