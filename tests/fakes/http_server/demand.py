"""A request's path and query -> the Answer they ask for: any API, any pace, any misbehaviour.

    /v1/chat/completions?count=50&pace=0.02&split=1     fifty chunks, fifty a second, each byte a packet of its own
    /v1/messages?lang=ko&eol=crlf&comments=1            Korean, CRLF, comments between the events
    /ndjson?count=10&broken=3                           the line after the third is not JSON
    /v1/completions?at=2&end=reset                      reset after two chunks
    /text?status=503&times=2&retry_after=1              refused twice, then well

A `Demand` lists them all.
"""

from __future__ import annotations

import gzip
import itertools
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, fields, replace
from functools import cache
from typing import Any

from tests.fakes.http_server.answers import (
    NDJSON,
    SSE,
    Answer,
    HalfClose,
    Hang,
    Pause,
    Reset,
    Step,
    anthropic_said,
    chat_chunk,
    dumps,
    json_answer,
)

WORDS = {
    "en": ("Once", " upon", " a", " time"),
    "ko": ("옛날", " 옛적", "에", " 호랑이가"),
    "emoji": ("👩‍👩‍👧", "🏳️‍🌈", " 🙂", "é"),
}
TOOL_CALL = {"index": 0, "id": "call_1", "type": "function", "function": {"name": "search", "arguments": ""}}
USAGE = {"prompt_tokens": 3, "completion_tokens": 4, "total_tokens": 7}
LINE_ENDS = {"lf": "\n", "cr": "\r", "crlf": "\r\n"}


@dataclass(frozen=True, slots=True)
class Demand:
    """All that a query may ask for; `at` counts chunks."""

    count: int | None = None
    """How many words; the known four without it."""
    lang: str = "en"
    pace: float = 0
    """Seconds between two chunks."""
    headers: float = 0
    """Seconds before the status."""
    first: float = 0
    """Seconds between the status and the first chunk."""
    split: int = 0
    """Bytes a write."""
    pack: int = 1
    """Events or lines a write."""
    eol: str = "lf"
    multiline: bool = False
    """JSON over several data lines."""
    comments: bool = False
    ids: bool = False
    retry: bool = False
    bom: bool = False
    unfinished: bool = False
    """Without the final blank line, or line end."""
    empty: bool = False
    """An empty delta before each word."""
    null: bool = False
    """A null delta before each word."""
    tools: bool = False
    usage: bool = False
    done: int = 1
    """How many `[DONE]`, for OpenAI's streams."""
    broken: int | None = None
    """After so many chunks, one that is not JSON."""
    error: int | None = None
    """After so many chunks, an error in the stream."""
    at: int | None = None
    """After so many chunks, `end`."""
    end: str = "hang"
    """hang, reset, half, close."""
    status: int = 200
    times: int | None = None
    """How often `status` is answered before it is well; for ever without it."""
    retry_after: str | None = None
    location: str | None = None
    """Redirects there, with `status`, or 307."""
    gzip: bool = False
    bomb: int = 0
    """A packed body of so many MiB of nothing."""
    type: str | None = None
    """Another Content-Type."""
    framed: bool = True


def demand(query: Mapping[str, list[str]]) -> Demand:
    """Read a query; what isn't known in it is left to whoever sends it."""
    found: dict[str, Any] = {}
    for field in fields(Demand):
        if field.name in query:
            found[field.name] = _read(str(field.type), query[field.name][-1])
    return replace(Demand(), **found)


def answer(path: str, streams: bool, asked: Demand, seen: int) -> Answer | None:
    """Return the answer to the `seen`-th such request (from 0), or None for an unknown path."""
    if asked.location is not None:
        status = 307 if asked.status == 200 else asked.status
        return Answer(status=status, headers={"Location": asked.location}, content_type=None)
    if asked.status != 200 and (asked.times is None or seen < asked.times):
        more = {} if asked.retry_after is None else {"Retry-After": asked.retry_after}
        return json_answer({"error": {"message": f"told to answer {asked.status}"}}, asked.status, **more)
    if asked.bomb:
        packed = gzip.compress(bytes(1 << 20), mtime=0)
        steps = itertools.repeat(packed, asked.bomb)
        return Answer(steps, asked.type or "application/json", headers={"Content-Encoding": "gzip"})
    found = _body(path, streams, asked)
    if found is None:
        return None
    kind, pieces = found
    return Answer(
        _steps(_written(pieces, asked), asked), asked.type or kind, compressed=asked.gzip, framed=asked.framed,
        first=[Pause(asked.headers)] if asked.headers else (),
    )  # fmt: skip


