"""A stream made of several items' outputs, one after the other; joined, it is the list of them."""

from __future__ import annotations

from collections.abc import AsyncGenerator
from contextlib import aclosing
from dataclasses import dataclass

from graphs.stream import Batch, Note, Stream, Value, is_empty, join_chunks, whole_size


@dataclass(frozen=True, slots=True)
class ItemEnd:
    """Follows the chunks of an item; `plain` when the item was one value and no stream."""

    plain: bool


class ItemStream(Stream):
    """Chunks of item after item. Its source marks where each ends; a reader of chunks never sees the marks."""

    def marked(self) -> AsyncGenerator[Batch, None]:
        """Yield the chunks and the marks."""
        return super().batches()

    async def batches(self) -> AsyncGenerator[Batch, None]:
        """Yield chunks as they come, those ready together in one list."""
        async with aclosing(self.marked()) as marked:
            async for batch in marked:
                chunks = [chunk for chunk in batch if not isinstance(chunk, ItemEnd) and not is_empty(chunk)]
                if chunks:
                    yield chunks

    async def join(self) -> Value:
        """Read to the end and return the list of whole items. Idempotent."""
        if self._whole is None:
            self._whole = (await self._items(),)
        return self._whole[0]

    async def _items(self) -> list[Value]:
        items: list[Value] = []
        chunks: Batch = []
        size = 0
        async with aclosing(self.marked()) as marked:
            async for batch in marked:
                size = whole_size(size, batch)
                for chunk in batch:
                    if isinstance(chunk, Note):
                        self.notes.append(chunk)
                    elif isinstance(chunk, ItemEnd):
                        items.append(chunks[0] if chunk.plain else join_chunks(chunks))
                        chunks = []
                    else:
                        chunks.append(chunk)
        return items
