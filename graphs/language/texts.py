"""A stream of bytes -> a stream of text in which no character is split."""

from __future__ import annotations

import codecs

from graphs.stream import Batch, Chunk, Note, Stream, is_empty


def decoded(stream: Stream) -> Stream:
    """Return the stream with its bytes decoded as UTF-8; chunks that aren't bytes pass.

    A character split over two chunks arrives whole with the second; one never completed becomes U+FFFD.
    """

    decoder = codecs.getincrementaldecoder("utf-8")("replace")

    def step(batch: Batch) -> Batch:
        if all(type(chunk) is str for chunk in batch):  # by far the most; only bytes leave anything to decode
            return batch if not decoder.getstate()[0] else [*_tail(decoder), *batch]
        out: Batch = []
        for chunk in batch:
            _decode(chunk, decoder, out)
        return out

    return stream.through(step, lambda: _tail(decoder))


def _decode(chunk: Chunk, decoder: codecs.IncrementalDecoder, out: Batch) -> None:
    if isinstance(chunk, bytes):
        text = decoder.decode(chunk)
        if text:
            out.append(text)
        return
    if not isinstance(chunk, Note) and not is_empty(chunk):
        out.extend(_tail(decoder))
    out.append(chunk)


def _tail(decoder: codecs.IncrementalDecoder) -> list[str]:
    """Return what an incomplete character at the end becomes."""
    tail = decoder.decode(b"", final=True)
    decoder.reset()
    return [tail] if tail else []
