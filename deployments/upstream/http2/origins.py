"""HTTP/2 where a server offers it, HTTP/1.1 everywhere else: a Transport that asks each https origin once, by ALPN."""

from __future__ import annotations

import asyncio
import socket
import ssl
from dataclasses import dataclass, field
from functools import cached_property

import aiohttp
from aiohappyeyeballs import AddrInfoType, start_connection
from aiohttp.abc import AbstractResolver
from aiohttp.resolver import ThreadedResolver
from yarl import URL

from deployments.upstream.failures import NotTaken
from deployments.upstream.http1 import Http1, parsed, tls_context
from deployments.upstream.http2.connection import Http2Connection, NeedsHttp1
from deployments.upstream.request import Request
from deployments.upstream.transport import Response

MAX_ORIGINS = 1024
"""How many origins are remembered; URLs may come from requests."""
TRIES = 3
"""How often a request that a closing connection didn't take is sent again, on another; how many may refuse one call."""


@dataclass(slots=True)
class _Origin:
    """What is known of one server."""

    connections: list[Http2Connection] = field(default_factory=list[Http2Connection])
    offers: bool | None = None
    dialing: asyncio.Task[Http2Connection | None] | None = None
    """The attempt that all who wait share: a server that hangs must not be waited for in line."""

    def free(self) -> Http2Connection | None:
        """Return a connection with room for one call more."""
        self.connections = [each for each in self.connections if not each.closed]
        return next((each for each in self.connections if each.has_room), None)


class Negotiating:
    """Sends over HTTP/2 what may go there, and everything else over the HTTP/1.1 transport it is given.

    The first call of an https origin costs one TLS handshake more where that turns out to speak HTTP/1.1 only:
    aiohttp can't take over a connection that was opened to find out.
    """

    def __init__(self, http1: Http1, timeout: float, resolver: AbstractResolver | None) -> None:
        self._http1 = http1
        self._timeout = timeout
        self._resolver = resolver or ThreadedResolver()
        self._origins: dict[tuple[str, int], _Origin] = {}

    @cached_property
    def _context(self) -> ssl.SSLContext:
        return tls_context("h2", "http/1.1")

    async def send(self, request: Request) -> Response:
        """Send a request, and return when the headers of its answer have come."""
        url = parsed(request.url)
        if url.scheme == "https" and self._http1.proxy(url) is None:
            response = await self._send_http2(request, url)
            if response is not None:
                return response
        return await self._http1.send(request)

    async def close(self) -> None:
        """Close every connection."""
        for origin in self._origins.values():
            if origin.dialing is not None:
                origin.dialing.cancel()
            for connection in origin.connections:
                await connection.aclose()
        self._origins.clear()
        await self._http1.close()

    async def _send_http2(self, request: Request, url: URL) -> Response | None:
        """Return the answer, or None where only HTTP/1.1 will do."""
        origin = self._origin(url)
        for tried in range(1, TRIES + 1):
            connection = await self._connection(origin, url)
            if connection is None:
                return None
            try:
                return await connection.send(request)
            except NotTaken:
                if tried == TRIES or not request.repeatable:
                    raise
            except NeedsHttp1:
                origin.offers = False
                if not request.repeatable:
                    raise
                return None
        raise AssertionError

    def _origin(self, url: URL) -> _Origin:
        key = url.host or "", url.port or 443
        origin = self._origins.pop(key, None) or _Origin()
        if len(self._origins) >= MAX_ORIGINS:
            oldest = self._origins.pop(next(iter(self._origins)))
            for connection in oldest.connections:
                connection.leave()
        self._origins[key] = origin
        return origin

    async def _connection(self, origin: _Origin, url: URL) -> Http2Connection | None:
        """Return a connection with room for one call more, or None if only HTTP/1.1 will do."""
        if origin.offers is False:
            return None
        free = origin.free()
        if free is not None:
            return free
        try:
            async with asyncio.timeout(self._timeout):
                return await self._new_connection(origin, url)
        except NotTaken:
            raise
        except TimeoutError:
            raise aiohttp.ConnectionTimeoutError from None
        except OSError:
            # HTTP/1.1 will meet the same obstacle, and there aiohttp says what it is.
            return None

    async def _new_connection(self, origin: _Origin, url: URL) -> Http2Connection | None:
        """Dial until there is room: others who wait may have taken that of the last connection."""
        refused = 0
        while origin.offers is not False:
            free = origin.free()
            if free is not None:
                return free
            if origin.dialing is None:
                origin.dialing = asyncio.create_task(self._dialed(origin, url))
                origin.dialing.add_done_callback(_seen)
            dialed = await asyncio.shield(origin.dialing)
            if dialed is None:
                return None
            if dialed.refuses:
                dialed.leave()
                refused += 1
                if refused == TRIES:
                    raise NotTaken
        return None

    async def _dialed(self, origin: _Origin, url: URL) -> Http2Connection | None:
        try:
            async with asyncio.timeout(self._timeout):
                connection = await self._dial(url)
        finally:
            origin.dialing = None
        origin.offers = connection is not None
        if connection is not None:
            origin.connections.append(connection)
        return connection

    async def _dial(self, url: URL) -> Http2Connection | None:
        host, port = url.raw_host or "", url.port or 443
        loop = asyncio.get_running_loop()
        transport, connection = await loop.create_connection(
            lambda: Http2Connection(self._timeout),
            sock=await self._connected(host, port),
            ssl=self._context,
            server_hostname=host,
        )
        if connection.offered:
            try:
                await connection.ready()
            except BaseException:
                transport.abort()
                raise
            return connection
        transport.abort()
        return None

    async def _connected(self, host: str, port: int) -> socket.socket:
        found = await self._resolver.resolve(host, port, socket.AF_UNSPEC)
        addresses = [_address(each["host"], each["port"]) for each in found]
        return await start_connection(addresses, happy_eyeballs_delay=0.25)


def _seen(dialing: asyncio.Task[Http2Connection | None]) -> None:
    """Look at how an attempt ended, for all who waited may have left."""
    if not dialing.cancelled():
        dialing.exception()


def _address(host: str, port: int) -> AddrInfoType:  # pyright: ignore[reportUnknownParameterType]  (its own is partial)
    if ":" in host:
        return socket.AF_INET6, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port, 0, 0)
    return socket.AF_INET, socket.SOCK_STREAM, socket.IPPROTO_TCP, "", (host, port)
