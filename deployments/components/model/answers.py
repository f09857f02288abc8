"""What an engine generates -> what a component yields: pieces as they come with a Note at the end, or one Whole."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine, Sequence
from contextlib import aclosing
from dataclasses import dataclass, replace
from typing import Any, TypeVar

from deployments.engines.engine import Ask, Ended, Engine, Finish, Usage
from deployments.engines.tool_calls import CallDelta, Parser, join_calls
from graphs.component import Chunk, Note, Whole
from graphs.errors import ComponentFailed

T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Talk:
    """One question, who reads the answer for calls of tools, and whether chunks are OpenAI's deltas."""

    ask: Ask
    parser: Parser | None = None
    as_message: bool = False


async def stream(engine: Engine, talk: Talk) -> AsyncGenerator[Chunk]:
    """Yield the answer as it is generated, then a Note of usage and how it ended."""
    if talk.parser is None and not talk.as_message:
        async with aclosing(engine.generate(talk.ask)) as pieces:
            async for piece in pieces:
                if isinstance(piece, str):
                    yield piece
                else:
                    yield Note(_told(piece.finish, piece.usage))
                    return
        raise _cut()
    async for piece in _read(engine, talk):
        if isinstance(piece, Ended):
            yield Note(_told(piece.finish, piece.usage))
        elif isinstance(piece, CallDelta):
            delta = {"tool_calls": [piece.to_openai()]}
            yield delta if talk.as_message else Note(delta)
        elif piece:
            yield {"content": piece} if talk.as_message else piece


async def whole(engine: Engine, talk: Talk) -> Whole:
    """Return the answer once it is all there."""
    texts: list[str] = []
    calls: list[CallDelta] = []
    ended: Ended | None = None
    async for piece in _read(engine, talk):
        match piece:
            case str():
                texts.append(piece)
            case CallDelta():
                calls.append(piece)
            case Ended():
                ended = piece
    assert ended is not None
    return _whole("".join(texts), join_calls(calls), ended, as_message=talk.as_message)


async def wholes(engine: Engine, ask: Ask, texts: Sequence[str], at_once: int) -> Whole:
    """Return the answers to several texts, in their order, `at_once` of them under way."""
    room = asyncio.Semaphore(at_once)

    async def one(text: str) -> tuple[str, Ended]:
        async with room:
            answer: list[str] = []
            async for piece in _read(engine, Talk(replace(ask, text=text))):
                if isinstance(piece, Ended):
                    return "".join(answer), piece
                assert isinstance(piece, str)
                answer.append(piece)
        raise _cut()

    answers = await _all([one(text) for text in texts])
    usages = [ended.usage for _, ended in answers]
    usage = Usage(sum(each.prompt_tokens for each in usages), sum(each.completion_tokens for each in usages))
    notes = {"usage": usage_of(usage), "finish_reason": [ended.finish for _, ended in answers]}
    return Whole([text for text, _ in answers], notes)


def usage_of(usage: Usage) -> dict[str, int]:
    """Return the counts as OpenAI writes them."""
    return {
        "prompt_tokens": usage.prompt_tokens,
        "completion_tokens": usage.completion_tokens,
        "total_tokens": usage.prompt_tokens + usage.completion_tokens,
    }


async def _read(engine: Engine, talk: Talk) -> AsyncGenerator[str | CallDelta | Ended]:
    """Yield what is generated, calls of tools told apart, and at last how it ended."""
    parser = talk.parser
    async with aclosing(engine.generate(talk.ask)) as pieces:
        async for piece in pieces:
            if isinstance(piece, Ended):
                for rest in parser.end() if parser else ():
                    yield rest
                yield (
                    replace(piece, finish="tool_calls")
                    if parser and parser.called and piece.finish == "stop"
                    else piece
                )
                return
            if parser is None:
                yield piece
            else:
                for part in parser.feed(piece):
                    yield part
    raise _cut()


async def _all(coroutines: Sequence[Coroutine[Any, Any, T]]) -> list[T]:
    """Await all; the first failure stops the others and is the one that is told."""
    tasks = [asyncio.ensure_future(each) for each in coroutines]
    try:
        return await asyncio.gather(*tasks)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)


def _whole(text: str, calls: list[dict[str, Any]], ended: Ended, *, as_message: bool) -> Whole:
    told = _told(ended.finish, ended.usage)
    if not as_message:
        return Whole(text, {**({"tool_calls": calls} if calls else {}), **told})
    message: dict[str, Any] = {"role": "assistant", "content": text or None if calls else text}
    return Whole({**message, **({"tool_calls": calls} if calls else {}), **told}, told)


def _told(finish: Finish, usage: Usage) -> dict[str, Any]:
    return {"usage": usage_of(usage), "finish_reason": finish}


def _cut() -> ComponentFailed:
    return ComponentFailed("the engine stopped without saying how the answer ended")
