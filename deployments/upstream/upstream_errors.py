"""How a call fails, and the errors that upstreams write, in a body or inside a stream, as an UpstreamFailed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, cast

from graphs.errors import AnabranchError, UpstreamFailed
from graphs.stream import Batch, Value

_SHOWN = 200
"""How much of an answer a message shows, in characters."""
OPENAI_OBJECTS = ("chat.completion", "text_completion")
"""How the `object` of an OpenAI chunk begins."""
_ENVELOPE = frozenset({"type", "request_id"})


@dataclass(frozen=True, slots=True)
class Failure:
    """An error, and what could help against it."""

    error: AnabranchError
    transient: bool
    """Whether another try at the same upstream could succeed."""
    retry_after: float | None = None
    elsewhere: bool = False
    """Whether only another upstream could help: the TLS or the HTTP of this one is broken."""
    answered: bool = False
    """Whether the upstream gave an answer, which shows that it is up."""


class CallFailed(Exception):
    """Raised when a call fails: in the transport, at a redirect, or while its answer is read."""

    def __init__(self, failure: Failure) -> None:
        super().__init__(failure.error.message)
        self.failure = failure


class StreamFailed(Exception):
    """Raised by a decoder at an error inside a stream; `before` holds the chunks that came before it in the same packet."""

    def __init__(self, before: Batch, error: UpstreamFailed) -> None:
        super().__init__(error.message)
        self.before = before
        self.error = error


def parse_json(text: str) -> Value:
    """Parse one JSON value; raise an error that shows the text if it is no JSON."""
    try:
        return _JSON.decode(text)
    except (ValueError, RecursionError):
        raise UpstreamFailed(f"expected JSON, got {shown(text.strip())}") from None


def json_or_text(text: str) -> Value:
    """Return the JSON value that a text is; the text itself if it is no JSON."""
    try:
        return parse_json(text)
    except UpstreamFailed:
        return text


def shown(text: str) -> str:
    """Quote a piece of an answer for a message, and shorten it."""
    return repr(text) if len(text) <= _SHOWN else f"{text[:_SHOWN]!r}… ({len(text)} characters)"


def is_failure(value: Value) -> bool:
    """Return whether a value of a stream says that the stream failed.

    `{"error": …}` alone, Anthropic's `{"type": "error", "error": …}`, and an `error` on an
    OpenAI chunk, on which both of OpenAI's own clients raise. An `error` beside other fields is data.
    """
    if type(value) is not dict or "error" not in value:
        return False
    fields = cast("dict[str, Any]", value)
    if not fields["error"]:
        return False
    alone = fields.keys() - _ENVELOPE == {"error"}
    return alone or str(fields.get("object", "")).startswith(OPENAI_OBJECTS)


def stream_failure(body: Value) -> UpstreamFailed:
    """Return the failure of a stream that reported an error."""
    return UpstreamFailed(_with_reason("the stream ended with an error", body), upstream={"body": body})


def status_failure(status: int, body: Value, retry_after: float | None) -> UpstreamFailed:
    """Return the failure of an answer with an error status."""
    details = {} if retry_after is None else {"retry_after": retry_after}
    upstream = {"status": status, "body": body}
    return UpstreamFailed(_with_reason(f"answered {status}", body), upstream=upstream, **details)


def _with_reason(words: str, body: Value) -> str:
    return f"{words}: {reason}" if (reason := reason_in(body)) else words


def reason_in(body: Value) -> str:
    """Return the message in an error body, from the places where APIs put it."""
    if isinstance(body, str):
        return " ".join(body[:_SHOWN].split()) + ("…" if len(body) > _SHOWN else "")
    if isinstance(body, Mapping):
        fields = cast("Mapping[str, Any]", body)
        for key in ("error", "message", "detail", "error_description", "title"):
            if found := reason_in(fields.get(key)):
                return found
    return ""


def _no_constant(name: str) -> Value:
    raise ValueError(f"{name} is not JSON")


_JSON = json.JSONDecoder(parse_constant=_no_constant)
