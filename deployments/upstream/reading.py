"""Read a Response as its format and headers say: batches of chunks and a Note, one Whole, or the Failure of an error status.

A stream of JSON that ends without the end mark of its protocol was cut.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Mapping
from contextlib import suppress
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any, cast

import aiohttp

from deployments.upstream.answer_notes import EVENTS, AnswerNotes, is_openai, notes_of
from deployments.upstream.decoding import AnswerFormat, Body, Decoder, JsonDocument, comes_whole, decoder, is_json
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
from graphs.stream import Batch, Note, Value

RETRIED = frozenset({408, 429})
"""Error statuses worth another try, beside every 5xx."""
MAX_ERROR_BODY = 64 * 1024
"""How much of an error's body is read and passed on, in bytes."""
LINGER = 0.05
"""How long the end of the body is awaited after `[DONE]`, in seconds, so that its connection can be used again."""
_MARKS = ("message_start", "message_stop")
"""Anthropic's events at both ends of a message…"""
_OFTEN = "content_block_delta"
"""…and what most of those between are."""


def batches(response: Response, format: AnswerFormat) -> AsyncGenerator[Batch]:
    """Yield an answer: chunks as they come, then what they said of their tokens and their end; or one Whole."""
    if response.status in (204, 205) or response.method == "HEAD":
        return _one(None)
    kind, charset = response.content_type()
    if comes_whole(format.stream_format, kind):
        return _one(response)
    return _streamed(response, format, decoder(format, kind, charset))


async def _one(response: Response | None) -> AsyncGenerator[Batch]:
    value = None if response is None else await whole(response)
    yield [Whole(value, notes_of(value))]


async def _streamed(response: Response, format: AnswerFormat, chosen: Decoder) -> AsyncGenerator[Batch]:
    end = EndMark(demanded=format.complete is True)
    try:
        while packet := await response.read():
            if batch := chosen.feed(packet):
                end.watch(batch)
                yield batch
            if chosen.done:
                if notes := end.notes.notes:
                    yield [Note(notes)]
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
    if notes := notes_of(batch[0]) if isinstance(chosen, JsonDocument) and batch else end.notes.notes:
        yield [Note(notes)]


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
    if response.ended:
        return
    with suppress(TimeoutError, aiohttp.ClientError, OSError):
        async with asyncio.timeout(LINGER):
            while await response.read():
                pass


async def _error_body(response: Response, timeout: float) -> Value:
    content = b""
    # The status says more than a body that broke off, or that can't be unpacked.
    with suppress(aiohttp.ClientError, TimeoutError, OSError, UpstreamFailed):
        async with asyncio.timeout(timeout):
            while len(content) < MAX_ERROR_BODY and (packet := await response.read()):
                content += packet
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


class EndMark:
    """Watches the chunks of a JSON stream for its end mark. `demanded`: one must come even if the stream's protocol is unknown here."""

    def __init__(self, demanded: bool = False) -> None:
        self.notes = AnswerNotes()
        self._demanded = demanded
        self._chunks = 0
        self._openai = False
        self._begun: set[int] = set()
        """The indexes of OpenAI's choices that have come without a finish_reason…"""
        self._finished: set[int] = set()
        """…and with one."""
        self._anthropic: str | None = None
        """The last of Anthropic's two marks that has come."""

    def watch(self, batch: Batch) -> None:
        """Take the chunks that have come."""
        # Every chunk passes here: no calls, not even casts, for a chunk that says nothing about its end.
        self._chunks += len(batch)
        for chunk in batch:
            if chunk.__class__ is not dict:
                continue
            choices = chunk.get("choices")
            if choices.__class__ is list and (self._openai or is_openai(chunk, choices)):
                self._openai = True
                for choice in choices:
                    if choice.__class__ is dict:
                        index = choice.get("index", 0)
                        seen = self._finished if choice.get("finish_reason") else self._begun
                        seen.add(index if index.__class__ is int else 0)
                if self._finished or not choices:
                    self.notes.take_completion(chunk)
            elif (kind := chunk.get("type")) != _OFTEN and kind in EVENTS:
                self._event(chunk)

    def _event(self, event: Mapping[str, Any]) -> None:
        if event["type"] in _MARKS:
            self._anthropic = event["type"]
        self.notes.take_event(event)

    def mistake(self) -> str | None:
        """Return what is wrong with the end of the stream; None if nothing is."""
        missing = self._missing()
        if missing is None:
            return None
        came = "1 chunk" if self._chunks == 1 else f"{self._chunks} chunks"
        hint = "" if self._demanded else "; for an API that sends none, write `complete: false`"
        return f"the stream ended before its end mark: {came} came, but {missing}{hint}"

    def _missing(self) -> str | None:
        if self._openai:
            return "no finish_reason and no [DONE]" if self._begun - self._finished or not self._finished else None
        if self._anthropic is not None:
            return "no message_stop" if self._anthropic == "message_start" else None
        return "no [DONE]" if self._demanded else None
