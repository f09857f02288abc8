"""A Stream: a value that arrives in pieces, read once chunk by chunk, or joined into the whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass, field
from typing import Any

from graphs.errors import AnabranchError, TooLarge

Value = Any
"""JSON-like data, bytes, or a Stream: what bindings read and jobs hand on."""

MAX_WHOLE = 64 * 1024 * 1024
"""The most a joined stream may hold, in bytes (characters for text): a stream is not a store."""

VALUE_SIZE = 64
"""What a chunk that is neither text nor bytes counts for, in bytes: measuring it would cost more than holding it."""


@dataclass(frozen=True, slots=True)
class Note:
    """What a component says beside its chunks: usage, finish_reason, tool calls… A mapped stream passes it on, a join sets it aside."""

    data: Mapping[str, Value] = field(default_factory=dict[str, Value])


Chunk = Any
"""A piece of an answer: text, bytes, a JSON value — or a Note."""

Batch = list[Chunk]
"""The chunks that were ready at the same moment; never empty. Batching never delays a chunk."""

Step = Callable[[Batch], Batch]
"""What becomes of a batch on its way; an empty result is not passed on."""

Finish = Callable[[], Batch]
"""What a step still holds at the end."""


class StepFailed(Exception):
    """A chunk that a step can't change. Those before it in its batch have come, and go out before the error."""

    def __init__(self, changed: Batch, error: AnabranchError) -> None:
        super().__init__(error.message)
        self.changed = changed
        self.error = error


class Stream:
    """Chunks in order, from one source to one reader. Closing it stops the source.

    Built over an async iterator of batches; `close` is awaited exactly once, when the
    stream ends, fails, or is closed early.
    """

    def __init__(self, batches: AsyncIterator[Batch], close: Callable[[], Awaitable[None]] | None = None) -> None:
        self._batches = batches
        self._close = close
        self.parent: Stream | None = None
        """The stream that this one is made of. Only one of those made of it can be read; `over` makes it of another."""
        self._step: tuple[Step, Finish | None] | None = None
        self._make: Callable[[Stream], AsyncIterator[Batch]] | None = None
        self._locate: Callable[[AnabranchError], AnabranchError] | None = None
        self._whole: tuple[Value] | None = None
        self.notes: list[Note] = []

    @property
    def joined(self) -> tuple[Value] | None:
        """The whole value in a 1-tuple once `join` has run, else None."""
        return self._whole

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield chunks as they come, those ready together in one list."""
        root, made = self._fused()
        source, steps = self._source(root), [step for step, _ in made]
        failed: AnabranchError | None = None
        try:
            async for batch in source:
                ready, failed = _stepped(steps, batch) if steps else (batch, None)
                if ready:
                    yield ready
                if failed is not None:
                    raise failed
            for ready, failed in _rests(made):
                if ready:
                    yield ready
                if failed is not None:
                    raise failed
        except AnabranchError as error:
            located = self._located_error(error, None if error is failed else root)
            if located is error:
                raise
            raise located from error
        finally:
            try:
                # A generator left to the garbage collector would be closed some time later, in a task of its own.
                if isinstance(source, AsyncGenerator):
                    await source.aclose()
            finally:
                await self.aclose()

    def marked(self) -> AsyncGenerator[Batch, None]:
        """Yield what a copy of the stream must repeat: its chunks, and the marks of a stream of a kind of its own."""
        return self.batches()

    async def __aiter__(self) -> AsyncGenerator[Chunk, None]:
        """Yield chunks one by one, notes left out."""
        async with aclosing(self.batches()) as batches:
            async for batch in batches:
                for chunk in batch:
                    if not isinstance(chunk, Note):
                        yield chunk

    async def join(self) -> Value:
        """Read to the end and return the whole: text or bytes concatenated, anything else as a list. Idempotent."""
        if self._whole is None:
            chunks: list[Value] = []
            size = 0
            async for batch in self.batches():
                size = whole_size(size, batch)
                for chunk in batch:
                    (self.notes if isinstance(chunk, Note) else chunks).append(chunk)
            self._whole = (join_chunks(chunks),)
        return self._whole[0]

    async def aclose(self) -> None:
        """Stop the source; safe to call again."""
        close, self._close = self._close, None
        if close is not None:
            await close()

    def then_close(self, close: Callable[[], Awaitable[None]]) -> None:
        """Have `close` awaited too, after the source's own, when the stream ends or is closed."""
        first = self._close

        async def both() -> None:
            try:
                if first is not None:
                    await first()
            finally:
                await close()

        self._close = both

    def located(self, locate: Callable[[AnabranchError], AnabranchError]) -> None:
        """Pass this stream's errors through `locate`, which says where they come from. The first call wins."""
        if self._locate is None:
            self._locate = locate

    def through(self, step: Step, finish: Finish | None = None) -> Stream:
        """Return the stream of what `step` makes of each batch, and at the end of what `finish` still has.

        Steps on steps are applied in one loop over the source: a generator for each would be paid for every chunk.
        """
        stream = Stream(_once(None), self.aclose)
        stream.parent = self
        stream._step = step, finish
        return stream

    def made(self, make: Callable[[Stream], AsyncIterator[Batch]]) -> Stream:
        """Return the stream of what `make` makes of this one: for changes that must wait for something."""
        stream = Stream(make(self), self.aclose)
        stream.parent = self
        stream._make = make
        return stream

    def over(self, source: Stream) -> Stream:
        """Return this stream made of `source` instead of its parent; this one can't be read any more."""
        if source is self.parent:
            return self
        if self._step is not None:
            stream = source.through(*self._step)
        else:
            assert self._make is not None
            stream = source.made(self._make)
        stream._locate = self._locate
        return stream

    def _fused(self) -> tuple[Stream | None, list[tuple[Step, Finish | None]]]:
        """Return the stream that is read, and the steps that lead from it to this one; None if its batches are its own."""
        made: list[tuple[Step, Finish | None]] = []
        stream: Stream = self
        # One that was joined has its chunks already; one that was located must see its failures itself.
        while stream._step is not None and stream.parent is not None and stream._whole is None:
            if stream is not self and stream._locate is not None:
                break
            made.append(stream._step)
            stream = stream.parent
        return None if stream is self else stream, made[::-1]

    def _source(self, root: Stream | None) -> AsyncIterator[Batch]:
        if root is None:
            return self._batches if self._whole is None else _once(self._whole[0])
        # What a kind of its own, or one with steps, makes of its source is not known here.
        return root._batches if type(root) is Stream and root._step is None and root._whole is None else root.batches()

    def _located_error(self, error: AnabranchError, root: Stream | None) -> AnabranchError:
        """Return the error as the source's and this stream's `located` give it; the error of a step is not the source's."""
        for stream in (root, self):
            if stream is not None and stream._locate is not None:
                error = stream._locate(error)
        return error


