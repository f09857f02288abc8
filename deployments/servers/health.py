"""Check a server by its port: whether it is healthy, and at which URL."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import aiohttp

from deployments.servers.commands import fill
from deployments.servers.config import Healthcheck

HOSTS = ("127.0.0.1", "[::1]")
"""The addresses at which a server may listen."""
FIRST_PAUSE = 0.05
"""The pause after the first check. Pauses grow up to the interval, so that a server which starts fast is ready at once."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """It answers as it should, at this URL."""

    url: str


@dataclass(frozen=True, slots=True)
class Unhealthy:
    """It doesn't answer, or not as it should."""

    why: str


class HealthChecker:
    """Checks one server."""

    def __init__(self, healthcheck: Healthcheck) -> None:
        self._healthcheck = healthcheck

    async def check(self, port: int) -> Healthy | Unhealthy:
        """Send one request to the server."""
        found = Unhealthy(f"nothing listens on port {port}")
        for host in HOSTS:
            try:
                status = await self._status(f"http://{host}:{port}", port)
            except aiohttp.ClientConnectorError:
                continue
            except TimeoutError:
                found = Unhealthy(f"{self._what(port)} gave no answer within {self._healthcheck.timeout:g} s")
            except (aiohttp.ClientError, OSError) as error:
                found = Unhealthy(f"{self._what(port)} gave no valid answer ({type(error).__name__})")
            else:
                if status < (500 if self._healthcheck.path is None else 400):
                    return Healthy(f"http://{host}:{port}")
                found = Unhealthy(f"{self._what(port)} answered with status {status}")
            break
        return found

    def pauses(self) -> Iterator[float]:
        """Yield the pauses between the checks of a start, without end."""
        pause = FIRST_PAUSE
        while True:
            yield min(pause, self._healthcheck.interval)
            pause = min(pause * 1.5, self._healthcheck.interval)

    def _path(self, port: int) -> str:
        return "/" + fill(self._healthcheck.path or "", port).lstrip("/")

    def _what(self, port: int) -> str:
        return f"GET {self._path(port)} on port {port}"

    async def _status(self, base: str, port: int) -> int:
        # A session for each check: an open connection would keep some servers from stopping.
        timeout = aiohttp.ClientTimeout(total=self._healthcheck.timeout)
        async with (
            aiohttp.ClientSession(timeout=timeout, cookie_jar=aiohttp.DummyCookieJar()) as session,
            session.get(base + self._path(port), allow_redirects=False, headers={"Connection": "close"}) as response,
        ):
            return response.status
