"""A request as an action writes it goes to an HTTP API; its answer comes back whole, or chunk by chunk as it streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Any

from pydantic import Field

from deployments.upstream.fields import CallerConfig, CallInput, Url, check_headers
from deployments.upstream.request import Request, build_request, join_url, merge_headers, web_url
from graphs.component import Chunk, Component
from graphs.errors import InvalidInput

if TYPE_CHECKING:
    from deployments.upstream.exchange import Exchange


class HttpClientConfig(CallerConfig):
    base_url: Url | None = Field(default=None, description="What the paths of the actions are put under.")


class HttpClientInput(CallInput):
    endpoint: str | None = Field(default=None, description="A full URL, instead of base_url and path.")


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

    `[DONE]` ends a stream. An error inside it (`event: error`, a lone `{"error": …}`) fails the call.
    """

    type = "http-client"
    Config = HttpClientConfig
    Input = HttpClientInput

    @classmethod
    def check(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        path, endpoint = action.get("path"), action.get("endpoint")
        if path is not None and endpoint is not None:
            yield "endpoint", "'path' and 'endpoint' exclude each other; keep one of them"
        elif path is None and endpoint is None:
            yield "path", "an http-client needs a path or an endpoint; write `path: /…`, or `endpoint: https://…`"
        elif path is not None and config.get("base_url") is None:
            yield "path", "a path needs a base_url to stand under; write `base_url: https://…` on the component"
        if isinstance(endpoint, str):
            try:
                web_url(endpoint)
            except ValueError as error:
                yield "endpoint", str(error)
        yield from check_headers(config, action)

    async def setup(self) -> None:
        # The one heavy import, aiohttp, waits for the replica.
        from deployments.upstream.exchange import Exchange, Policy

        policy = Policy(self.config.timeout, self.config.max_retries, self.config.retry_delay)
        self._exchange: Exchange = Exchange(self.id, policy)

    async def run(self, input: HttpClientInput) -> AsyncIterator[Chunk]:
        answer = self._exchange.answer(self._request(input), input.stream_format, input.chunk_size)
        async with aclosing(answer) as batches:
            async for batch in batches:
                for chunk in batch:
                    yield chunk

    async def close(self) -> None:
        await self._exchange.close()

    def _request(self, input: HttpClientInput) -> Request:
        headers = merge_headers(self.config.headers, input.headers)
        return build_request(input.method, self._url(input), headers, input.params, input.body)

    def _url(self, input: HttpClientInput) -> str:
        """Return where to call: bindings may have left a path or an endpoint null."""
        base, path, endpoint = self.config.base_url, input.path, input.endpoint
        if endpoint is not None and path is None:
            try:
                return web_url(endpoint)
            except ValueError as error:
                raise InvalidInput(str(error), field="endpoint") from None
        if path is not None and endpoint is None and base is not None:
            return join_url(base, path)
        raise InvalidInput("expected either a path under base_url or an endpoint, got both or neither", field="path")
