"""A value with Streams in it -> those streams, shared, joined, mapped, drained, or begun."""

from __future__ import annotations

from collections import Counter
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, aclosing
from typing import Any

from deployments.streams.tasks import task_group
from graphs.language import Scope, compiled, render
from graphs.language.nodes import Template
from graphs.stream import Batch, Note, Stream, Value, whole_size

Share = Callable[[Stream, int], Sequence[Stream]]
"""Returns a stream as often as it is wanted."""


MAY_HOLD = (dict, list, Stream)
"""The kinds of values that are a stream, or may have one in them."""


class Opened:
    """The streams that were opened on the way to an answer, to be closed in the end, and the notes of plain answers."""

    def __init__(self) -> None:
        self.streams: list[Stream] = []
        """An answer made without streams isn't searched for them, large as it may be."""
        self.notes: list[Note] = []

    async def __aenter__(self) -> Opened:
        return self

    async def __aexit__(self, *_: object) -> None:
        await close_all(self.streams)

    def add(self, value: Value) -> None:
        """Close `value` with the others, if it is a stream."""
        if isinstance(value, Stream):
            self.streams.append(value)


async def close_all(streams: Iterable[Stream]) -> None:
    """Close the streams, the last first; all of them, even if one can't be closed."""
    async with AsyncExitStack() as closing:
        for stream in streams:
            closing.push_async_callback(stream.aclose)


def streams_in(value: Value) -> list[Stream]:
    """Return every Stream in the value, in the order they stand there."""
    if isinstance(value, Stream):
        return [value]
    items = value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()
    # Nearly all that stands in a value is plain, and costs no call.
    return [stream for item in items if isinstance(item, MAY_HOLD) for stream in streams_in(item)]


def copies(value: Value, readers: int, share: Share) -> list[Value]:
    """Return the value once for each reader. A stream in it is shared by all readers, and by all places it stands in.

    So is a stream that other streams in it are made of, by casts or by `X[]`: each is made of a share of its own.
    """
    if readers == 1 and isinstance(value, Stream):
        return [value]
    forks = _Forks(share)
    for stream in streams_in(value):
        forks.want(stream, readers)
    return [replaced(value, forks.take) for _ in range(readers)]


def apart(value: Value, share: Share) -> Value:
    """Return the value with a stream for every place in it, so that any of them can be read, at any time."""
    return copies(value, 1, share)[0]


async def joined(value: Value) -> tuple[Value, tuple[Note, ...]]:
    """Return the value with every stream in it read to its end, and the notes these held."""
    found = streams_in(value)
    if not found:
        return value, ()
    streams = {id(stream): stream for stream in found}
    forks = _Forks(_replays)
    for stream in streams.values():
        forks.want(stream, 1)
    taken = {key: forks.take(stream) for key, stream in streams.items()}
    await _together(_join, [[taken[id(stream)] for stream in one] for one in _by_source(streams.values())])
    wholes = {key: stream.joined[0] for key, stream in taken.items() if stream.joined is not None}
    notes = {id(note): note for stream in taken.values() for note in stream.notes}
    return replaced(value, lambda stream: wholes[id(stream)]), tuple(notes.values())


async def drain(value: Value) -> None:
    """Read every stream in the value to its end, for what its source does."""
    await _together(_drain, [streams[:1] for streams in _by_source(streams_in(value))])


async def mapped(template: Template | None, names: Mapping[str, Value], result: tuple[str, ...], value: Value) -> Value:
    """Return `value` as the output template maps it; the template reads it under each name of `result`.

    A value that it doesn't read is drained: what its source does must be done.
    """
    if template is None:
        return value
    if compiled(template).names.isdisjoint(result):
        await drain(value)
    return await render(template, Scope({**names, **dict.fromkeys(result, value)}))


async def begun(value: Value) -> Value:
    """Return the value, its streams apart, once each of them has given its first chunks, or ended."""
    started: dict[int, Stream] = {}
    for stream in streams_in(value):
        if id(stream) not in started:
            started[id(stream)] = stream if stream.joined is not None else await _begun(stream)
    return replaced(value, lambda stream: started[id(stream)]) if started else value


