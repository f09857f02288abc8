"""A value with Streams in it -> those streams, shared, joined, drained, or begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator, Sequence
from contextlib import AsyncExitStack, aclosing

from deployments.running.items import like, raw
from graphs.stream import Batch, Note, Stream, Value


class Opened(AsyncExitStack):
    """The streams that were opened on the way to an answer; closed on leaving, unless `pop_all` hands them on."""

    def __init__(self) -> None:
        super().__init__()
        self.any = False
        """Whether there are any: an answer made without streams isn't searched for them, large as it may be."""
        self.notes: list[Note] = []
        """What came with plain answers."""

    def add(self, value: Value) -> None:
        """Close `value` with the others, if it is a stream."""
        if isinstance(value, Stream):
            self.any = True
            self.push_async_callback(value.aclose)


def streams_in(value: Value) -> Iterator[Stream]:
    """Yield every Stream in the value, in the order they stand there."""
    match value:
        case Stream():
            yield value
        case dict():
            for item in value.values():
                yield from streams_in(item)
        case list():
            for item in value:
                yield from streams_in(item)
        case _:
            pass


def copies(value: Value, readers: int, share: Callable[[Stream, int], Sequence[Stream]]) -> list[Value]:
    """Return the value once for each reader, a stream in it shared by all of them and by all its places there."""
    places = Counter(id(stream) for stream in streams_in(value))
    forks = {
        id(stream): iter(share(stream, places[id(stream)] * readers))
        for stream in {id(stream): stream for stream in streams_in(value)}.values()
    }
    return [_replaced(value, lambda stream: next(forks[id(stream)])) for _ in range(readers)]


async def joined(value: Value) -> tuple[Value, tuple[Note, ...]]:
    """Return the value with every stream in it read to its end, and the notes these held."""
    wholes: dict[int, Value] = {}
    notes: list[Note] = []
    for stream in streams_in(value):
        if id(stream) not in wholes:
            wholes[id(stream)] = await stream.join()
            notes += stream.notes
    return _replaced(value, lambda stream: wholes[id(stream)]) if wholes else value, tuple(notes)


async def drain(value: Value) -> None:
    """Read every stream in the value to its end, for what its source does."""
    for stream in streams_in(value):
        async with aclosing(stream.batches()) as batches:
            async for _ in batches:
                pass


async def begun(value: Value) -> Value:
    """Return the value once every stream in it has given its first chunks, or ended."""
    started: dict[int, Stream] = {}
    for stream in streams_in(value):
        if id(stream) not in started:
            started[id(stream)] = stream if stream.joined is not None else await _begun(stream)
    return _replaced(value, lambda stream: started[id(stream)]) if started else value


async def _begun(stream: Stream) -> Stream:
    batches = raw(stream)
    first = await anext(batches, None)
    return like(stream, _resumed(first, batches), stream.aclose)


async def _resumed(first: Batch | None, rest: AsyncGenerator[Batch, None]) -> AsyncIterator[Batch]:
    async with aclosing(rest):
        if first is not None:
            yield first
            async for batch in rest:
                yield batch


def _replaced(value: Value, change: Callable[[Stream], Value]) -> Value:
    match value:
        case Stream():
            return change(value)
        case dict():
            return {key: _replaced(item, change) for key, item in value.items()}
        case list():
            return [_replaced(item, change) for item in value]
        case _:
            return value
