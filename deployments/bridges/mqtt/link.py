"""The link to a broker, which is made again whenever it is lost: questions go to their reader, and answers out, each once it can."""

from __future__ import annotations

import asyncio
import logging
import random
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from contextlib import aclosing, suppress

from aiomqtt import Message, ProtocolVersion

from deployments.bridges.mqtt.connection import (
    SILENT,
    TAKEN_OVER,
    UNAUTHORIZED,
    UNKNOWN_VERSION,
    Connection,
    Lost,
    Outgoing,
    Taken,
    connected,
)
from deployments.bridges.mqtt.payloads import TEXT, Incoming
from deployments.bridges.mqtt.topics import Topics
from deployments.bridges.mqtt.window import Unread, Window
from graphs.plan import Bridge

logger = logging.getLogger("anabranch.mqtt")

FIRST_PAUSE, LONGEST_PAUSE = 0.5, 30.0
"""Seconds between two tries to connect; each is twice the one before, less a random part."""
GOODBYE_WITHIN = 2.0
"""Seconds for the last words to a broker."""

Receive = Callable[[Incoming], Awaitable[None]]
"""Takes a message; it is acknowledged when this returns."""


class Link:
    """A bridge's connection, one after another."""

    def __init__(self, plan: Bridge, receive: Receive, redact: Callable[[str], str]) -> None:
        self._plan, self._receive, self._redact = plan, receive, redact
        self._topics = Topics(plan.project)
        self._version = ProtocolVersion.V5
        self._connection: asyncio.Future[Connection] | None = None
        self._task: asyncio.Task[None] | None = None
        self._asking = True
        """Whether questions are taken; else what is left is sent."""
        self._closed = False
        self._rests = asyncio.Event()
        """Set while there is no connection that takes questions."""
        self._rests.set()
        self._turn = asyncio.Event()
        """Set when the link is to be made anew."""
        self.trouble: str | None = "connecting"
        """Why there is no connection; None while there is one."""

    def start(self) -> None:
        """Connect, and stay connected."""
        self._connection = asyncio.get_running_loop().create_future()
        self._task = asyncio.create_task(self._keep_up())

    async def publish(self, *messages: Outgoing, patient: bool = False) -> None:
        """Publish messages; see `publish_all`."""
        await self.publish_all(_each(messages), patient=patient)

    async def publish_all(self, messages: AsyncGenerator[Outgoing], *, patient: bool = True) -> None:
        """Publish messages in order, and return when the broker has all, however long that takes; raise Undelivered.

        No more are read than are on their way. After a loss, what wasn't acknowledged is sent again, so that a message can come
        twice. `patient`: where nobody reads the topic, try again until the messages expire.
        """
        unread = Unread(self._plan.expiry)
        async with aclosing(Window(messages)) as window:
            while not window.is_empty:
                assert self._connection is not None, "it was started"
                connection = await asyncio.shield(self._connection)
                taken = await window.send(connection, unread if patient else None)
                if taken is Taken.LOST:
                    self._is_down(connection)
                elif taken is Taken.UNREAD:
                    await unread.pause(window.first.topic)

    async def rest(self) -> None:
        """Take no more questions: the broker keeps them for who comes next, and may connect when this returns.

        What is left can still be published.
        """
        self._asking = False
        self._turn.set()
        with suppress(TimeoutError):
            async with asyncio.timeout(2 * GOODBYE_WITHIN):
                await self._rests.wait()

    async def aclose(self) -> None:
        """Say goodbye."""
        if self._task is None:
            return
        # aiomqtt waits in a way in which Python 3.11 may lose a cancellation: the task must end without it, too.
        self._asking, self._closed = False, True
        self._turn.set()
        self._task.cancel()
        await asyncio.wait([self._task])

    # --- one connection after another --------------------------------------------------------------------------------

    async def _keep_up(self) -> None:
        pause = FIRST_PAUSE
        while not self._closed:
            self._turn.clear()
            try:
                await self._serve()
            except Lost as lost:
                if lost.reason == UNKNOWN_VERSION and self._version == ProtocolVersion.V5:
                    self._version = ProtocolVersion.V311
                    continue
                if lost.reason == SILENT:
                    self._version = ProtocolVersion.V311 if self._version == ProtocolVersion.V5 else ProtocolVersion.V5
                if self.trouble is None:
                    pause = FIRST_PAUSE  # it was well until now
                pause = LONGEST_PAUSE if lost.reason in (*UNAUTHORIZED, TAKEN_OVER) else pause
                self._say(lost)
            except Exception:
                # The one broad case: whatever a broker sends must not end the bridge.
                logger.exception("the bridge '%s': internal error", self._plan.id)
                self.trouble = "internal error; see the log"
                pause = LONGEST_PAUSE
            else:
                continue
            with suppress(TimeoutError):
                async with asyncio.timeout(pause * random.uniform(0.5, 1)):
                    await self._turn.wait()
            pause = min(2 * pause, LONGEST_PAUSE)

    def _say(self, lost: Lost) -> None:
        """Say why there is no connection; the same thing once."""
        trouble = self._redact(str(lost))
        if lost.reason == TAKEN_OVER:
            trouble = f"another client connected as '{self._plan.client_id}'; if that is another server, give each a `client_id`"
        if trouble != self.trouble:
            logger.warning("the bridge '%s': %s; it will be tried again", self._plan.id, trouble)
        self.trouble = trouble

    async def _serve(self) -> None:
        """Connect, and serve until the connection is lost, which raises Lost, or is to be made anew."""
        asking = self._asking
        if asking:
            self._rests.clear()
        try:
            await self._serve_one(asking=asking)
        finally:
            self._rests.set()

    async def _serve_one(self, *, asking: bool) -> None:
        async with connected(self._plan, self._topics, self._version, asking=asking) as connection:
            try:
                if asking:
                    await connection.subscribe(self._topics.questions)
                    await connection.say(self._status(b"online"))
                self._is_up(connection)
                await self._until_turned(connection)
            finally:
                self._is_down(connection)
                if asking and not self._asking:
                    with suppress(TimeoutError):
                        async with asyncio.timeout(GOODBYE_WITHIN):
                            await connection.say(self._status(b"offline"))

    def _is_up(self, connection: Connection) -> None:
        if self.trouble is not None:
            logger.info("the bridge '%s' is connected to %s:%d", self._plan.id, self._plan.host, self._plan.port)
        self.trouble = None
        assert self._connection is not None, "it was started"
        self._connection.set_result(connection)

    def _is_down(self, connection: Connection) -> None:
        """Have those that publish wait for another connection than this."""
        current = self._connection
        if current is not None and current.done() and current.result() is connection:
            self._connection = asyncio.get_running_loop().create_future()

    async def _until_turned(self, connection: Connection) -> None:
        turned = asyncio.create_task(self._turn.wait())
        reading = asyncio.create_task(self._read(connection))
        try:
            await asyncio.wait({turned, reading}, return_when=asyncio.FIRST_COMPLETED)
            if reading.done():
                reading.result()
        finally:
            turned.cancel()
            reading.cancel()
            await asyncio.wait([reading])

    async def _read(self, connection: Connection) -> None:
        """Hand every message over, and acknowledge them in the order in which they came."""
        under_way: deque[tuple[Message, asyncio.Task[None]]] = deque()

        def acknowledge(_: asyncio.Task[None]) -> None:
            while under_way and under_way[0][1].done():
                message, taken = under_way.popleft()
                if not taken.cancelled() and taken.exception() is None:
                    connection.acknowledge(message)

        try:
            async for message, incoming in connection.messages():
                # One that was retained before MQTT 5 could say that it isn't wanted would be asked at every connection.
                taking = asyncio.create_task(self._taken(incoming) if not message.retain else _nothing())
                under_way.append((message, taking))
                taking.add_done_callback(acknowledge)
        finally:
            left = [task for _, task in under_way]
            if left:
                await asyncio.wait(left)

    async def _taken(self, incoming: Incoming) -> None:
        try:
            await self._receive(incoming)
        except Exception:
            # The one broad case: a message that can't be read must not come again and again.
            logger.exception("the bridge '%s': internal error", self._plan.id)

    def _status(self, status: bytes) -> Outgoing:
        return Outgoing(self._topics.status, status, TEXT, expires=False, retain=True)


async def _each(messages: Iterable[Outgoing]) -> AsyncGenerator[Outgoing]:
    for message in messages:
        yield message


async def _nothing() -> None:
    """Take a message that isn't to be read."""
