"""Check a server by its port: whether it is healthy, and at which URL."""

from __future__ import annotations

import aiohttp

from deployments.servers.commands import Healthcheck, fill

HOSTS = ("127.0.0.1", "[::1]")
"""The addresses at which a server may listen."""


class Unhealthy(Exception):
    """Raised for a server that doesn't answer, or not as it should; says why."""


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
