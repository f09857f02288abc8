"""A Request goes to an upstream over pooled connections; its answer comes back in batches of chunks, retried until the first."""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import AsyncGenerator, Awaitable, Callable
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast
from urllib.request import getproxies, proxy_bypass

import aiohttp
from yarl import URL

from deployments.upstream.decoding import Body, StreamFormat, comes_whole, decoder, is_json
from deployments.upstream.failures import Failure, connection_failure, is_transient
from deployments.upstream.refusals import StreamFailed, parse_json, status_failure
from deployments.upstream.request import Request, describe
from graphs.component import Whole
from graphs.errors import UpstreamFailed
from graphs.stream import Batch, Value

MAX_ERROR_BODY = 64 * 1024
"""How much of a refusal's body is read and carried to the caller."""
MAX_RETRY_WAIT = 60.0
"""No wait between two tries is longer; a `Retry-After` beyond it is told to the caller instead."""
MAX_REDIRECTS = 10
LINGER = 0.05
"""How long after `[DONE]` the end of the body is awaited, so that its connection can be used again."""

_REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HARMLESS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""Headers that may follow a redirect to another origin; any other could be a credential."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Policy:
    """How patient an upstream's caller is."""

    timeout: float
    max_retries: int
    retry_delay: float


class _Failed(Exception):
    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error.message)
        self.failure = failure


class Exchange:
    """All calls of one component replica to its upstream: one session, its connections shared by every call."""

    def __init__(self, id: str, policy: Policy, sleep: Callable[[float], Awaitable[None]] = asyncio.sleep) -> None:
        self._id = id
        self._policy = policy
        self._sleep = sleep
        self._proxies = getproxies()
        self._session = aiohttp.ClientSession(
            # How many calls run at once is the replica's max_concurrent_count; a second limit would only hide it.
            connector=aiohttp.TCPConnector(limit=0),
            cookie_jar=aiohttp.DummyCookieJar(),
            headers={"User-Agent": "anabranch"},
            timeout=aiohttp.ClientTimeout(
                total=None, connect=policy.timeout, sock_connect=policy.timeout, sock_read=policy.timeout
            ),
            max_field_size=65536,
            max_line_size=65536,
        )

    async def close(self) -> None:
        await self._session.close()

    async def answer(
        self, request: Request, stream_format: StreamFormat | None, chunk_size: int
    ) -> AsyncGenerator[Batch]:
        """Yield the answer: lists of chunks as they come, or one list of one Whole.

        Tried again as the policy says until the first chunk has been given. Closing the
        generator closes the connection, at whatever point it stands.
        """
        tries = 0
        while True:
            started = False
            try:
                async with (
                    self._opened(request) as response,
                    aclosing(_batches(response, stream_format, chunk_size)) as batches,
                ):
                    async for batch in batches:
                        started = True
                        yield batch
                return
            except _Failed as failed:
                failure = failed.failure
            tries += 1
            wait = None if started or not failure.transient else self._wait(tries, failure.retry_after)
            if wait is None:
                raise failure.error.at(f"component {self._id!r}: {request.where}")
            logger.warning(
                "component %s: %s: %s; trying again in %.1f s (%d of %d)",
                self._id, request.where, failure.error.message, wait, tries, self._policy.max_retries,
            )  # fmt: skip
            await self._sleep(wait)

    def _wait(self, tries: int, retry_after: float | None) -> float | None:
        """Return how long to wait before another try, or None to give up."""
        if tries > self._policy.max_retries or (retry_after or 0) > MAX_RETRY_WAIT:
            return None
        grown = min(self._policy.retry_delay * 2 ** min(tries - 1, 16), MAX_RETRY_WAIT)
        return max(grown * random.uniform(0.5, 1.0), retry_after or 0)

    @asynccontextmanager
    async def _opened(self, request: Request) -> AsyncGenerator[aiohttp.ClientResponse]:
        """Send a request, follow its redirects, and close the connection unless the answer was read to its end."""
        response: aiohttp.ClientResponse | None = None
        try:
            response = await self._follow(request)
            yield response
        except (aiohttp.ClientError, TimeoutError, OSError) as error:
            raise _Failed(connection_failure(error, self._policy.timeout, response is not None)) from None
        except UpstreamFailed as error:
            raise _Failed(Failure(error, transient=False)) from None
        finally:
            if response is not None:
                response.close()

    async def _follow(self, request: Request) -> aiohttp.ClientResponse:
        for _ in range(MAX_REDIRECTS + 1):
            response = await self._send(request)
            try:
                if response.status in _REDIRECTS and "Location" in response.headers:
                    request = _redirected(request, response)
                elif response.status >= 400 or response.status in _REDIRECTS:
                    raise _Failed(await _refusal(response))
                else:
                    return response
            except BaseException:
                response.close()
                raise
            response.close()
        raise UpstreamFailed(f"redirected more than {MAX_REDIRECTS} times")

    async def _send(self, request: Request) -> aiohttp.ClientResponse:
        # The session's own `trust_env` would look into ~/.netrc and into the environment on a thread, for every call.
        return await self._session.request(
            request.method,
            URL(request.url),
            headers=request.headers,
            data=request.body,
            proxy=self._proxy(request.url),
            allow_redirects=False,
        )

    def _proxy(self, url: str) -> str | None:
        parts = URL(url)
        proxy = self._proxies.get(parts.scheme)
        if proxy is None or proxy_bypass(parts.authority):
            return None
        return proxy


