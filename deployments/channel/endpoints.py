"""Streams between two replicas over one connection: a Listener where they are read, a Dialer where they are made.

The caller's replica listens, and sends address, token and stream id along with its call. The worker dials back, once for
all calls of that replica, and sends its chunks; the streams of a call's input come back over the same connection. All of
it runs on one event loop, without a thread or a lock.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Callable
from dataclasses import dataclass, field

from deployments.channel.connection import TOKEN_BYTES, Connection
from deployments.channel.flow import Inlet, Outlet
from deployments.channel.tls import dialing, listening
from deployments.streams.ends import Lost

STRANGERS = 1024
"""Connections that may be open without having said hello: as many replicas may dial at once. A few KiB each."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener is, and what it wants to hear."""

    host: str
    port: int
    token: bytes = field(repr=False)


class Listener:
    """Where one replica's callees dial in: started at the first call, on that call's loop."""

    def __init__(self, host: str) -> None:
        self._host = host
        self.token = secrets.token_bytes(TOKEN_BYTES)
        self._server: asyncio.Server | None = None
        self._starting: asyncio.Future[Address] | None = None
        self._address: Address | None = None
        self._strangers: dict[Connection, None] = {}
        """Those who haven't said hello, the oldest first."""
        self._friends: set[Connection] = set()
        self._expected: dict[int, Inlet] = {}
        self._offers: dict[int, Callable[[Outlet], None]] = {}
        self._last_id = 0

    @property
    def address(self) -> Address:
        """Where to dial; known once started."""
        if self._address is None:
            raise RuntimeError("the listener has not been started")
        return self._address

    @property
    def received(self) -> int:
        """Bytes that have come in over all connections there are."""
        return sum(connection.received for connection in self._friends)

    async def start(self) -> Address:
        """Listen, unless that was done before."""
        if self._address is not None:
            return self._address
        if self._starting is None:
            self._starting = asyncio.ensure_future(self._start())
            self._starting.add_done_callback(self._started)
        return await asyncio.shield(self._starting)

    def expect(self) -> Inlet:
        """Return the reading end of an answer, with an id of its own, that a callee may open."""
        inlet = Inlet(self._next_id())
        self._expected[inlet.id] = inlet
        return inlet

    def unexpect(self, inlet: Inlet) -> None:
        """Let nobody open it any more; close it if it is open."""
        self._expected.pop(inlet.id, None)
        inlet.close()

    def offer(self, start: Callable[[Outlet], None]) -> int:
        """Return the id under which a callee may ask for a stream; the first to ask starts it."""
        id = self._next_id()
        self._offers[id] = start
        return id

    def withdraw(self, id: int) -> None:
        """Offer the stream no more."""
        self._offers.pop(id, None)

    async def aclose(self) -> None:
        """Hang up on everybody, and listen no more."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in [*self._strangers, *self._friends]:
            await connection.aclose()

    # What connections tell.

    def admit(self, connection: Connection) -> None:
        """Take a stranger in; when there are too many, the oldest has had its time."""
        self._strangers[connection] = None
        if len(self._strangers) > STRANGERS:
            next(iter(self._strangers)).drop("too many connections that have not said hello")

    def welcome(self, connection: Connection) -> None:
        """A stranger said the right hello."""
        self._strangers.pop(connection, None)
        self._friends.add(connection)

    def gone(self, connection: Connection) -> None:
        """A connection is lost."""
        self._strangers.pop(connection, None)
        self._friends.discard(connection)

    def opened(self, id: int, connection: Connection, whole: bool) -> bool:
        """Bind an expected answer to the connection it comes over; False when nobody expects it."""
        inlet = self._expected.pop(id, None)
        if inlet is None or inlet.over:
            return False
        inlet.whole = whole
        connection.attach(inlet)
        return True

    def wanted(self, id: int, connection: Connection) -> None:
        """Start an offered stream over the connection that asks for it."""
        start = self._offers.pop(id, None)
        if start is not None:
            start(connection.write(id))

    async def _start(self) -> Address:
        server = await asyncio.get_running_loop().create_server(
            lambda: Connection(self), self._host, 0, ssl=listening(), backlog=1024
        )
        self._server = server
        self._address = Address(self._host, server.sockets[0].getsockname()[1], self.token)
        return self._address

    def _started(self, starting: asyncio.Future[Address]) -> None:
        self._starting = None
        if not starting.cancelled():
            starting.exception()  # whoever started it gets it

    def _next_id(self) -> int:
        self._last_id = self._last_id % 0xFFFF_FFFF + 1
        return self._last_id


class Unreachable(Exception):
    """No connection to the caller's replica can be made."""


class Dialer:
    """A worker's connections to those who call it: one for each, kept while it lives."""

    def __init__(self, deadline: float = 2.0, memory: float = 30.0) -> None:
        self._deadline = deadline
        self._memory = memory
        """How long a caller that could not be reached isn't tried again."""
        self._connections: dict[Address, Connection] = {}
        self._dialing: dict[Address, asyncio.Task[Connection]] = {}
        self._failures: dict[Address, tuple[float, str]] = {}

    async def dial(self, address: Address) -> Connection:
        """Return the connection to a listener; raise Unreachable."""
        connection = self._connections.get(address)
        if connection is not None and not connection.lost:
            return connection
        self._check_failures(address)
        task = self._dialing.get(address)
        if task is None:
            task = self._dialing[address] = asyncio.create_task(self._dial(address))
            task.add_done_callback(lambda done: self._dialed(address, done))
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Hang up everywhere."""
        dialing = list(self._dialing.values())
        for task in dialing:
            task.cancel()
        if dialing:
            await asyncio.wait(dialing)
        connections, self._connections = list(self._connections.values()), {}
        for connection in connections:
            await connection.aclose()

    async def _dial(self, address: Address) -> Connection:
        try:
            async with asyncio.timeout(self._deadline):
                try:
                    return await _greeted(address)
                except Lost:  # a crowd may have dialled at once, and this one been dropped for another
                    return await _greeted(address)
        except (OSError, TimeoutError, Lost) as error:
            reason = str(error) or f"no answer within {self._deadline:g} s"
            raise Unreachable(f"{address.host}:{address.port} can't be reached: {reason}") from error

    def _dialed(self, address: Address, task: asyncio.Task[Connection]) -> None:
        del self._dialing[address]
        if task.cancelled():
            return
        error = task.exception()
        if error is None:
            self._connections = {key: each for key, each in self._connections.items() if not each.lost}
            self._connections[address] = task.result()
        else:
            now = task.get_loop().time()
            self._failures = {key: each for key, each in self._failures.items() if each[0] > now}
            self._failures[address] = (now + self._memory, str(error))

    def _check_failures(self, address: Address) -> None:
        until, reason = self._failures.get(address, (0.0, ""))
        if until > asyncio.get_running_loop().time():
            raise Unreachable(reason)


async def _greeted(address: Address) -> Connection:
    """Return a connection that the listener has welcomed."""
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(token=address.token), address.host, address.port, ssl=dialing()
    )
    try:
        await connection.welcomed()
    except BaseException:
        connection.abort()
        raise
    return connection
