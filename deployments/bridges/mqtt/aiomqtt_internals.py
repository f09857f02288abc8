"""What aiomqtt keeps to itself of paho's client: acknowledging by hand, what the broker allows, and what it says of each message.

aiomqtt acknowledges a message as soon as it has come; a question must be acknowledged only once it is kept. And it waits for a
broker's acknowledgement without a look at what that says: that nobody reads the topic, or that the message was dropped.
"""

from __future__ import annotations

import asyncio
from typing import Any

from aiomqtt import Client, Message, MqttCodeError
from paho.mqtt.client import Client as Paho
from paho.mqtt.enums import MQTTErrorCode
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode


class Wire:
    """The client of paho inside a client of aiomqtt that hasn't connected yet."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._paho: Paho = client._client  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        self._connected: Any = self._paho.on_connect
        assert self._connected, "aiomqtt sets it when a client is made"
        self._paho.on_connect = self._on_connect
        self._paho.on_publish = self._on_publish
        self._paho.manual_ack_set(True)
        self._sent: dict[int, asyncio.Future[ReasonCode]] = {}
        self.largest: int | None = None
        """Bytes of a message that the broker takes, with its topic and properties, as far as it says so."""

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that a message is taken."""
        if message.qos:
            self._paho.ack(message.mid, message.qos)

    def publish(
        self, topic: str, payload: bytes, *, retain: bool, properties: Properties | None
    ) -> asyncio.Future[ReasonCode]:
        """Send a message at QoS 1; what is returned is done when the broker has acknowledged it, and says how."""
        sent: asyncio.Future[ReasonCode] = asyncio.get_running_loop().create_future()
        info = self._paho.publish(topic, payload, qos=1, retain=retain, properties=properties)
        if info.rc != MQTTErrorCode.MQTT_ERR_SUCCESS:
            raise MqttCodeError(info.rc)
        self._sent[info.mid] = sent
        return sent

    def abandon(self) -> bool:
        """Close what a connection that failed has left open; return whether the broker was there, and didn't answer."""
        is_there = self._paho.socket() is not None
        self._paho.disconnect()
        return is_there

    def closed(self) -> None:
        """Take note of how the connection ended, of which aiomqtt would complain that nobody has."""
        end = self._client._disconnected  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        if end.done() and not end.cancelled():
            end.exception()

    def _on_connect(
        self, paho: Paho, userdata: Any, flags: Any, reason: ReasonCode, properties: Properties | None
    ) -> None:
        said = fields(properties)
        self.largest = said.get("MaximumPacketSize")
        # paho's own setter refuses once there is a connection, and before there is one nobody knows.
        window = paho._max_inflight_messages  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        paho._max_inflight_messages = min(window, said.get("ReceiveMaximum", window))  # pyright: ignore[reportPrivateUsage]  # noqa: SLF001
        self._connected(paho, userdata, flags, reason, properties)

    def _on_publish(self, paho: Paho, userdata: Any, mid: int, reason: ReasonCode, properties: Any) -> None:  # noqa: ARG002
        sent = self._sent.pop(mid, None)
        if sent is not None and not sent.done():
            sent.set_result(reason)


def fields(properties: Properties | None) -> dict[str, Any]:
    """Return the properties of a packet that are set, by their names: paho makes them attributes, and only those."""
    return {} if properties is None else vars(properties)