def _body(path: str, streams: bool, asked: Demand) -> tuple[str, Iterable[str]] | None:
    """Return a Content-Type and the pieces of a body, each of which is a chunk to whoever reads it."""
    match path.strip("/"):
        case "v1/chat/completions" if streams:
            return SSE, _done(_events(((None, each) for each in _chat_chunks(asked)), asked), asked)
        case "v1/chat/completions":
            message = {"role": "assistant", "content": "".join(words(asked))}
            return "application/json", [dumps({"object": "chat.completion", "choices": [_choice(message)]})]
        case "v1/completions" if streams:
            texts = itertools.chain((_text_chunk(word) for word in words(asked)), [_text_chunk("", "stop")])
            return SSE, _done(_events(((None, each) for each in texts), asked), asked)
        case "v1/completions":
            value = {"object": "text_completion", "choices": [{"index": 0, "text": "".join(words(asked))}]}
            return "application/json", [dumps(value)]
        case "v1/messages" if streams:
            return SSE, _events(((each["type"], dumps(each)) for each in anthropic_said(words(asked))), asked)
        case "v1/messages":
            content = [{"type": "text", "text": "".join(words(asked))}]
            return "application/json", [dumps({"type": "message", "role": "assistant", "content": content})]
        case "events":
            return SSE, _events(((None, _word(word)) for word in words(asked)), asked)
        case "ndjson":
            return NDJSON, _lines((_word(word) for word in words(asked)), asked)
        case "text":
            return "text/plain; charset=utf-8", words(asked)
        case _:
            return None


def words(asked: Demand) -> Iterator[str]:
    known = WORDS[asked.lang]
    return iter(known) if asked.count is None else itertools.islice(itertools.cycle(known), asked.count)


def _choice(message: Mapping[str, Any]) -> dict[str, Any]:
    return {"index": 0, "message": message, "finish_reason": "stop"}


def _chat_chunks(asked: Demand) -> Iterator[str]:
    yield dumps(chat_chunk({"role": "assistant", "content": ""}))
    for word in words(asked):
        if asked.empty:
            yield _chat_word("")
        if asked.null:
            yield _chat_word(None)
        yield _chat_word(word)
    if asked.tools:
        yield dumps(chat_chunk({"tool_calls": [TOOL_CALL]}))
        for piece in ('{"q": ', '"안녕"}'):
            yield dumps(chat_chunk({"tool_calls": [{"index": 0, "function": {"arguments": piece}}]}))
    yield dumps(chat_chunk({}))


# Written once for each of the few words: what the bench measures is not the upstream's JSON.


@cache
def _chat_word(word: str | None) -> str:
    return dumps(chat_chunk({"content": word}))


@cache
def _text_chunk(word: str, finish_reason: str | None = None) -> str:
    choice = {"index": 0, "text": word, "finish_reason": finish_reason}
    return dumps({"object": "text_completion", "choices": [choice]})


@cache
def _word(word: str) -> str:
    return dumps({"word": word})


def _events(values: Iterable[tuple[str | None, str]], asked: Demand) -> Iterator[str]:
    for place, (name, text) in enumerate(values):
        if asked.comments:
            yield ": still here\n\n"
        if place == asked.broken:
            yield 'data: {"broken\n\n'
        if place == asked.error:
            yield 'event: error\ndata: {"error": {"message": "out of memory"}}\n\n'
        lead = (f"event: {name}\n" if name else "") + (f"id: {place}\n" if asked.ids else "")
        lead += "retry: 10\n" if asked.retry else ""
        lines = text.replace(", ", ",\ndata: ") if asked.multiline else text
        yield f"{lead}data: {lines}\n\n"


def _done(pieces: Iterable[str], asked: Demand) -> Iterator[str]:
    yield from pieces
    if asked.usage:
        yield f"data: {dumps({'object': 'chat.completion.chunk', 'choices': [], 'usage': USAGE})}\n\n"
    for _ in range(asked.done):
        yield "data: [DONE]\n\n"


def _lines(values: Iterable[str], asked: Demand) -> Iterator[str]:
    for place, text in enumerate(values):
        if place == asked.broken:
            yield '{"broken\n'
        if place == asked.error:
            yield '{"error": {"message": "out of memory"}}\n'
        yield f"{text}\n"


def _written(pieces: Iterable[str], asked: Demand) -> Iterator[bytes]:
    """Write the pieces as bytes: their line ends, a BOM before the first, no line end after the last."""
    end = LINE_ENDS[asked.eol]
    if end == "\n" and not asked.bom and not asked.unfinished:
        yield from (piece.encode() for piece in pieces)
        return
    lead = "\ufeff" if asked.bom else ""
    pieces = iter(pieces)
    last = next(pieces, None)
    for piece in pieces:
        yield (lead + last).replace("\n", end).encode()
        lead, last = "", piece
    if last is not None:
        yield (lead + (last.rstrip("\n") if asked.unfinished else last)).replace("\n", end).encode()


def _steps(pieces: Iterator[bytes], asked: Demand) -> Iterator[Step]:
    if asked.first:
        yield Pause(asked.first)
    for place in itertools.count():
        if asked.at is not None and place * asked.pack >= asked.at:
            yield from _end(asked)
            return
        data = b"".join(itertools.islice(pieces, asked.pack))
        if not data:
            return
        if place and asked.pace:
            yield Pause(asked.pace)
        if asked.split:
            yield from (data[at : at + asked.split] for at in range(0, len(data), asked.split))
        else:
            yield data


def _end(asked: Demand) -> Iterator[Step]:
    match asked.end:
        case "reset":
            yield Reset()
        case "half":
            yield HalfClose()
        case "hang":
            yield Hang()
        case _:
            pass


def _read(kind: str, text: str) -> Any:
    match kind.removesuffix(" | None"):
        case "int":
            return int(text)
        case "float":
            return float(text)
        case "bool":
            return text not in ("", "0", "false")
        case _:
            return text
