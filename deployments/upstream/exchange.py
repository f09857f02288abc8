"""Send a call to its upstreams, one after the other until one answers; retry failures until the first chunk has come."""

from __future__ import annotations

import asyncio
import logging
import random
import time
from collections import deque
from collections.abc import AsyncGenerator, Awaitable, Callable, Sequence
from contextlib import aclosing, asynccontextmanager
from dataclasses import dataclass, replace
from typing import TypeVar

import aiohttp
from yarl import URL

from deployments.upstream.call_fields import CallerConfig
from deployments.upstream.connection_failures import connection_failure
from deployments.upstream.decoding import AnswerFormat
from deployments.upstream.guard import Guard
from deployments.upstream.hosts import Hosts
from deployments.upstream.http1 import Http1, Response
from deployments.upstream.reading import batches, refusal, retry_after, whole
from deployments.upstream.request import PORTS, Request, origin
from deployments.upstream.uploads import InputFailed
from deployments.upstream.upstream_errors import CallFailed, Failure
from deployments.upstream.upstreams import Target
from graphs.errors import AnabranchError, UpstreamFailed
from graphs.stream import Batch, Value

MAX_RETRY_WAIT = 60.0
"""The longest wait between two tries. A longer `Retry-After` is passed on to the client instead."""
MAX_REDIRECTS = 10
REDIRECTS = frozenset({301, 302, 303, 307, 308})
_HARMLESS = frozenset({"accept", "accept-language", "content-type", "user-agent"})
"""The headers that may follow a redirect to another origin; any other could be a credential."""
_OF_THE_BODY = frozenset({"content-type", "content-encoding", "content-language", "content-location"})

logger = logging.getLogger(__name__)

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Fetched:
    """A whole answer, and the target that gave it."""

    target: Target
    status: int
    value: Value
    retry_after: float | None = None


class Rate:
    """Limits how many calls begin in any span of time; calls wait for their turn in the order in which they came.

    It is a sliding window. APIs count the calls of the last minute, of which a token bucket would let twice as many through.
    """

    def __init__(
        self,
        requests: int,
        per: float,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
    ) -> None:
        self._per = per
        self._clock = clock
        self._sleep = sleep
        self._begun: deque[float] = deque(maxlen=requests)
        self._line = asyncio.Lock()

    async def turn(self) -> None:
        """Return when the next call may begin. A call that is cancelled while it waits takes no turn."""
        # asyncio's lock is fair: calls get it in the order in which they came.
        async with self._line:
            if len(self._begun) == self._begun.maxlen:
                while (wait := self._begun[0] + self._per - self._clock()) > 0:
                    await self._sleep(wait)
            self._begun.append(self._clock())


class Exchange:
    """The calls of one component replica to its upstreams. They share one pool of connections."""

    def __init__(
        self,
        id: str,
        config: CallerConfig,
        sleep: Callable[[float], Awaitable[None]] = asyncio.sleep,
        *,
        guard: Guard | None = None,
        rate: Rate | None = None,
    ) -> None:
        self._id = id
        self._config = config
        self._sleep = sleep
        self._guard = guard or Guard(Hosts())
        self._rate = rate
        self._transport = Http1(config.timeout)
        self._guarded: Http1 | None = None

    async def close(self) -> None:
        """Close every connection."""
        try:
            await self._transport.close()
        finally:
            if self._guarded is not None:
                await self._guarded.close()

    def answer(self, targets: Sequence[Target], format: AnswerFormat) -> AsyncGenerator[Batch]:
        """Yield the answer: lists of chunks as they come, or one list of one Whole.

        Until the first chunk has come, a failure that may pass leads to the next target. After the last target a new
        round begins, as often as the configuration says. Closing the generator closes the connection at any point.
        """
        return self._pieces(targets, lambda _, response: batches(response, format))

    async def fetch(self, targets: Sequence[Target]) -> Fetched:
        """Return a whole answer with its status: JSON as the value it is, anything else as text."""
        async with aclosing(self._pieces(targets, _fetched)) as pieces:
            return await anext(pieces)

    async def _pieces(
        self, targets: Sequence[Target], read: Callable[[Target, Response], AsyncGenerator[T]]
    ) -> AsyncGenerator[T]:
        """Yield what `read` makes of the first answer that comes."""
        async with aclosing(_Tries(self._id, self._config, targets)) as tries:
            while True:
                for target in tries.round():
                    started = False
                    if self._rate is not None:
                        await self._rate.turn()
                    try:
                        async with self._opened(target) as response, aclosing(read(target, response)) as pieces:
                            async for piece in pieces:
                                if not started:
                                    started = True
                                    target.health.well()
                                yield piece
                        if not started:
                            target.health.well()
                        return
                    except CallFailed as failed:
                        tries.failed(target, failed.failure, started)
                await self._sleep(tries.wait())

    @asynccontextmanager
    async def _opened(self, target: Target) -> AsyncGenerator[Response]:
        """Send a request and follow its redirects; close the connection unless the answer was read to its end."""
        response: Response | None = None
        with target.health.trying():
            try:
                response = await self._follow(target.request, target.guarded)
                yield response
            except (aiohttp.ClientError, TimeoutError, OSError) as error:
                raise CallFailed(connection_failure(error, self._config.timeout, response is not None)) from None
            except UpstreamFailed as error:
                # About the answer itself: where a redirect leads, what a body holds.
                raise CallFailed(Failure(error, transient=False, answered=True)) from None
            except InputFailed as failed:
                # The upstream is not at fault, so the error doesn't name it.
                raise failed.error from None
            finally:
                if response is not None:
                    response.close()

    async def _follow(self, request: Request, guarded: bool) -> Response:
        for hop in range(MAX_REDIRECTS + 1):
            try:
                response = await self._send(request, guarded)
            except aiohttp.InvalidURL:
                if hop == 0:
                    raise
                raise UpstreamFailed("redirected to something that is not a URL") from None
            try:
                if response.status in REDIRECTS and "Location" in response.headers:
                    before = request
                    request = redirected(request, response.status, response.headers["Location"])
                    guarded = guarded or origin(request.url)[1] != origin(before.url)[1]
                elif response.status >= 400 or response.status in REDIRECTS:
                    raise CallFailed(await refusal(response, self._config.timeout))
                else:
                    return response
            except BaseException:
                response.close()
                raise
            response.close()
        raise UpstreamFailed(f"redirected more than {MAX_REDIRECTS} times")

    async def _send(self, request: Request, guarded: bool) -> Response:
        if not guarded:
            return await self._transport.send(request)
        try:
            await self._guard.check(request.url)
        except ValueError:
            raise aiohttp.InvalidURL(request.url) from None
        if self._guarded is None:
            # A pool of its own: a connection that was opened unguarded must not serve a guarded call.
            self._guarded = Http1(self._config.timeout, self._guard.resolver())
        return await self._guarded.send(request)


