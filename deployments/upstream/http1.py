"""HTTP/1.1, by aiohttp: a Transport whose connections are pooled, and go through the proxies that the environment names."""

from __future__ import annotations

import asyncio
import ipaddress
import ssl
from collections.abc import Mapping
from functools import partial
from typing import NoReturn
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter
from yarl import URL

from deployments.upstream.request import Request
from deployments.upstream.uploads import InputFailed, Upload


class Http1:
    """One session, its connections shared by every call."""

    def __init__(self, timeout: float, resolver: AbstractResolver | None = None) -> None:
        self._proxies = getproxies()
        self._timeout = timeout
        self._session = aiohttp.ClientSession(
            # How many calls run at once is the replica's max_concurrent_count; a second limit would only hide it.
            connector=aiohttp.TCPConnector(limit=0, resolver=resolver, ssl=tls_context("http/1.1")),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "anabranch"},
            skip_auto_headers=["Content-Type"],
            timeout=aiohttp.ClientTimeout(total=None, connect=timeout, sock_connect=timeout, sock_read=timeout),
            max_field_size=65536,
            max_line_size=65536,
        )

    async def send(self, request: Request) -> Answered:
        """Send a request, and return when the headers of its answer have come."""
        upload = request.body if isinstance(request.body, Upload) else None
        url = parsed(request.url)
        try:
            # The session's own `trust_env` would look into ~/.netrc and into the environment on a thread, for every call.
            response = await self._session.request(
                request.method,
                url,
                headers=request.headers,
                data=request.body if upload is None else _Sent(upload, self._timeout),
                proxy=self.proxy(url),
                allow_redirects=False,
            )
        except (aiohttp.ClientError, OSError):
            raise_failed_input(upload)
            raise
        return Answered(response, upload)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    def proxy(self, url: URL) -> str | None:
        """Return the proxy that the environment names for a URL; none leads back to this machine."""
        proxy = self._proxies.get(url.scheme)
        if proxy is None or _is_loopback(url.host or "") or proxy_bypass(url.authority):
            return None
        return proxy


class Answered:
    """A Response of aiohttp's."""

    __slots__ = ("_response", "read")

    def __init__(self, response: aiohttp.ClientResponse, upload: Upload | None) -> None:
        self._response = response
        self.read = response.content.readany if upload is None else partial(_read, response, upload)

    @property
    def status(self) -> int:
        return self._response.status

    @property
    def method(self) -> str:
        return self._response.method

    @property
    def url(self) -> str:
        return str(self._response.url)

    @property
    def headers(self) -> Mapping[str, str]:
        return self._response.headers

    def close(self) -> None:
        """Let go of the connection."""
        self._response.close()


class _Sent(aiohttp.payload.Payload):
    """An Upload, as aiohttp writes it: chunked, each packet when the connection has room."""

    _autoclose = True

    def __init__(self, upload: Upload, timeout: float) -> None:
        super().__init__(upload)
        self._upload = upload
        self._timeout = timeout

    async def write(self, writer: AbstractStreamWriter) -> None:
        packets = self._upload.packets()
        try:
            async for packet in packets:
                async with asyncio.timeout(self._timeout):
                    await writer.write(packet)
        finally:
            await packets.aclose()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:  # noqa: ARG002
        raise TypeError("an upload is read only as it is sent")


def parsed(url: str) -> URL:
    """Return the URL, encoded as it is sent."""
    try:
        return URL(url)
    except ValueError:
        raise aiohttp.InvalidURL(url) from None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


async def _read(response: aiohttp.ClientResponse, upload: Upload) -> bytes:
    """Read an answer that may have begun while its request was still being sent."""
    try:
        return await response.content.readany()
    except (aiohttp.ClientError, OSError):
        raise_failed_input(upload)
        raise


def raise_failed_input(upload: Upload | None) -> None:
    """Raise what the source of an upload failed with, if that is why the exchange broke."""
    if upload is not None and upload.failure is not None:
        raise InputFailed(upload.failure) from None


def tls_context(*protocols: str) -> ssl.SSLContext:
    """Return a context that verifies as the environment says (SSL_CERT_FILE, SSL_CERT_DIR) and offers these protocols.

    aiohttp's own is made when it is imported, before anybody could say.
    """
    context = ssl.create_default_context()
    context.set_alpn_protocols(list(protocols))
    return context
