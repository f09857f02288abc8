"""Run a server that belongs to a replica: start it, wait until it is ready, restart it when it dies, stop it."""

from __future__ import annotations

import asyncio
import errno
import logging
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass

import aiohttp

from deployments.servers.commands import Healthcheck, HttpServerConfig, command, fill, tells_port
from deployments.servers.output import Output, unquoted
from deployments.servers.process import Process
from graphs.errors import AnabranchError, Unavailable

logger = logging.getLogger("anabranch.servers")

HOSTS = ("127.0.0.1", "[::1]")
"""The addresses at which a server may listen."""
COLLISIONS = 5
"""How often a start is tried because another process took the port in the meantime."""
PORT_DEADLINE = 10.0
"""How long to wait for a fixed port to become free: the server of a replica that stops may still hold it."""
LOOK = 0.1
FIRST_DELAY, LONGEST_DELAY = 1.0, 30.0
"""The pause before the second restart in a row; it doubles. The first restart is made at once."""
FIRST_PAUSE = 0.05
"""The pause after the first check. Pauses grow up to the interval, so that a server which starts fast is ready at once."""
STEADY = 60.0
"""A server that was up for so many seconds is not one that keeps dying: its next restart is made at once."""
NEWS = 0.5
"""How long after a lost connection the server's death may become known."""
SURE_NEWS = 5.0
"""The same where nothing listens on the port any more: the server has died, or is ending."""

TAKEN = frozenset({errno.EADDRINUSE, errno.EACCES})

Sleep = Callable[[float], Awaitable[None]]


class Unhealthy(Exception):
    """Raised for a server that doesn't answer, or not as it should; says why."""


@dataclass(frozen=True, slots=True)
class Up:
    """One life of a server."""

    process: Process
    port: int
    url: str
    since: float


class Server:
    """One server, on one port."""

    def __init__(self, id: str, config: HttpServerConfig, output: Output, sleep: Sleep = asyncio.sleep) -> None:
        self._id = id
        self._config = config
        self._output = output
        self._sleep = sleep
        self._tells_port = tells_port(config)
        self._port: int | None = None
        self._up: Up | None = None
        self._trouble = "has not been started"
        self._changed = asyncio.Event()
        self._watch: asyncio.Task[None] | None = None
        self._healthy_at = float("-inf")

    async def start(self) -> None:
        """Start it and wait until it is ready; raise Unavailable if it fails."""
        self._rise(await self._start())
        self._watch = asyncio.create_task(self._keep_up())

    async def stop(self) -> None:
        """Stop it, and all that it has started."""
        if self._watch is not None:
            self._watch.cancel()
            await asyncio.wait([self._watch])
        if self._up is not None:
            await self._up.process.stop(self._config.stop_timeout)
            self._fall("has been stopped")

    async def up(self, until: float) -> Up:
        """Return the running server; while it is down, wait for it, `until` a time of the loop's clock."""
        with suppress(TimeoutError):
            async with asyncio.timeout_at(until):
                while self._up is None:
                    await self._changed.wait()
        if self._up is None:
            within = f"within {self._config.timeout:g} s (`timeout`)"
            raise Unavailable(f"component {self._id!r}: its server did not come back {within}: it {self._trouble}")
        return self._up

    async def gone(self, up: Up) -> str | None:
        """Return how the server of a lost connection ended; None if it is alive."""
        for patience in (NEWS, SURE_NEWS):
            if self._up is up and (patience == NEWS or is_free(up.port)):
                with suppress(TimeoutError):
                    async with asyncio.timeout(patience):
                        await self._changed.wait()
        return None if self._up is up else self._trouble

    async def cut(self, up: Up) -> bool:
        """Return whether the server's death closed a connection: a living server closes connections as well."""
        # A process that is killed is marked before its connections are closed; once it is gone, its port is free.
        lives = self._up is up and not up.process.dying and not is_free(up.port)
        return not lives and await self.gone(up) is not None

    async def check(self) -> None:
        """Raise Unavailable unless it runs and is healthy."""
        up, now = self._up, asyncio.get_running_loop().time()
        if up is None:
            # Serve's controller logs this too, and doesn't know the secrets.
            raise Unavailable(f"component {self._id!r}: its server {unquoted(self._trouble)}")
        if now - self._healthy_at < self._config.healthcheck.interval:
            return
        try:
            await healthy_url(self._config.healthcheck, up.port)
        except Unhealthy as why:
            raise Unavailable(f"component {self._id!r}: its server is not healthy: {why}") from None
        self._healthy_at = now

    async def _keep_up(self) -> None:
        """Restart it whenever it has ended, and again until that succeeds; `falls` counts its failures in a row."""
        falls = 0
        while True:
            if (up := self._up) is not None:
                ending = await up.process.wait()
                lived = asyncio.get_running_loop().time() - up.since
                falls = 0 if lived >= STEADY else falls + 1
                self._fall(self._output.quoted(str(ending)))
                logger.error("component %s: its server %s after %.0f s; restarting it", self._id, ending, lived)
            if falls > 1:
                await self._sleep(min(FIRST_DELAY * 2 ** min(falls - 2, 16), LONGEST_DELAY))
            try:
                self._rise(await self._start())
            except AnabranchError as error:
                falls += 1
                self._trouble = f"could not be restarted: {error.message}"
                logger.error("component %s: its server %s", self._id, self._trouble)

    def _rise(self, up: Up) -> None:
        self._up = up
        self._port = up.port
        self._healthy_at = up.since
        self._turn()
        logger.info("component %s: its server is ready at %s (process %d)", self._id, up.url, up.process.pid)

    def _fall(self, trouble: str) -> None:
        self._up = None
        self._trouble = trouble
        self._turn()

    def _turn(self) -> None:
        """Wake every task that waits for a change."""
        self._changed.set()
        self._changed = asyncio.Event()

    async def _start(self) -> Up:
        """Start it; if another process took the port in the meantime, on another port."""
        for left in reversed(range(COLLISIONS)):
            port = await self._free_port()
            process = await Process.start(command(self._config, self._config.start, port), self._output)
            try:
                url = await self._ready(process, port)
                return Up(process, port, url, asyncio.get_running_loop().time())
            except BaseException as error:
                collided = process.ended and not is_free(port)
                await process.stop(self._config.stop_timeout)
                if not (isinstance(error, Unavailable) and collided and left):
                    raise
                logger.warning("component %s: port %d was taken in the meantime; trying another", self._id, port)
        raise AssertionError("the last try returns or raises")

    async def _free_port(self) -> int:
        """Return the port it must listen on, free."""
        wanted = self._config.port
        if self._tells_port:
            port = choose(wanted, self._port)
            if wanted not in (0, port):
                logger.warning("component %s: port %d is taken; its server gets %d", self._id, wanted, port)
            return port
        with suppress(TimeoutError):
            async with asyncio.timeout(PORT_DEADLINE):
                while not is_free(wanted):  # noqa: ASYNC110  (another process holds it)
                    await asyncio.sleep(LOOK)
                return wanted
        raise Unavailable(
            f"port {wanted} is taken on this machine, perhaps by another replica; write `port: 0`, and ${{port}} in "
            "`start` where it names the port"
        )

    async def _ready(self, process: Process, port: int) -> str:
        """Return its URL once it is healthy."""
        most = self._config.healthcheck.max_wait
        seen: list[Unhealthy] = []
        ended = asyncio.create_task(process.wait())
        found = asyncio.create_task(self._find(port, seen))
        try:
            await asyncio.wait([ended, found], timeout=most, return_when=asyncio.FIRST_COMPLETED)
            if ended.done():
                how = ended.result()
                hint = "; `start` must stay in the foreground as long as it serves" if how.status == 0 else ""
                raise Unavailable(self._output.quoted(f"its server {how} before it was ready{hint}"))
            if found.done():
                return found.result()
        finally:
            for task in (ended, found):
                task.cancel()
            await asyncio.wait([ended, found])
        why = seen[-1] if seen else "no check has ended"
        raise Unavailable(self._output.quoted(f"its server was not ready within {most:g} s (`max_wait`): {why}"))

    async def _find(self, port: int, seen: list[Unhealthy]) -> str:
        healthcheck, pause = self._config.healthcheck, FIRST_PAUSE
        while True:
            try:
                return await healthy_url(healthcheck, port)
            except Unhealthy as why:
                seen.append(why)
            await asyncio.sleep(min(pause, healthcheck.interval))
            pause *= 1.5


