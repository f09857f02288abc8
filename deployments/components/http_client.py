"""A request as an action writes it goes to an HTTP API; its answer comes back whole, or chunk by chunk as it streams."""

from __future__ import annotations

from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import aclosing
from typing import TYPE_CHECKING, Annotated, Any, Literal, cast

from pydantic import AfterValidator, BeforeValidator, Field

from deployments.upstream.decoding import StreamFormat
from deployments.upstream.request import (
    MULTIPART,
    Request,
    Scalar,
    build_request,
    header_mistakes,
    join_url,
    merge_headers,
    web_url,
)
from graphs.component import ActionInput, Chunk, Component, ComponentConfig, Unknown
from graphs.units import Duration, Size

if TYPE_CHECKING:
    from deployments.upstream.exchange import Exchange


def _upper(value: Any) -> Any:
    return value.upper() if isinstance(value, str) else value


def _scalar(value: Any) -> Any:
    if isinstance(value, dict | list | bytes):
        raise ValueError("expected text, a number or a boolean; a header holds one line, spell it in quotes")
    return value


Method = Annotated[Literal["GET", "POST", "PUT", "PATCH", "DELETE", "HEAD", "OPTIONS"], BeforeValidator(_upper)]
Headers = dict[str, Annotated[Scalar, BeforeValidator(_scalar)]]
Url = Annotated[str, AfterValidator(web_url)]
Patience = Annotated[Duration, Field(gt=0)]


class HttpConfig(ComponentConfig):
    """What every call of a component shares."""

    headers: Headers = Field(default={}, description="Sent with every call; an action's own headers go over them.")
    timeout: Patience = Field(default=60.0, description="The longest wait for a connection, and for each next byte.")
    max_retries: Annotated[int, Field(ge=0, le=100)] = Field(
        default=0,
        description="How often a call is tried again: after a lost connection, a timeout, 408, 429 and 5xx, "
        "and only before its first chunk.",
    )
    retry_delay: Duration = Field(default=1.0, description="The pause before the first retry; it doubles with each.")


class HttpClientConfig(HttpConfig):
    base_url: Url | None = Field(default=None, description="What the paths of the actions are put under.")


class HttpInput(ActionInput):
    """One call, under the base URL of its component."""

    path: str | None = Field(default=None, description="Put under the base URL.")
    method: Method = "POST"
    headers: Headers = Field(default={}, description="A null takes one of the component's headers away.")
    params: dict[str, Any] | None = Field(default=None, description="The query; null ones are left out.")
    body: Any = Field(default=None, description="JSON, or what the Content-Type header says: a form, text, bytes.")
    stream_format: StreamFormat | None = Field(
        default=None,
        description="json: each event or line, parsed. text: the answer as text. Unset: JSON and plain text come "
        "whole, anything else as raw bytes.",
    )
    chunk_size: Annotated[Size, Field(ge=1)] = Field(default=65536, description="The most bytes in a raw chunk.")


class HttpClientInput(HttpInput):
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

    `[DONE]` ends a stream. An error inside a stream (`event: error`, a lone `{"error": …}`) fails the call.
    """

    type = "http-client"
    Config = HttpClientConfig
    Input = HttpClientInput

    @classmethod
    def check(cls, config: Mapping[str, Any], action: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        path, endpoint = action.get("path"), action.get("endpoint")
        if path is not None and endpoint is not None:
            yield "endpoint", "'path' and 'endpoint' exclude each other; keep path (under base_url) or the full endpoint"
        elif path is None and endpoint is None:
            yield "path", "an http-client needs to know where to call; write `path: /…` beside base_url, or `endpoint:`"
        elif path is not None and config.get("base_url") is None:
            yield "path", "a path needs a base_url to stand under; write `base_url: https://…` on the component"
        if isinstance(endpoint, str):
            yield from _url_mistakes("endpoint", endpoint)
        yield from check_call(config, action)

    async def setup(self) -> None:
        # The one heavy import, aiohttp, waits for the replica.
        from deployments.upstream.exchange import Exchange, Policy

        self._exchange: Exchange = Exchange(
            self.id, Policy(self.config.timeout, self.config.max_retries, self.config.retry_delay)
        )

    async def run(self, input: HttpClientInput) -> AsyncIterator[Chunk]:
        answer = self._exchange.answer(self._request(input), input.stream_format, input.chunk_size)
        async with aclosing(answer) as batches:
            async for batch in batches:
                for chunk in batch:
                    yield chunk

    async def close(self) -> None:
        await self._exchange.close()

    def _request(self, input: HttpClientInput) -> Request:
        if input.endpoint is not None and input.path is None:
            url = checked_url(input.endpoint)
        elif input.path is not None and input.endpoint is None and self.config.base_url is not None:
            url = join_url(self.config.base_url, input.path)
        else:
            raise InvalidInput("expected either a path (under base_url) or an endpoint", field="path")
        headers = merge_headers(self.config.headers, input.headers)
        return build_request(input.method, url, headers, input.params, input.body)
