"""The end that sends answers: one connection to each listener that calls came from, kept while it lives."""

from __future__ import annotations

import asyncio
import ssl

from deployments.channel.connection import Connection, tls_context
from deployments.channel.listener import Address
from deployments.streams.codec import Lost


class Unreachable(Exception):
    """No connection to the caller's replica can be made."""


class Dialer:
    """A worker's connections to the replicas that call it."""

    def __init__(self, deadline: float = 2.0) -> None:
        self._deadline = deadline
        self._connections: dict[Address, Connection] = {}
        self._dialing: dict[Address, asyncio.Task[Connection]] = {}

    async def dial(self, address: Address) -> Connection:
        """Return the connection to a listener; raise Unreachable."""
        connection = self._connections.get(address)
        if connection is not None and not connection.lost:
            return connection
        task = self._dialing.get(address)
        if task is None:
            task = self._dialing[address] = asyncio.create_task(self._dial(address))
            task.add_done_callback(lambda done: self._dialed(address, done))
        return await asyncio.shield(task)

    async def aclose(self) -> None:
        """Close every connection."""
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
                except Lost:  # many may have dialled at once, and the listener dropped this one
                    return await _greeted(address)
        except (OSError, TimeoutError, Lost) as error:
            reason = str(error) or f"no answer within {self._deadline:g} s"
            raise Unreachable(f"{address.host}:{address.port} can't be reached: {reason}") from error

    def _dialed(self, address: Address, task: asyncio.Task[Connection]) -> None:
        del self._dialing[address]
        if not task.cancelled() and task.exception() is None:
            self._connections = {key: each for key, each in self._connections.items() if not each.lost}
            self._connections[address] = task.result()


async def _greeted(address: Address) -> Connection:
    """Return a connection that the listener has welcomed."""
    _, connection = await asyncio.get_running_loop().create_connection(
        lambda: Connection(token=address.token), address.host, address.port, ssl=tls_context(ssl.PROTOCOL_TLS_CLIENT)
    )
    try:
        await connection.welcomed()
    except BaseException:
        connection.abort()
        raise
    return connection
