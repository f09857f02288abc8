"""The Deltas of a run -> its whole output: one value, or a mapping when several streams run side by side."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from deployments.runs.events import Delta
from graphs.stream import Chunk, Note, Value, is_empty, join_chunks, whole_size


class Joining:
    """Collects a streamed output.

    `names` are those of the streams side by side, which stand in the output even if they give nothing; `order` is the
    order of the keys in the document.
    """

    def __init__(self, names: Iterable[str] = (), order: Sequence[str] = ()) -> None:
        self._order = order
        self._chunks: dict[str | None, list[Chunk]] = {name: [] for name in names}
        self._whole: dict[str, Value] = {}
        self._size = 0

    def add(self, delta: Delta) -> None:
        """Add what a Delta holds, but for its notes."""
        chunks = [chunk for chunk in delta.chunks if not isinstance(chunk, Note)]
        hint = "; read it as a stream, with output_only: true"
        self._size = whole_size(self._size, chunks, "the joined output", hint)
        if delta.whole and delta.name is not None:
            self._chunks.setdefault(delta.name, [])
            self._whole[delta.name] = chunks[0] if chunks else None
            return
        self._chunks.setdefault(delta.name, []).extend(chunk for chunk in chunks if not is_empty(chunk))

    def value(self) -> Value:
        """Return the output."""
        if not self._chunks or None in self._chunks:
            return join_chunks(self._chunks.get(None, []))
        named = {name: chunks for name, chunks in self._chunks.items() if name is not None}
        known = dict.fromkeys((*(name for name in self._order if name in named), *named))
        return {name: self._whole[name] if name in self._whole else join_chunks(named[name]) for name in known}
