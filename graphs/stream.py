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


@dataclass(frozen=True, slots=True)
class Note:
    """What a component says beside its chunks: usage, finish_reason, tool calls… Mappings let it pass, joins set it aside."""

    data: Mapping[str, Value] = field(default_factory=dict[str, Value])


Chunk = Any
"""A piece of an answer: text, bytes, a JSON value — or a Note."""

Batch = list[Chunk]
"""The chunks that were ready at the same moment; never empty. Batching never delays a chunk."""


Step = Callable[[Batch], Batch]
"""What becomes of a batch on its way; an empty result is not passed on."""


class Stream:
    """Chunks in order, from one source to one reader. Closing it stops the source.

    Built over an async iterator of batches; `close` is awaited exactly once, when the
    stream ends, fails, or is closed early.
    """

    def __init__(
        self,
        batches: AsyncIterator[Batch],
        close: Callable[[], Awaitable[None]] | None = None,
    ) -> None:
        self._batches = batches
        self._close = close
        self._root: Stream | None = None
        self._steps: tuple[tuple[Step, Callable[[], Batch] | None], ...] = ()
        self._locate: Callable[[AnabranchError], AnabranchError] | None = None
        self._whole: tuple[Value] | None = None
        self.notes: list[Note] = []

    @property
    def joined(self) -> tuple[Value] | None:
        """The whole value in a 1-tuple once `join` has run, else None."""
        return self._whole

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield chunks as they come, those ready together in one list."""
        if self._whole is not None:
            if not is_empty(self._whole[0]):
                yield [self._whole[0]]
            return
        source, steps, stepping = self._source(), [step for step, _ in self._steps], False
        try:
            async for batch in source:
                changed, stepping = batch, True
                for step in steps:
                    changed = step(changed)
                stepping = False
                if changed:
                    yield changed
            stepping = True
            for rest in self._rest(steps):
                yield rest
        except AnabranchError as error:
            located = self._blamed(error, stepping)
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
                for chunk in batch:
                    if isinstance(chunk, Note):
                        self.notes.append(chunk)
                        continue
                    chunks.append(chunk)
                    size += len(chunk) if isinstance(chunk, str | bytes) else 64
                if size > MAX_WHOLE:
                    raise TooLarge(f"a stream that had to be read whole is larger than {MAX_WHOLE >> 20} MiB")
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
        """Have the reader told of a failure as `locate` gives it; who first says where the stream comes from is right."""
        if self._locate is None:
            self._locate = locate

    def map(self, change: Callable[[Value], Value]) -> Stream:
        """Return a stream of `change(chunk)`; notes pass, and chunks that become null or empty are left out."""

        def changed(batch: Batch) -> Batch:
            each = [chunk if isinstance(chunk, Note) else change(chunk) for chunk in batch]
            return [chunk for chunk in each if not is_empty(chunk)]

        return self.through(changed)

    def through(self, step: Step, finish: Callable[[], Batch] | None = None) -> Stream:
        """Return the stream of what `step` makes of each batch, and at the end of what `finish` still has.

        Steps on steps are applied in one loop over the source: a generator for each would be paid for every chunk.
        """
        plain = self._root is None or self._locate is not None
        stream = Stream(_no_batches(), self.aclose)
        stream._root = self if plain else self._root
        stream._steps = (*(() if plain else self._steps), (step, finish))
        return stream

    def _source(self) -> AsyncIterator[Batch]:
        root = self._root
        if root is None:
            return self._batches
        # What a kind of its own, or one with steps, makes of its source is not known here.
        return root._batches if type(root) is Stream and not root._steps and root._whole is None else root.batches()

    def _rest(self, steps: list[Step]) -> Iterator[Batch]:
        """Yield what the steps still hold at the end, each carried through those after it."""
        for index, (_, finish) in enumerate(self._steps):
            rest = finish() if finish is not None else []
            for step in steps[index + 1 :]:
                rest = step(rest)
            if rest:
                yield rest

    def _blamed(self, error: AnabranchError, stepping: bool) -> AnabranchError:
        """Return the error as those say who know where the stream comes from; a step's own is not the source's."""
        for stream in (None if stepping else self._root, self):
            if stream is not None and stream._locate is not None:
                error = stream._locate(error)
        return error


async def _no_batches() -> AsyncIterator[Batch]:
    return
    yield


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