def _rests(made: list[tuple[Step, Finish | None]]) -> Iterator[tuple[Batch, AnabranchError | None]]:
    """Yield what the steps still hold at the end, each carried through those after it."""
    for index, (_, finish) in enumerate(made):
        if finish is not None:
            yield _stepped([step for step, _ in made[index + 1 :]], finish())


def _stepped(steps: list[Step], batch: Batch) -> tuple[Batch, AnabranchError | None]:
    """Return what the steps make of a batch, up to the first chunk that one of them can't change; and why it can't."""
    failed: AnabranchError | None = None
    for step in steps:
        try:
            batch = step(batch)
        except StepFailed as broken:
            batch, failed = broken.changed, broken.error
        except AnabranchError as error:
            batch, failed = [], error
    return batch, failed


async def _once(chunk: Chunk) -> AsyncIterator[Batch]:
    if not is_empty(chunk):
        yield [chunk]


def batch_size(batch: Batch) -> int:
    """Return about how many bytes a batch holds."""
    return sum([len(chunk) if isinstance(chunk, str | bytes) else VALUE_SIZE for chunk in batch])


def whole_size(size: int, batch: Batch, what: str = "a stream that had to be read whole", hint: str = "") -> int:
    """Return `size` with that of the next batch added. Raise TooLarge, which names `what`, above MAX_WHOLE."""
    size += batch_size(batch)
    if size > MAX_WHOLE:
        raise TooLarge(f"{what} is larger than {MAX_WHOLE >> 20} MiB{hint}")
    return size


def join_chunks(chunks: list[Value]) -> Value:
    """Join chunks into one value: all text -> text, all bytes -> bytes, else the list of them."""
    if not chunks:
        return ""
    if all(isinstance(chunk, str) for chunk in chunks):
        return "".join(chunks)
    if all(isinstance(chunk, bytes) for chunk in chunks):
        return b"".join(chunks)
    return chunks


def is_empty(chunk: Chunk) -> bool:
    """Whether a chunk says nothing: null, empty text, no bytes."""
    return chunk is None or (isinstance(chunk, str | bytes) and not chunk)


def kind_of(value: Value) -> str:
    """Return what a value is, in words."""
    match value:
        case None:
            return "null"
        case bool():
            return "a boolean"
        case int():
            return "an integer"
        case float():
            return "a number"
        case str():
            return "text"
        case bytes():
            return "bytes"
        case Mapping():
            return "a mapping"
        case list() | tuple():
            return "a list"
        case Stream():
            return "a stream"
        case _:
            return f"a {type(value).__name__}"
