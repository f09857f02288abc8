"""HTTP/1.1, by aiohttp: a Request goes out, a Response comes back when its headers have come.

Connections are pooled, and use the proxies that the environment names.
"""

from __future__ import annotations

import asyncio
import ipaddress
import re
import ssl
import zlib
from collections.abc import AsyncGenerator, Awaitable, Callable, Mapping
from contextlib import aclosing
from functools import lru_cache
from typing import NoReturn
from urllib.request import getproxies, proxy_bypass

import aiohttp
from aiohttp.abc import AbstractResolver, AbstractStreamWriter
from yarl import URL

from deployments.upstream.aiohttp_internals import Silence, buffered
from deployments.upstream.bodies import charset_in, kind_in
from deployments.upstream.request import Request
from deployments.upstream.uploads import InputFailed, Upload
from deployments.upstream.upstream_errors import CallFailed, Failure
from graphs.errors import UpstreamFailed

WITH_HEADERS = 32 * 1024
"""The largest body, in bytes, that is written together with the headers: asyncio takes both without waiting."""
PIECE = 64 * 1024
"""A larger body goes in pieces of this size; the server must take each within the timeout."""

MAX_PIECE = 256 * 1024
"""The most that is unpacked at once: a small packet may hold a thousand times its size."""

_ZLIB = frozenset({"gzip", "x-gzip", "deflate"})
_OTHER = frozenset({"br", "zstd", "compress", "x-compress"})
_GZIP_OR_ZLIB = 32 + zlib.MAX_WBITS
_KIND = re.compile(r"[^\s/;]+/[^\s/;]+")


class Http1:
    """One aiohttp session; all calls share its connections. It raises aiohttp's exceptions, TimeoutError and OSError."""

    def __init__(self, timeout: float, resolver: AbstractResolver | None = None) -> None:
        self._proxies = {scheme: _proxy(text) for scheme, text in getproxies().items() if scheme in ("http", "https")}
        self._timeout = timeout
        # It verifies as the environment says (SSL_CERT_FILE, SSL_CERT_DIR). aiohttp makes its own when it is imported, which may
        # be before the environment is set.
        tls = ssl.create_default_context()
        tls.set_alpn_protocols(["http/1.1"])
        self._session = aiohttp.ClientSession(
            # The replica's max_concurrent_count limits how many calls run at once; a second limit would only hide it.
            connector=aiohttp.TCPConnector(limit=0, resolver=resolver, ssl=tls),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "anabranch", "Accept-Encoding": "gzip"},
            # Unpacked here: see Unpacker.
            auto_decompress=False,
            skip_auto_headers=["Content-Type"],
            timeout=aiohttp.ClientTimeout(total=None, connect=timeout, sock_connect=timeout, sock_read=timeout),
            max_field_size=65536,
            max_line_size=65536,
        )

    async def send(self, request: Request) -> Response:
        """Return the response once its headers have come, a redirect like any other. When cancelled, close the connection."""
        url, body, sent = _parsed(request.url), request.body, None
        if body is not None and (isinstance(body, Upload) or len(body) > WITH_HEADERS):
            body = sent = _Sent(body, self._timeout)
        try:
            # The session's own `trust_env` would read ~/.netrc and the environment in a thread, for every call.
            response = await self._session.request(
                request.method, url, headers=request.headers, data=body, proxy=self.proxy(url), allow_redirects=False
            )
        except BaseException as error:
            if sent is not None:
                sent.cut()
                if isinstance(error, aiohttp.ClientError | OSError):
                    _raise_failed_input(sent.upload)
            raise
        return Response(response, sent, self._timeout)

    async def close(self) -> None:
        """Close every connection."""
        await self._session.close()

    def proxy(self, url: URL) -> URL | None:
        """Return the proxy that the environment names for a URL; this machine's own addresses have none."""
        if url.scheme not in self._proxies or _is_loopback(url.host or "") or proxy_bypass(f"{url.host}:{url.port}"):
            return None
        proxy = self._proxies[url.scheme]
        if proxy is None:
            name = f"{url.scheme.upper()}_PROXY"
            words = f"expected the environment's {name} to be the URL of an HTTP proxy; write {name}=http://host:port"
            raise CallFailed(Failure(UpstreamFailed(words), transient=False))
        return proxy


class Response:
    """An answer whose headers have come; its body may still be on the way."""

    def __init__(self, response: aiohttp.ClientResponse, sent: _Sent | None, timeout: float) -> None:
        self.status = response.status
        self.method = response.method
        """The method of the request: the answer to a HEAD has no body."""
        self.headers: Mapping[str, str] = response.headers
        """The headers; names are found in any case."""
        self.at_end: Callable[[], Awaitable[None]] | None = None
        """Awaited at the end of the body; raises if the answer was cut there."""
        self._response = response
        self._sent = sent
        self._silence = Silence(response, timeout)
        self._clock = asyncio.get_running_loop().time
        encoding = response.headers.get("Content-Encoding", "")
        packings = [name for each in encoding.split(",") if (name := each.strip().lower()) in _ZLIB | _OTHER]
        known = len(packings) == 1 and packings[0] in _ZLIB
        self._unpacker = Unpacker(self._read, "" if known else encoding) if packings else None

    def content_type(self) -> tuple[str, str]:
        """Return the type and the charset that the Content-Type names; an empty type if there is none."""
        header = self.headers.get("Content-Type", "")
        kind = kind_in(header)
        return kind if _KIND.fullmatch(kind) else "", charset_in(header)

    @property
    def ended(self) -> bool:
        """Whether all of the body has come and was read, so that nothing is left to wait for."""
        return self.at_end is None and self._response.content.at_eof()

    async def read(self) -> bytes:
        """Return the next bytes of the body, unpacked; empty at its end."""
        packet = await (self._read() if self._unpacker is None else self._unpacker.read())
        if not packet and self.at_end is not None:
            await self.at_end()
        return packet

    def close(self) -> None:
        """Release the connection: keep it for other calls if the body was read to its end, else close it."""
        self._silence.cancel()
        if self._sent is not None and self._response.connection is not None:
            self._sent.cut()
        self._response.close()

    async def _read(self) -> bytes:
        content, silence = self._response.content, self._silence
        silence.since = self._clock()
        try:
            packet = await content.readany()
            silence.since = None
            if not packet:
                silence.cancel()
            return packet
        except (aiohttp.ClientError, OSError):
            if came := buffered(content):
                return came
            if self._sent is not None:
                _raise_failed_input(self._sent.upload)
            raise


