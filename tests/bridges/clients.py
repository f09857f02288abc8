"""A client of the bridge: asks questions, and puts what comes back in order."""

from __future__ import annotations

import asyncio
import json
import uuid
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any, NamedTuple

from aiomqtt import Client, MqttError, ProtocolVersion
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties

from tests.bridges.mosquitto import DEADLINE

V5, V311 = ProtocolVersion.V5, ProtocolVersion.V311
PROJECT = "home"
QUESTIONS, ERRORS, STATUS = f"{PROJECT}/user_input", f"{PROJECT}/error", f"{PROJECT}/status"
ANSWERS = f"{PROJECT}/assistant_response"


class Message(NamedTuple):
    topic: str
    payload: bytes
    qos: int
    retain: bool
    properties: dict[str, Any]

    @property
    def json(self) -> Any:
        return json.loads(self.payload)


class Asker:
    """Connects again whenever it must; everything that it ever got is in `messages`."""

    def __init__(self, port: int, version: ProtocolVersion = V5, **how: Any) -> None:
        self._port, self._version, self._how = port, version, how
        self.messages: list[Message] = []
        self._news = asyncio.Event()
        self._client: Client | None = None
        self._task = asyncio.create_task(self._keep_up())

    async def _keep_up(self) -> None:
        identifier = f"asker-{uuid.uuid4().hex[:12]}"
        while True:
            client = Client(
                "127.0.0.1", self._port, protocol=self._version, identifier=identifier, timeout=DEADLINE, **self._how
            )
            client.pending_calls_threshold = 1000
            try:
                async with client:
                    for topic in (f"{ANSWERS}/#", ERRORS, STATUS):
                        await client.subscribe(topic, qos=1)
                    self._client = client
                    self._news.set()
                    async for message in client.messages:
                        self._heard(message)
            except MqttError:
                self._client = None
                await asyncio.sleep(0.02)

    def _heard(self, message: Any) -> None:
        more = {} if message.properties is None else dict(vars(message.properties))
        self.messages.append(Message(str(message.topic), message.payload, message.qos, message.retain, more))
        self._news.set()

    async def ask(self, payload: Any, topic: str = QUESTIONS, **properties: Any) -> None:
        """Publish a question, however often the connection is lost meanwhile: with QoS 1, it may come twice."""
        body = payload if isinstance(payload, bytes) else json.dumps(payload).encode()
        made: Any = None
        if properties:
            made = Properties(PacketTypes.PUBLISH)
            for name, value in properties.items():
                setattr(made, name, value)
        while True:
            await self.until(lambda _: self._client is not None)
            assert self._client is not None
            try:
                await self._client.publish(topic, body, qos=1, properties=made, timeout=2)
                return
            except MqttError:
                await asyncio.sleep(0.02)

    async def until(self, met: Callable[[list[Message]], bool], within: float = DEADLINE) -> None:
        """Wait until what has come meets a condition."""
        async with asyncio.timeout(within):
            while not met(self.messages):
                self._news.clear()
                await self._news.wait()

    async def next(self, topic: str, count: int = 1) -> list[Message]:
        """The first messages of a topic, once they have come."""
        await self.until(lambda _: len(self.of(topic)) >= count)
        return self.of(topic)[:count]

    def of(self, topic: str) -> list[Message]:
        return [each for each in self.messages if each.topic == topic]

    async def text(self, topic: str) -> str:
        """A streamed answer, once it has ended."""
        await self.until(lambda _: ended(self.of(topic)))
        return joined(self.of(topic))

    async def aclose(self) -> None:
        self._task.cancel()
        await asyncio.wait([self._task])


@asynccontextmanager
async def asker(port: int, version: ProtocolVersion = V5, **how: Any) -> AsyncIterator[Asker]:
    made = Asker(port, version, **how)
    try:
        await made.until(lambda _: made._client is not None)
        yield made
    finally:
        await made.aclose()


def in_order(messages: list[Message]) -> list[dict[str, Any]]:
    """Return the chunks of an answer by their numbers, as far as there is no gap; the same number always says the same."""
    by_number: dict[int, dict[str, Any]] = {}
    for message in messages:
        said = message.json
        assert by_number.setdefault(said["seq"], said) == said
    found: list[dict[str, Any]] = []
    while len(found) in by_number:
        found.append(by_number[len(found)])
    return found


def ended(messages: list[Message]) -> bool:
    chunks = in_order(messages)
    return bool(chunks) and ("done" in chunks[-1] or "error" in chunks[-1])


def joined(messages: list[Message]) -> str:
    return "".join(chunk.get("content", "") for chunk in in_order(messages))
