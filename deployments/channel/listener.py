"""The end that reads answers: replicas that were called dial in here, one connection each, for all their streams."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import Callable
from dataclasses import dataclass, field

from deployments.channel.connection import TOKEN_BYTES, Connection, tls_context
from deployments.channel.flow import Inlet, Outlet

STRANGERS = 1024
"""Connections that may be open without having said hello: as many replicas may dial at once. A few KiB each."""


@dataclass(frozen=True, slots=True)
class Address:
    """Where a listener is, and the token that it expects."""

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
        """Connections that haven't said hello, the oldest first."""
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
        """Refuse the answer from now on; close it if it is open."""
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
        """Stop listening, and close every connection."""
        server, self._server = self._server, None
        if server is not None:
            server.close()
        for connection in [*self._strangers, *self._friends]:
            await connection.aclose()

    # What connections report.

    def admit(self, connection: Connection) -> None:
        """Take a connection that hasn't said hello; when there are too many, drop the oldest."""
        self._strangers[connection] = None
        if len(self._strangers) > STRANGERS:
            next(iter(self._strangers)).drop("too many connections that have not said hello")

    def welcome(self, connection: Connection) -> None:
        """Keep a connection that said the right hello."""
        self._strangers.pop(connection, None)
        self._friends.add(connection)

    def gone(self, connection: Connection) -> None:
        """Forget a lost connection."""
        self._strangers.pop(connection, None)
        self._friends.discard(connection)

    def opened(self, id: int, connection: Connection, whole: bool) -> bool:
        """Bind an expected answer to the connection it comes over; False if it isn't expected."""
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
            lambda: Connection(self), self._host, 0, ssl=tls_context(ssl.PROTOCOL_TLS_SERVER), backlog=1024
        )
        self._server = server
        self._address = Address(self._host, server.sockets[0].getsockname()[1], self.token)
        return self._address

    def _started(self, starting: asyncio.Future[Address]) -> None:
        self._starting = None
        if not starting.cancelled():
            starting.exception()  # read here, for a caller that was cancelled won't

    def _next_id(self) -> int:
        self._last_id = self._last_id % 0xFFFF_FFFF + 1
        return self._last_id