async def _batches(
    response: aiohttp.ClientResponse, stream_format: StreamFormat | None, chunk_size: int
) -> AsyncGenerator[Batch]:
    """Read an answer as its format and its headers say."""
    kind = response.content_type if "Content-Type" in response.headers else ""
    charset = response.charset or "utf-8"
    if response.status == 204 or response.method == "HEAD":
        yield [Whole(None)]
        return
    if comes_whole(stream_format, kind):
        yield [Whole(await _whole(response, kind, charset))]
        return
    chosen = decoder(stream_format, kind, charset, chunk_size)
    try:
        while packet := await response.content.readany():
            if batch := chosen.feed(packet):
                yield batch
            if chosen.done:
                await _linger(response)
                return
        if batch := chosen.end():
            yield batch
    except StreamFailed as failed:
        if failed.before:
            yield failed.before
        raise _told(failed.error, response) from None


def _told(error: UpstreamFailed, response: aiohttp.ClientResponse) -> UpstreamFailed:
    """Add the status to a failure inside an answer that began well."""
    upstream = error.details.get("upstream")
    if not isinstance(upstream, dict):
        return error
    return UpstreamFailed(error.message, upstream={"status": response.status, **cast("dict[str, Value]", upstream)})


async def _linger(response: aiohttp.ClientResponse) -> None:
    """Read what follows the end of a stream, briefly: a body read to its end leaves a connection to use again."""
    try:
        async with asyncio.timeout(LINGER):
            while await response.content.readany():
                pass
    except (TimeoutError, aiohttp.ClientError, OSError):
        return


async def _whole(response: aiohttp.ClientResponse, kind: str, charset: str) -> Value:
    body = Body()
    while packet := await response.content.readany():
        body.add(packet)
    text = body.text(charset)
    if not is_json(kind):
        return text
    return parse_json(text) if text.strip() else None


async def _refusal(response: aiohttp.ClientResponse) -> Failure:
    """Read an error answer, as much of its body as is worth carrying."""
    retry_after = _retry_after(response.headers.get("Retry-After"))
    error = status_failure(response.status, await _error_body(response), retry_after)
    return Failure(error, is_transient(response.status), retry_after)


async def _error_body(response: aiohttp.ClientResponse) -> Value:
    content = b""
    try:
        while len(content) < MAX_ERROR_BODY and (packet := await response.content.readany()):
            content += packet
    except (aiohttp.ClientError, TimeoutError, OSError):
        # The status is known and says more than a body that broke off.
        pass
    text = content[:MAX_ERROR_BODY].decode(errors="replace")
    try:
        return parse_json(text)
    except UpstreamFailed:
        return text


def _retry_after(value: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date."""
    if value is None:
        return None
    try:
        if value.strip().isdecimal():
            return float(value)
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


def _redirected(request: Request, response: aiohttp.ClientResponse) -> Request:
    """Return the request that a redirect asks for; another origin gets no credentials."""
    old = response.url
    try:
        new = old.join(URL(response.headers["Location"]))
        same_origin = new.origin() == old.origin()
    except ValueError:
        raise UpstreamFailed("redirected to something that is not a URL") from None
    if new.scheme not in ("http", "https"):
        raise UpstreamFailed(f"redirected to a {new.scheme}: URL; expected http or https")
    headers = {name: value for name, value in request.headers.items() if same_origin or name.lower() in _HARMLESS}
    if response.status == 303 or (response.status in (301, 302) and request.method == "POST"):
        headers.pop("Content-Type", None)
        request = replace(request, method="HEAD" if request.method == "HEAD" else "GET", body=None)
    return replace(request, url=str(new), headers=headers, where=describe(request.method, str(new)))
