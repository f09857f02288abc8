"""A server's port -> where it answers and whether it is well."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp

from deployments.servers.fields import Healthcheck
from deployments.servers.filling import fill

HOSTS = ("127.0.0.1", "[::1]")
"""Where a server of this machine may listen that doesn't listen everywhere."""
FIRST_PAUSE = 0.05
"""The pause after the first check; it grows up to the interval, so that a fast server needn't wait for it."""


@dataclass(frozen=True, slots=True)
class Well:
    """It answers, at this URL."""

    url: str


@dataclass(frozen=True, slots=True)
class Unwell:
    """It doesn't, or not as it should."""

    why: str


class Doctor:
    """Checks one server."""

    def __init__(self, healthcheck: Healthcheck) -> None:
        self._asked = healthcheck

    async def look(self, port: int) -> Well | Unwell:
        """Ask the server once."""
        said = Unwell(f"nothing listens on port {port}")
        for host in HOSTS:
            try:
                status = await self._status(f"http://{host}:{port}", port)
            except aiohttp.ClientConnectorError:
                continue
            except TimeoutError:
                said = Unwell(f"{self._what(port)} gave no answer within {self._asked.timeout:g} s")
            except (aiohttp.ClientError, OSError) as error:
                said = Unwell(f"{self._what(port)} gave no valid answer ({type(error).__name__})")
            else:
                if status < (500 if self._asked.path is None else 400):
                    return Well(f"http://{host}:{port}")
                said = Unwell(f"{self._what(port)} answered with status {status}")
            break
        return said

    def pauses(self) -> Iterator[float]:
        """Yield the pauses between the checks of a start, without end."""
        pause = FIRST_PAUSE
        while True:
            yield min(pause, self._asked.interval)
            pause = min(pause * 1.5, self._asked.interval)

    def _path(self, port: int) -> str:
        return "/" + fill(self._asked.path or "", port).lstrip("/")

    def _what(self, port: int) -> str:
        return f"GET {self._path(port)} on port {port}"

    async def _status(self, base: str, port: int) -> int:
        # A session for each check: one that stays open would keep a connection that the server must reckon with.
        timeout = aiohttp.ClientTimeout(total=self._asked.timeout)
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(base + self._path(port), allow_redirects=False, headers={"Connection": "close"}) as response,
        ):
            return response.status