class _Tries:
    """The tries of one call: what has failed, and how long to wait before the next round."""

    def __init__(self, id: str, config: CallerConfig, targets: Sequence[Target]) -> None:
        self._id = id
        self._config = config
        self._targets = targets
        self._rounds = 0
        self._left = 0
        self._failures: list[tuple[Target, Failure]] = []

    def round(self) -> Sequence[Target]:
        """Begin a round; return the targets that are worth a try: whose upstreams are ready, or the first if none is."""
        self._rounds += 1
        # A failure that stays is not tried again, but is still reported at the end.
        self._failures = [each for each in self._failures if not each[1].transient]
        targets = self._hopeful() if self._failures else self._targets
        targets = [target for target in targets if target.health.ready] or targets[:1]
        self._left = len(targets)
        return targets

    async def aclose(self) -> None:
        """Stop the source of a body that was never sent. All targets share one body."""
        for target in self._targets[:1]:
            await target.request.aclose()

    def failed(self, target: Target, failure: Failure, started: bool) -> None:
        """Record a failure; raise it if no other try could help."""
        self._left -= 1
        self._failures.append((target, failure))
        if started or not (failure.transient or failure.elsewhere) or not target.request.repeatable:
            raise self._error()
        if self._left:
            logger.warning(
                "component %s: %s: %s; trying the next upstream", self._id, target.request.where, failure.error.message
            )

    def wait(self) -> float:
        """Return how long to wait before another round; raise the last failure if there have been enough."""
        passing = [each for each in self._failures if each[1].transient]
        asked = min((failure.retry_after or 0.0 for _, failure in passing), default=0.0)
        if self._rounds > self._config.max_retries or asked > MAX_RETRY_WAIT or not self._hopeful():
            raise self._error()
        grown = min(self._config.retry_delay * 2 ** min(self._rounds - 1, 16), MAX_RETRY_WAIT)
        wait = max(grown * random.uniform(0.5, 1.0), asked)
        target, failure = (passing or self._failures)[-1]
        logger.warning(
            "component %s: %s: %s; trying again in %.1f s (%d of %d)",
            self._id, target.request.where, failure.error.message, wait, self._rounds, self._config.max_retries,
        )  # fmt: skip
        return wait

    def _hopeful(self) -> Sequence[Target]:
        """Return the targets without a failure that stays."""
        lost = [target for target, failure in self._failures if not failure.transient]
        return [target for target in self._targets if not any(target is each for each in lost)]

    def _error(self) -> AnabranchError:
        """Return the last failure, with those of the upstreams before it in its message."""
        *before, (target, failure) = self._failures
        error = failure.error.at(f"component {self._id!r}: {target.request.where}")
        if not before:
            return error
        others = "; ".join(f"{each.request.where}: {other.error.message}" for each, other in before)
        return error.saying(f"{error.message} (before it, {others})", error.details)


async def _fetched(target: Target, response: Response) -> AsyncGenerator[Fetched]:
    after = retry_after(response.headers.get("Retry-After"))
    yield Fetched(target, response.status, await whole(response), after)


def redirected(request: Request, status: int, location: str) -> Request:
    """Return the request that a redirect asks for. Another origin gets no credentials."""
    url = _destination(request.url, location)
    same_origin = origin(url) == origin(request.url)
    headers = {name: value for name, value in request.headers.items() if same_origin or name.lower() in _HARMLESS}
    method, body = request.method, request.body
    if (status == 303 and method != "HEAD") or (status in (301, 302) and method == "POST"):
        headers = {name: value for name, value in headers.items() if name.lower() not in _OF_THE_BODY}
        method, body = "GET", None
    moved = replace(request, method=method, url=url, headers=headers, body=body)
    if not moved.repeatable:
        raise UpstreamFailed(
            f"redirected ({status}) to {moved.where}, but a body that was streamed can't be sent twice; "
            "write that address in the document"
        )
    return moved


def _destination(url: str, location: str) -> str:
    """Resolve a Location. Credentials in it are ignored, because the upstream would choose them."""
    try:
        old = URL(url)
        new = old.join(URL(location))
        if new.scheme in PORTS and new.host:
            same = new.origin() == old.origin()
            return str(new.with_user(old.user).with_password(old.password) if same else new.with_user(None))
    except ValueError:
        raise UpstreamFailed("redirected to something that is not a URL") from None
    raise UpstreamFailed(f"redirected to a {new.scheme}: URL; expected http or https")
