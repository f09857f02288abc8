"""One connection to a broker: the plan of a bridge in; messages out of it, and into it, until it is lost."""

from __future__ import annotations

import asyncio
import logging
import math
import ssl
from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import asynccontextmanager, suppress
from enum import Enum
from typing import Any, NamedTuple

from aiomqtt import Client, Message, MqttCodeError, MqttError, ProtocolVersion, Will
from paho.mqtt.client import MQTT_CLEAN_START_FIRST_ONLY
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.reasoncodes import ReasonCode
from paho.mqtt.subscribeoptions import SubscribeOptions

from deployments.bridges.mqtt.aiomqtt_internals import Wire, fields
from deployments.bridges.mqtt.payloads import Incoming
from deployments.bridges.mqtt.topics import Topics
from graphs.plan import Bridge, Tls

KEEPALIVE = 20
"""Seconds of silence after which the broker is asked whether it is there."""
ACKNOWLEDGED_WITHIN = 30.0
"""Seconds after which a broker that is there and doesn't acknowledge is taken for lost."""
CONNECTED_WITHIN = 5.0
SESSION_KEPT_FOR = 3600
"""Seconds for which the broker keeps questions while the bridge is away."""
UNKNOWN_VERSION = 132
UNAUTHORIZED = (134, 135)
TAKEN_OVER = 142
"""Reasons of MQTT 5; paho gives the ones of 3.1.1 the same numbers."""
SILENT = -1
"""No reason of MQTT: some brokers of 3.1.1 say nothing to a client of MQTT 5."""
UNREAD = 16
REFUSALS = 128
"""Reasons from here on are failures."""

# paho writes every packet into its log, and what is lost as an error; the link says that in its own words.
_paho_logger = logging.getLogger("anabranch.mqtt.paho")
_paho_logger.setLevel(logging.CRITICAL)


class Lost(Exception):
    """The connection is lost, or was never made; the message says why in one line."""

    def __init__(self, message: str, reason: int | None = None) -> None:
        super().__init__(message)
        self.reason = reason


class Taken(Enum):
    """What a broker does with a message."""

    SENT = "sent"
    UNREAD = "unread"
    """Nobody has subscribed to its topic."""
    DROPPED = "dropped"
    LOST = "lost"
    """It may have it, or not: the connection is lost."""


class Receipt(NamedTuple):
    """What a broker says of a message."""

    taken: Taken
    why: str


class Outgoing(NamedTuple):
    """A message to be published."""

    topic: str
    payload: bytes
    content_type: str
    correlation: bytes | None = None
    expires: bool = True
    retain: bool = False

    @property
    def size(self) -> int:
        """Return its bytes on the wire, rather too many than too few."""
        return len(self.payload) + len(self.topic.encode()) + len(self.correlation or b"") + 128


class Connection:
    """A connection that was made."""

    def __init__(self, client: Client, wire: Wire, plan: Bridge, version: ProtocolVersion) -> None:
        self._client, self._wire, self._plan, self._version = client, wire, plan, version
        self._lost: asyncio.Future[str] = asyncio.get_running_loop().create_future()

    async def subscribe(self, topic: str) -> None:
        """Have the messages of a topic come, without the one that the broker retains; raise Lost where that is refused."""
        is_5 = self._version == ProtocolVersion.V5
        options = SubscribeOptions(qos=1, retainHandling=SubscribeOptions.RETAIN_DO_NOT_SEND) if is_5 else None
        try:
            granted = await self._client.subscribe(topic, qos=0 if is_5 else 1, options=options)
        except MqttError as error:
            raise Lost(f"the subscription to {topic} failed: {error}") from None
        for each in granted:
            code = each.value if isinstance(each, ReasonCode) else each
            if code >= REFUSALS:
                why = f": {each}" if isinstance(each, ReasonCode) else ""
                raise Lost(f"the broker doesn't allow the subscription to {topic}{why}", UNAUTHORIZED[-1])

    async def messages(self) -> AsyncIterator[tuple[Message, Incoming]]:
        """Yield what comes, up to the loss of the connection, which raises Lost; each is to be acknowledged."""
        messages = self._client.messages
        while True:
            coming = asyncio.ensure_future(anext(messages))
            try:
                await asyncio.wait({coming, self._lost}, return_when=asyncio.FIRST_COMPLETED)
                if not coming.done():
                    raise Lost(self._lost.result())
                message = coming.result()
            except MqttError as error:
                raise _lost(error.__cause__ or error, "the connection was lost") from None
            finally:
                coming.cancel()
            said = fields(message.properties)
            yield (
                message,
                Incoming(
                    message.payload, said.get("ResponseTopic"), said.get("CorrelationData"), said.get("ContentType")
                ),
            )

    def acknowledge(self, message: Message) -> None:
        """Tell the broker that a message is taken; once the connection is lost, it sends it again."""
        if not self._lost.done():
            self._wire.acknowledge(message)

    def fits(self, message: Outgoing) -> bool:
        """Return whether the broker takes a message of this size."""
        return self._wire.largest is None or message.size <= self._wire.largest

    def publish(self, message: Outgoing) -> asyncio.Future[Receipt]:
        """Send a message; what is returned tells what the broker does with it, once it says so. Messages arrive in order."""
        receipt: asyncio.Future[Receipt] = asyncio.get_running_loop().create_future()
        properties = self._properties(message)
        try:
            sent = self._wire.publish(message.topic, message.payload, retain=message.retain, properties=properties)
        except (MqttError, OSError) as error:
            self.lose(f"a message could not be published: {error}")
        else:
            sent.add_done_callback(lambda sent: receipt.done() or receipt.set_result(_receipt(sent.result())))
        return receipt

    async def progress(self, receipt: asyncio.Future[Receipt] | None, other: asyncio.Future[Any] | None) -> bool:
        """Wait for one of both; return whether the connection stands. A broker that doesn't acknowledge is taken for lost."""
        timeout = ACKNOWLEDGED_WITHIN if receipt is not None else None
        awaited = [each for each in (receipt, other, self._lost) if each is not None]
        done, _ = await asyncio.wait(awaited, timeout=timeout, return_when=asyncio.FIRST_COMPLETED)
        if not done:
            self.lose(f"the broker acknowledged nothing for {ACKNOWLEDGED_WITHIN:g} s")
        return not self._lost.done()

    async def say(self, message: Outgoing) -> None:
        """Publish a message, and wait until the broker has it, or is lost."""
        await self.progress(self.publish(message), None)

    def lose(self, why: str) -> None:
        """Take the connection for lost."""
        if not self._lost.done():
            self._lost.set_result(why)

    def _properties(self, message: Outgoing) -> Properties | None:
        if self._version != ProtocolVersion.V5:
            return None
        made: Any = Properties(PacketTypes.PUBLISH)
        made.ContentType = message.content_type
        made.PayloadFormatIndicator = 1
        if message.expires:
            made.MessageExpiryInterval = max(1, math.ceil(self._plan.expiry))
        if message.correlation is not None:
            made.CorrelationData = message.correlation
        return made


