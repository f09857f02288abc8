"""A template, a scope and streams -> a value, or a stream of one value a chunk."""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable
from contextlib import aclosing
from typing import Any

from graphs.errors import AnabranchError, BindingFailed
from graphs.language.evaluator import Evaluate, Scope, compiled
from graphs.language.nodes import Template
from graphs.language.operators import NeedsWhole
from graphs.language.texts import decoded
from graphs.stream import Batch, Chunk, Note, Stream, Value, is_empty


async def render(template: Template, scope: Scope) -> Value:
    """Return the template's value, joining the streams it needs whole; a stream read as `X[]` gives a mapped Stream."""
    made = compiled(template)
    if made.chunked:
        mapped = _mapped(template, made.chunked, scope)
        if mapped is not None:
            return mapped
    while True:
        try:
            return made.value(scope)
        except NeedsWhole as needed:
            await needed.stream.join()


def _mapped(template: Template, chunked: frozenset[str], scope: Scope) -> Stream | None:
    """Return the mapped stream if exactly one stream is read chunk by chunk, maybe under several names."""
    read = {name: scope.names.get(name) for name in chunked if name not in scope.chunks}
    streams = {id(value): value for value in read.values() if isinstance(value, Stream)}
    if len(streams) != 1:
        return None
    (stream,) = streams.values()
    names = tuple(name for name, value in read.items() if value is stream)
    return _map_chunks(template, scope, names, stream)


def _map_chunks(template: Template, scope: Scope, names: tuple[str, ...], stream: Stream) -> Stream:
    """Return the stream of what `template` gives for each chunk, `X[]` being the chunk for every X of `names`.

    Notes pass; what comes out null or empty is left out.
    """
    made = compiled(template)
    reads_text = not made.texts.isdisjoint(names)

    async def batches(source: Stream) -> AsyncGenerator[Batch, None]:
        change = _change(made.chunk, scope, names)
        async with aclosing((decoded(source) if reads_text else source).batches()) as given:
            async for batch in given:
                out: Batch = []
                failed: AnabranchError | None = None
                for chunk in batch:
                    if type(chunk) is Note:
                        out.append(chunk)
                        continue
                    try:
                        try:
                            value = change(chunk)
                        except NeedsWhole as needed:
                            value = await _joined_first(needed, change, chunk, names, stream)
                    except AnabranchError as error:
                        failed = error
                        break
                    if not is_empty(value):
                        out.append(value)
                if out:
                    yield out
                if failed is not None:
                    raise failed

    return stream.made(batches)


def _change(evaluate: Evaluate, scope: Scope, names: tuple[str, ...]) -> Callable[[Chunk], Value]:
    """Return the function of one chunk; it reuses one scope, for this runs for every chunk of every stream."""
    chunks: dict[str, Any] = dict(scope.chunks)
    inner = Scope(scope.names, chunks)

    def change(chunk: Chunk) -> Value:
        for name in names:
            chunks[name] = chunk
        return evaluate(inner)

    return change


async def _joined_first(
    needed: NeedsWhole, change: Callable[[Chunk], Value], chunk: Chunk, names: tuple[str, ...], source: Stream
) -> Value:
    """Return `change(chunk)` once the other streams it needs are joined."""
    while True:
        if needed.stream is source:
            each = " or ".join(f"{name}[]" for name in names)
            raise BindingFailed(f"one stream is read chunk by chunk and whole; write {each} for every use of it")
        await needed.stream.join()
        try:
            return change(chunk)
        except NeedsWhole as another:
            needed = another
