"""A value -> one that its reader may change: what another job, a cache or a component holds stays as it is."""

from __future__ import annotations

from typing import cast

from graphs.stream import Batch, Chunk, Note, Stream, Value

LEAVES = frozenset({str, int, float, bool, type(None), bytes})
"""Types whose values can't change."""


def copied(value: Value) -> Value:
    """Return JSON-like data as new lists and mappings."""
    if isinstance(value, dict):
        items = cast("dict[object, Value]", value)
        return dict(items) if _are_leaves(items.values()) else {key: copied(item) for key, item in items.items()}
    if isinstance(value, list):
        values = cast("list[Value]", value)
        return values.copy() if _are_leaves(values) else [copied(item) for item in values]
    return value


class Copies:
    """The copy of one input. A stream in it stays the same stream wherever it stands; one that was joined is its value."""

    def __init__(self) -> None:
        self._streams: dict[int, tuple[Stream, Stream]] = {}

    @property
    def streams(self) -> list[Stream]:
        """Return the streams that were found."""
        return [stream for stream, _ in self._streams.values()]

    def of(self, value: Value) -> Value:
        """Return the value, its streams giving copies of their chunks."""
        if isinstance(value, Stream):
            return self._stream(value) if value.joined is None else copied(value.joined[0])
        if isinstance(value, dict):
            return {key: self.of(item) for key, item in cast("dict[object, Value]", value).items()}
        if isinstance(value, list):
            values = cast("list[Value]", value)
            return values.copy() if _are_leaves(values) else [self.of(item) for item in values]
        return value

    def _stream(self, stream: Stream) -> Stream:
        if id(stream) not in self._streams:
            self._streams[id(stream)] = (stream, stream.through(_copied_batch))
        return self._streams[id(stream)][1]


def _copied_batch(batch: Batch) -> Batch:
    return batch.copy() if _are_leaves(batch) else [_copied_chunk(chunk) for chunk in batch]


def _copied_chunk(chunk: Chunk) -> Chunk:
    return Note(copied(dict(chunk.data))) if isinstance(chunk, Note) else copied(chunk)


def _are_leaves(values: object) -> bool:
    return LEAVES.issuperset(map(type, cast("list[Value]", values)))
