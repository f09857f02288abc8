"""Read a Response as its format and headers say: batches of chunks, one Whole, or the Failure of an error status."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import cast

import aiohttp

from deployments.upstream.decoding import AnswerFormat, Body, JsonDocument, comes_whole, decoder, is_json
from deployments.upstream.end_marks import EndMark
from deployments.upstream.http1 import Response
from deployments.upstream.upstream_errors import (
    CallFailed,
    Failure,
    StreamFailed,
    json_or_text,
    parse_json,
    status_failure,
)
from graphs.component import Whole
from graphs.errors import UpstreamFailed
from graphs.stream import Batch, Value

RETRIED = frozenset({408, 429})
"""Error statuses worth another try, beside every 5xx."""
MAX_ERROR_BODY = 64 * 1024
"""How much of an error's body is read and passed on, in bytes."""
LINGER = 0.05
"""How long the end of the body is awaited after `[DONE]`, in seconds, so that its connection can be used again."""


async def batches(response: Response, format: AnswerFormat) -> AsyncGenerator[Batch]:
    """Yield an answer: chunks as they come, or one Whole."""
    if response.status in (204, 205) or response.method == "HEAD":
        yield [Whole(None)]
        return
    kind, charset = response.content_type()
    if comes_whole(format.stream_format, kind):
        yield [Whole(await whole(response))]
        return
    chosen = decoder(format, kind, charset)
    end = EndMark(demanded=format.complete is True)
    try:
        while packet := await response.read():
            if batch := chosen.feed(packet):
                end.watch(batch)
                yield batch
            if chosen.done:
                await _linger(response)
                return
        if batch := chosen.end():
            end.watch(batch)
            yield batch
    except StreamFailed as failed:
        if failed.before:
            yield failed.before
        raise _with_status(failed.error, response) from None
    # A document of JSON that parses is whole; `complete: false` takes any end for an end.
    mistake = None if isinstance(chosen, JsonDocument) or format.complete is False else end.mistake()
    if mistake and not chosen.done:
        raise CallFailed(Failure(UpstreamFailed(mistake), transient=True))


async def whole(response: Response) -> Value:
    """Read a body to its end: JSON as the value it is, anything else as text."""
    kind, charset = response.content_type()
    body = Body()
    while packet := await response.read():
        body.add(packet)
    text = body.text(charset)
    if not is_json(kind):
        return text
    return parse_json(text) if text.strip() else None


async def refusal(response: Response, timeout: float) -> Failure:
    """Return the Failure of an error status. Its body is read for no longer than `timeout`, and up to MAX_ERROR_BODY."""
    after = retry_after(response.headers.get("Retry-After"))
    error = status_failure(response.status, await _error_body(response, timeout), after)
    return Failure(error, is_transient(response.status), after, answered=True)


def is_transient(status: int) -> bool:
    return status in RETRIED or status >= 500


def retry_after(value: str | None) -> float | None:
    """Read a Retry-After header: seconds, or a date."""
    if value is None:
        return None
    try:
        if value.strip().isdecimal():
            return float(value)
        return max((parsedate_to_datetime(value) - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError):
        return None


async def _linger(response: Response) -> None:
    """Read what follows `[DONE]` for a moment: a body that is read to its end frees its connection for other calls."""
    try:
        async with asyncio.timeout(LINGER):
            while await response.read():
                pass
    except (TimeoutError, aiohttp.ClientError, OSError):
        return


async def _error_body(response: Response, timeout: float) -> Value:
    content = b""
    try:
        async with asyncio.timeout(timeout):
            while len(content) < MAX_ERROR_BODY and (packet := await response.read()):
                content += packet
    except (aiohttp.ClientError, TimeoutError, OSError, UpstreamFailed):
        # The status says more than a body that broke off, or that can't be unpacked.
        pass
    text = content[:MAX_ERROR_BODY].decode(errors="replace")
    if len(content) >= MAX_ERROR_BODY:
        text = f"{text[:-1]}…"  # an ellipsis has the redactor look for part of a secret before it
    return json_or_text(text)


def _with_status(error: UpstreamFailed, response: Response) -> UpstreamFailed:
    """Add the status to an error inside a stream."""
    upstream = error.details.get("upstream")
    if not isinstance(upstream, dict):
        return error
    return UpstreamFailed(error.message, upstream={"status": response.status, **cast("dict[str, Value]", upstream)})
