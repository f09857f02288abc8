"""Call an HTTP API as an action says; the answer comes whole, or chunk by chunk as it streams."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterator, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic import Field

from deployments.upstream.call_fields import (
    CallerConfig,
    CallInput,
    Completion,
    HostPattern,
    Polling,
    RateLimit,
    Upstreams,
    Url,
    check_call,
    completion_mistakes,
    requests_for,
    where_mistake,
)
from deployments.upstream.request import header_mistakes, join_url, merge_headers, origin, web_url
from deployments.upstream.upstreams import Target, Upstream
from graphs.component import Chunk, Component, Later, Traced, Whole
from graphs.errors import InvalidInput

if TYPE_CHECKING:
    from deployments.upstream.exchange import Exchange, Fetched

_NOT_ONE = "expected either a path under base_url or an endpoint, got both or neither"
_WITH_HOST = re.compile(r"https?://[^/?#\\]+[/?#]", re.IGNORECASE)
"""The beginning of a URL up to the end of its host, which nothing that follows can change."""


class HttpClientConfig(CallerConfig):
    base_url: Url | None = Field(default=None, description="What the paths of the actions are put under.")
    upstreams: Upstreams | None = Field(
        default=None,
        description="Several base URLs instead: when one fails in a way that is retried, the next is called.",
    )
    rate_limit: RateLimit | None = Field(default=None, description="For each replica; retries and polls count too.")
    allow_hosts: list[HostPattern] | None = Field(
        default=None,
        description="The hosts that URLs from requests may lead to: names, *.example.com, addresses, networks, * for all "
        "public addresses. Unset: all public addresses.",
    )


class HttpClientInput(CallInput, Traced):
    endpoint: str | None = Field(default=None, description="A full URL, instead of base_url and path.")
    completion: Later[Completion | None] = Field(
        default=None, description="For calls that only start a job: how to learn that it is done."
    )


class HttpClient(Component[HttpClientConfig, HttpClientInput]):
    """Calls an HTTP API.

    What comes back depends on `stream_format` and on the answer's Content-Type:

    | answer | unset | `json` | `text` |
    |---|---|---|---|
    | `application/json`, `+json` | the value, whole | one chunk: the value | text chunks |
    | `text/event-stream` | raw bytes | each event's data, parsed | each event's data |
    | NDJSON, JSON Lines | raw bytes | each line, parsed | text chunks |
    | other `text/*` | the text, whole | events or lines, by what it begins with | text chunks |
    | anything else | raw bytes | events or lines, by what it begins with | text chunks |

    `[DONE]` ends a stream. An error inside it (`event: error`, a lone `{"error": …}`) fails the call, and so does the end
    of a stream in OpenAI's or Anthropic's protocol without its end mark.
    """

    type = "http-client"
    light = True
    Config = HttpClientConfig
    Input = HttpClientInput

    @classmethod
    def check(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        base_url, upstreams = config.get("base_url"), config.get("upstreams")
        has_base = base_url is not None or upstreams is not None
        if base_url is not None and upstreams is not None:
            yield "upstreams", "'base_url' and 'upstreams' exclude each other; make the base_url one of the upstreams"
        for at, upstream in enumerate(upstreams if isinstance(upstreams, list) else ()):
            if isinstance(upstream, Mapping):
                yield from header_mistakes(upstream.get("headers"), f"upstreams.{at}.headers")
        neither = "an http-client needs a path or an endpoint; write `path: /…`, or `endpoint: https://…`"
        if found := where_mistake(action, has_base, neither):
            yield found
        if isinstance(endpoint := action.get("endpoint"), str):
            try:
                web_url(endpoint)
            except ValueError as error:
                yield "endpoint", str(error)
        yield from check_call(config, action)
        yield from completion_mistakes(action, has_base)

    async def setup(self) -> None:
        # aiohttp is heavy, and only replicas need it.
        from deployments.upstream.exchange import Exchange, Rate
        from deployments.upstream.guard import Guard
        from deployments.upstream.hosts import Hosts

        config, limit = self.config, self.config.rate_limit
        rate = None if limit is None else Rate(limit.requests, limit.per)
        guard = Guard(Hosts(config.allow_hosts))
        self._exchange: Exchange = Exchange(self.id, config, guard=guard, rate=rate)
        self._upstreams = [
            Upstream(each.base_url, merge_headers(config.headers, each.headers)) for each in config.upstreams or ()
        ]
        if config.base_url is not None:
            self._upstreams.append(Upstream(config.base_url, config.headers))

    async def run(self, input: HttpClientInput) -> AsyncIterator[Chunk]:
        async with aclosing(self.batches(input)) as batches:
            async for batch in batches:
                for chunk in batch:
                    yield chunk

    async def batches(self, input: HttpClientInput) -> AsyncGenerator[list[Chunk]]:
        targets = await self._targets(input)
        if input.completion is not None:
            from deployments.upstream.polling import result_of_job

            target_of = partial(self._target_of_job, input)
            yield [Whole(await result_of_job(self._exchange, targets, input.completion, target_of, self.id))]
            return
        answer = self._exchange.answer(targets, input.answer_format())
        async with aclosing(answer) as batches:
            async for batch in batches:
                yield batch

    async def close(self) -> None:
        await self._exchange.close()

    async def _targets(self, input: HttpClientInput) -> Sequence[Target]:
        """Return the targets of a call. Bindings may have left its path or endpoint null."""
        if input.endpoint is not None and input.path is None:
            url = _checked(input.endpoint)
            (request,) = await requests_for([(url, self.config.headers)], input)
            return [Target(request, guarded=not self._is_own(url, input.fixed("endpoint", url)))]
        if input.path is not None and input.endpoint is None and self._upstreams:
            return await _under(self._upstreams, input.path, input)
        raise InvalidInput(_NOT_ONE, field="path")

    def _is_own(self, url: str, fixed: str) -> bool:
        """Return whether the document itself writes the host of a URL, so that it is trusted."""
        if fixed == url or _WITH_HOST.match(fixed):
            return True
        return any(origin(upstream.base_url)[1:] == origin(url)[1:] for upstream in self._upstreams)

    async def _target_of_job(self, input: HttpClientInput, completion: Completion, started: Fetched) -> Target:
        """Return the target that knows about a job: the upstream that took it, or a URL from its answer."""
        upstream = started.target.upstream
        if completion.endpoint is not None and completion.path is None:
            url = _checked(completion.endpoint)
            own = upstream is not None and origin(upstream.base_url) == origin(url)
            same = not started.target.guarded and origin(started.target.request.url)[1:] == origin(url)[1:]
            trusted = own or same or self._is_own(url, input.fixed("completion.endpoint", url))
            # As with redirects: a host that only an upstream names gets no credentials.
            headers = (upstream.headers if upstream is not None and own else self.config.headers) if trusted else {}
            (request,) = await requests_for([(url, headers)], completion)
            return Target(request, guarded=not trusted)
        if completion.path is not None and completion.endpoint is None and upstream is not None:
            (target,) = await _under([upstream], completion.path, completion)
            return target
        raise InvalidInput(_NOT_ONE, field="completion.path")


async def _under(upstreams: Sequence[Upstream], path: str, call: CallInput | Polling) -> list[Target]:
    """Return a call of a path as one target for each upstream."""
    requests = await requests_for([(join_url(each.base_url, path), each.headers) for each in upstreams], call)
    return [Target(request, each.health, each) for request, each in zip(requests, upstreams, strict=True)]


def _checked(endpoint: str) -> str:
    try:
        return web_url(endpoint)
    except ValueError as error:
        raise InvalidInput(str(error), field="endpoint") from None
