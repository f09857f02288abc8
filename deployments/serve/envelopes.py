"""How a question and its reply travel through a Ray handle: as bytes, for Ray to carry without a look inside.

What we pickle ourselves fails here, in our words, whatever its depth and size. Streams in the input stay behind: a
reference travels, and the worker asks for them over the channel. An answer that is too large or too deep to be a call's
return leaves as one chunk.
"""

from __future__ import annotations

import asyncio
import pickle
from dataclasses import dataclass, replace
from typing import cast

from deployments.answering.messages import Answered, Erred, Question, Reply, Stopped, Streamed, too_deep
from deployments.channel.flow import Outlet
from deployments.channel.listener import Address
from deployments.streams.codec import Left, Lost
from graphs.component import Whole
from graphs.errors import AnabranchError, TooLarge, Unavailable
from graphs.stream import Note, Stream, Value

LARGE = 1024 * 1024
"""Bytes. What is larger doesn't travel in a call or its return: gRPC between replicas takes no more than 4 MB."""
LONGEST_TEXT = 10_000
"""Characters of a text in a failure's details where the whole would be too large."""
LONGEST_DETAIL = 64 * 1024
"""Bytes of one detail there."""


@dataclass(frozen=True, slots=True)
class StreamRef:
    """Stands in an input for a stream that the caller offers over the channel."""

    id: int


@dataclass(frozen=True, slots=True)
class ReplyTo:
    """Where the chunks of the answer go."""

    address: Address
    stream: int


@dataclass(frozen=True, slots=True)
class Envelope:
    """A question on its way."""

    question: Question
    """Its streams are StreamRefs."""
    reply_to: ReplyTo | None
    """None: chunks come through the handle."""


@dataclass(frozen=True, slots=True)
class NoChannel:
    """The worker can't dial back; nothing was run."""

    reason: str


def seal(question: Question, reply_to: ReplyTo | None = None) -> bytes:
    """Return the question as it travels: its size decides how."""
    context = question.context.since(asyncio.get_running_loop().time())
    try:
        return pickle.dumps(Envelope(replace(question, context=context), reply_to), pickle.HIGHEST_PROTOCOL)
    except RecursionError:
        raise too_deep() from None


def unseal(data: bytes) -> Envelope:
    """Return the envelope. It comes through Ray, which unpickles everything itself."""
    envelope = cast("Envelope", pickle.loads(data))  # noqa: S301
    question = envelope.question
    here = replace(question, context=question.context.at(asyncio.get_running_loop().time()))
    return replace(envelope, question=here)


def seal_reply(reply: Reply | NoChannel) -> bytes:
    """Return the reply as it travels; raise TooLarge for an answer that can't be a call's return."""
    if isinstance(reply, Erred):
        reply = Erred(shortened(reply.error))
    try:
        data = pickle.dumps(reply, pickle.HIGHEST_PROTOCOL)
    except RecursionError:
        raise TooLarge("the answer is nested too deep to be a call's return") from None
    if len(data) > LARGE:
        raise TooLarge(f"an answer of {len(data)} bytes is too large to be a call's return")
    return data


def unseal_reply(data: bytes) -> Reply | NoChannel:
    """Return the reply; it comes through Ray as well."""
    return cast("Reply | NoChannel", pickle.loads(data))  # noqa: S301


def shortened(error: AnabranchError) -> AnabranchError:
    """Return the error such that it can be a call's return: it keeps its type, and the beginning of long details."""
    if _size(error) <= LARGE:
        return error
    details = {name: _beginning(value) for name, value in error.details.items()}
    kept = {name: value for name, value in details.items() if _size(value) <= LONGEST_DETAIL}
    return error.saying(str(_beginning(error.message)), kept)


async def send_whole(answered: Answered, outlet: Outlet) -> Reply:
    """Send an answer as one chunk, and its notes as another."""
    try:
        outlet.open(whole=True)
        for chunk in (answered.value, *([Note(answered.notes)] if answered.notes else [])):
            if not outlet.put(chunk):
                await outlet.room()
        outlet.finish()
    except AnabranchError as error:
        outlet.fail(error)
        return Erred(error)
    except Left:
        return Stopped()
    except Lost as lost:
        return Erred(Unavailable(f"the caller was lost: {lost}"))
    return Streamed(outlet.count)


async def read_whole(stream: Stream) -> Value | Whole:
    """Return the answer that `send_whole` sent."""
    value, *notes = [chunk async for batch in stream.batches() for chunk in batch] or [None]
    return Whole(value, notes[0].data) if notes else value


def _size(value: object) -> float:
    try:
        return len(pickle.dumps(value, pickle.HIGHEST_PROTOCOL))
    except Exception:  # noqa: BLE001  (whatever pickle raises: it can't travel)
        return float("inf")


def _beginning(value: object, levels: int = 3) -> object:
    """Return the beginning of a long text or bytes; the same for those in a mapping or a list, a few levels down."""
    match value:
        case str() if len(value) > LONGEST_TEXT:
            return f"{value[:LONGEST_TEXT]}… ({len(value) - LONGEST_TEXT} characters more)"
        case bytes() if len(value) > LONGEST_TEXT:
            return value[:LONGEST_TEXT]
        case dict() if levels:
            return {name: _beginning(item, levels - 1) for name, item in cast("dict[object, object]", value).items()}
        case list() if levels:
            return [_beginning(item, levels - 1) for item in cast("list[object]", value)]
        case _:
            return value