def watched(value: Value, tell: Callable[[Batch], None]) -> Value:
    """Return the value, its streams apart, with `tell` called with each of their batches when it is read."""

    async def telling(batches: AsyncGenerator[Batch, None]) -> AsyncIterator[Batch]:
        async with aclosing(batches):
            async for batch in batches:
                tell(batch)
                yield batch

    def watch(stream: Stream) -> Stream:
        return stream if stream.joined is not None else type(stream)(telling(stream.marked()), stream.aclose)

    return replaced(value, watch)


def sources(stream: Stream) -> Iterator[Stream]:
    """Yield the stream, what it is made of, and so on."""
    source: Stream | None = stream
    while source is not None:
        yield source
        source = source.parent


class _Forks:
    """Streams that are wanted several times, as themselves or as what others are made of -> each of them that often."""

    def __init__(self, share: Share) -> None:
        self._share = share
        self._wanted: Counter[int] = Counter()
        self._forks: dict[int, Iterator[Stream]] = {}

    def want(self, stream: Stream, times: int) -> None:
        """Count `times` more; all must be counted before the first is taken."""
        source = None if id(stream) in self._wanted or stream.joined is not None else stream.parent
        self._wanted[id(stream)] += times
        if source is not None:
            self.want(source, 1)

    def take(self, stream: Stream) -> Stream:
        """Return the stream, for the next of those that want it."""
        if id(stream) not in self._forks:
            source = stream.parent
            own = stream if source is None or stream.joined is not None else stream.over(self.take(source))
            self._forks[id(stream)] = iter(self._share(own, self._wanted[id(stream)]))
        return next(self._forks[id(stream)])


def _by_source(streams: Iterable[Stream]) -> list[list[Stream]]:
    """Return the streams in groups of those that read the same source."""
    groups: dict[int, list[Stream]] = {}
    for stream in streams:
        *_, source = sources(stream)
        groups.setdefault(id(source), []).append(stream)
    return list(groups.values())


async def _together(read: Callable[[list[Stream]], Coroutine[Any, Any, None]], groups: list[list[Stream]]) -> None:
    """Read the groups at the same time: one of them may be shared with another, and kept for it meanwhile."""
    if len(groups) <= 1:
        for group in groups:
            await read(group)
        return
    async with task_group() as tasks:
        for group in groups:
            tasks.create_task(read(group))


async def _join(streams: list[Stream]) -> None:
    for stream in streams:
        await stream.join()


async def _drain(streams: list[Stream]) -> None:
    for stream in streams:
        async with aclosing(stream.batches()) as batches:
            async for _ in batches:
                pass


def _replays(stream: Stream, readers: int) -> Sequence[Stream]:
    """Return the stream once for each of several readers that read it one after the other."""
    if readers == 1 or stream.joined is not None:
        return [stream] * readers
    kept: list[Batch] | None = None

    async def batches() -> AsyncGenerator[Batch, None]:
        nonlocal kept
        if kept is None:
            kept = await _kept(stream)
        for batch in kept:
            yield batch

    return [type(stream)(batches(), stream.aclose) for _ in range(readers)]


async def _kept(stream: Stream) -> list[Batch]:
    kept: list[Batch] = []
    size = 0
    async with aclosing(stream.marked()) as batches:
        async for batch in batches:
            size = whole_size(size, batch)
            kept.append(batch)
    return kept


async def _begun(stream: Stream) -> Stream:
    batches = stream.marked()
    first = await anext(batches, None)
    return type(stream)(_resumed(first, batches), stream.aclose)


async def _resumed(first: Batch | None, rest: AsyncGenerator[Batch, None]) -> AsyncIterator[Batch]:
    async with aclosing(rest):
        if first is not None:
            yield first
            async for batch in rest:
                yield batch


def replaced(value: Value, change: Callable[[Any], Value], kind: type = Stream) -> Value:
    """Return the value with every Stream, or all else that is a `kind`, in it changed; untouched parts are not copied."""
    if isinstance(value, kind):
        return change(value)
    if isinstance(value, dict):
        changed = {key: replaced(item, change, kind) for key, item in value.items()}
        return value if all(changed[key] is value[key] for key in value) else changed
    if isinstance(value, list):
        items = [replaced(item, change, kind) for item in value]
        return value if all(new is old for new, old in zip(items, value, strict=True)) else items
    return value