@asynccontextmanager
async def connected(
    plan: Bridge, topics: Topics, version: ProtocolVersion, *, asking: bool
) -> AsyncGenerator[Connection]:
    """Connect; raise Lost where that fails. `asking`: as the one that answers questions, not only to send what is left."""
    will = Will(topics.status, b"offline", qos=1, retain=True) if asking else None
    is_5 = version == ProtocolVersion.V5
    try:
        client = Client(
            plan.host,
            plan.port,
            username=plan.username,
            password=plan.password,
            identifier=plan.client_id if asking else None,
            protocol=version,
            will=will,
            clean_session=None if is_5 else not asking,
            clean_start=not asking if is_5 else MQTT_CLEAN_START_FIRST_ONLY,
            properties=_connect_properties(asking=asking) if is_5 else None,
            tls_context=None if plan.tls is None else await asyncio.to_thread(_tls, plan.tls),
            timeout=CONNECTED_WITHIN,
            keepalive=KEEPALIVE,
            logger=_paho_logger,
        )
    except (OSError, ValueError) as error:
        raise Lost(f"the files of `tls` can't be used: {error}") from None
    wire = Wire(client)
    await _enter(client, wire, plan)
    connection = Connection(client, wire, plan, version)
    try:
        yield connection
    finally:
        connection.lose("it was closed")
        with suppress(MqttError, OSError, ValueError):
            await client.__aexit__(None, None, None)
        wire.closed()


async def _enter(client: Client, wire: Wire, plan: Bridge) -> None:
    """Connect. A thread does it, and can't be stopped: who is cancelled meanwhile leaves the client to close itself."""
    entering = asyncio.ensure_future(client.__aenter__())
    try:
        await asyncio.shield(entering)
    except asyncio.CancelledError:
        entering.add_done_callback(lambda done: _leave(client, done))
        await asyncio.wait([entering], timeout=1)
        raise
    except MqttError as error:
        if wire.abandon() and not isinstance(error, MqttCodeError):
            raise Lost(f"the broker at {plan.host}:{plan.port} doesn't answer", SILENT) from None
        raise _lost(error, f"the broker at {plan.host}:{plan.port} can't be reached", plan) from None


def _leave(client: Client, entered: asyncio.Future[Client]) -> None:
    if not entered.cancelled() and entered.exception() is None:
        asyncio.ensure_future(client.__aexit__(None, None, None))  # noqa: RUF006  (the loop holds it until its socket is closed)


def _lost(error: BaseException, what: str, plan: Bridge | None = None) -> Lost:
    """Return what became of a connection, in words."""
    reason = error.rc if isinstance(error, MqttCodeError) else None
    if not isinstance(reason, ReasonCode):
        text = str(error).strip()
        return Lost(f"{what}: {text}" if text else what, reason)
    if reason.value in UNAUTHORIZED and plan is not None:
        who = "a client without `username`" if plan.username is None else f"the user '{plan.username}'"
        return Lost(f"the broker at {plan.host}:{plan.port} refuses {who}: {reason}", reason.value)
    return Lost(f"{what}: {reason}", reason.value)


def _receipt(reason: ReasonCode) -> Receipt:
    if reason.value >= REFUSALS:
        return Receipt(Taken.DROPPED, str(reason))
    return Receipt(Taken.UNREAD if reason.value == UNREAD else Taken.SENT, str(reason))


def _connect_properties(*, asking: bool) -> Properties:
    made: Any = Properties(PacketTypes.CONNECT)
    made.SessionExpiryInterval = SESSION_KEPT_FOR if asking else 0
    made.ReceiveMaximum = 64
    return made


def _tls(tls: Tls) -> ssl.SSLContext:
    context = ssl.create_default_context(cafile=tls.ca)
    if tls.certificate is not None:
        context.load_cert_chain(tls.certificate, tls.key)
    return context