class Unpacker:
    """Unpacks one body, a bounded piece at a time. If its encoding is unknown, only reading it fails.

    aiohttp could unpack, but takes a gzip body that breaks off for a whole one, and loses the status of an answer whose
    encoding it doesn't know.
    """

    def __init__(self, read: Callable[[], Awaitable[bytes]], unknown: str) -> None:
        self._read = read
        self._unknown = unknown
        self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
        self._packed = b""
        self._begun = False

    async def read(self) -> bytes:
        """Return the next unpacked bytes; empty at the end of the body."""
        while not (piece := self._next_piece()):
            packet = await self._read()
            if not packet:
                if self._begun and not self._unpacker.eof:
                    raise aiohttp.ClientPayloadError
                return b""
            if self._unknown:
                raise UpstreamFailed(f"answered in the encoding {self._unknown[:40]!r}, which was not asked for")
            self._packed += packet
            self._begun = True
        return piece

    def _next_piece(self) -> bytes:
        """Return the next piece of what has come; empty if it needs another packet."""
        while self._packed:
            if self._unpacker.eof:
                # A body may be several gzip members, one after the other, each of which begins so; anything else is padding.
                if not self._packed.startswith(b"\x1f"):
                    self._packed = b""
                    break
                self._unpacker = zlib.decompressobj(_GZIP_OR_ZLIB)
            try:
                piece = self._unpacker.decompress(self._packed, MAX_PIECE)
            except zlib.error:
                raise UpstreamFailed("the answer is not the gzip that its Content-Encoding says") from None
            self._packed = self._unpacker.unused_data or self._unpacker.unconsumed_tail
            if piece:
                return piece
        return b""


class _Sent(aiohttp.Payload):
    """A body as aiohttp writes it: the server must take each piece in time."""

    def __init__(self, body: Upload | bytes, timeout: float) -> None:
        super().__init__(body)
        self.upload = body if isinstance(body, Upload) else None
        self._body = body
        self._timeout = timeout
        self._begun = False
        self._transport: asyncio.WriteTransport | None = None

    @property
    def size(self) -> int | None:
        """The length of the body; an upload has none yet."""
        return None if isinstance(self._body, Upload) else len(self._body)

    @property
    def consumed(self) -> bool:
        """Whether the body can't be sent again: aiohttp may repeat a request that an idle connection didn't take."""
        return self._begun and self.upload is not None

    @property
    def autoclose(self) -> bool:
        """There is nothing that aiohttp must close."""
        return True

    async def write(self, writer: AbstractStreamWriter) -> None:
        self._begun = True
        self._transport = writer.transport
        packets = _pieces(self._body) if isinstance(self._body, bytes) else self._body.packets()
        async with aclosing(packets):
            async for packet in packets:
                async with asyncio.timeout(self._timeout):
                    await writer.write(packet)

    def cut(self) -> None:
        """Close the connection at once; a plain close would wait until the server takes what is still unsent."""
        if self._transport is not None:
            self._transport.abort()

    def decode(self, encoding: str = "utf-8", errors: str = "strict") -> NoReturn:  # noqa: ARG002
        raise TypeError("a body is read only as it is sent")


async def _pieces(body: bytes) -> AsyncGenerator[memoryview]:
    view = memoryview(body)
    for at in range(0, len(body), PIECE):
        yield view[at : at + PIECE]


def _parsed(url: str) -> URL:
    """Return the URL, encoded as it is sent; raise InvalidURL for a host that no resolver takes."""
    try:
        found = URL(url)
        _resolvable(found.raw_host or "")
    except ValueError:
        raise aiohttp.InvalidURL(url) from None
    return found


@lru_cache(maxsize=256)
def _resolvable(host: str) -> None:
    """Raise ValueError for a label that is empty or too long, as every resolver does."""
    host.encode("idna")


def _proxy(text: str) -> URL | None:
    """Return the URL of a proxy, which may lack its scheme, as curl allows; None if it is no URL."""
    try:
        url = _parsed(text if "://" in text else f"http://{text}")
    except aiohttp.InvalidURL:
        return None
    return url if url.scheme in ("http", "https") and url.host else None


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost" or host.endswith(".localhost")


def _raise_failed_input(upload: Upload | None) -> None:
    """Raise the error of an upload's source, if that is why the call broke."""
    if upload is not None and upload.failure is not None:
        raise InputFailed(upload.failure) from None