def choose(wanted: int, before: int | None) -> int:
    """Return the wanted port if it is free, else the previous one, else any free one."""
    for port in (wanted, before):
        if port and is_free(port):
            return port
    while True:
        with _bound(socket.AF_INET, 0) as found:
            port = int(found.getsockname()[1])
        if is_free(port):
            return port


def is_free(port: int) -> bool:
    """Return whether a server could listen on a port, on every address of this machine."""
    for family in (socket.AF_INET, socket.AF_INET6):
        try:
            _bound(family, port).close()
        except OSError as error:
            if error.errno in TAKEN:  # any other error comes from a machine without IPv6
                return False
    return True


def _bound(family: socket.AddressFamily, port: int) -> socket.socket:
    probe = socket.socket(family)
    try:
        # As servers do: the remains of closed connections don't keep a server from listening.
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if family == socket.AF_INET6:
            probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        probe.bind(("", port))
    except OSError:
        probe.close()
        raise
    return probe


async def healthy_url(healthcheck: Healthcheck, port: int) -> str:
    """Return the URL at which the server answers as it should, after one request; else raise Unhealthy."""
    path = "/" + fill(healthcheck.path or "", port).lstrip("/")
    asked = f"GET {path} on port {port}"
    for host in HOSTS:
        url = f"http://{host}:{port}"
        try:
            status = await _status(url + path, healthcheck.timeout)
        except aiohttp.ClientConnectorError:
            continue
        except TimeoutError:
            raise Unhealthy(f"{asked} gave no answer within {healthcheck.timeout:g} s") from None
        except (aiohttp.ClientError, OSError) as error:
            raise Unhealthy(f"{asked} gave no valid answer ({type(error).__name__})") from None
        if status < (500 if healthcheck.path is None else 400):
            return url
        raise Unhealthy(f"{asked} answered with status {status}")
    raise Unhealthy(f"nothing listens on port {port}")


async def _status(url: str, timeout: float) -> int:
    # A session for each check: an open connection would keep some servers from stopping.
    limits = aiohttp.ClientTimeout(total=timeout)
    async with (
        aiohttp.ClientSession(timeout=limits, cookie_jar=aiohttp.DummyCookieJar()) as session,
        session.get(url, allow_redirects=False, headers={"Connection": "close"}) as response,
    ):
        return response.status
