"""A stream of bytes -> a stream of text in which no character is split."""

from __future__ import annotations

import codecs
from collections.abc import AsyncIterator

from graphs.stream import Batch, Chunk, Note, Stream, is_empty


def decoded(stream: Stream) -> Stream:
    """Return the stream with its bytes decoded as UTF-8; chunks that aren't bytes pass.

    A character split over two chunks arrives whole with the second; one never completed becomes U+FFFD.
    """

    async def batches() -> AsyncIterator[Batch]:
        decoder = codecs.getincrementaldecoder("utf-8")("replace")
        async for batch in stream.batches():
            out: Batch = []
            for chunk in batch:
                _decode(chunk, decoder, out)
            if out:
                yield out
        if tail := decoder.decode(b"", final=True):
            yield [tail]

    return Stream(batches(), stream.aclose)


def _decode(chunk: Chunk, decoder: codecs.IncrementalDecoder, out: Batch) -> None:
    if isinstance(chunk, bytes):
        text = decoder.decode(chunk)
        if text:
            out.append(text)
        return
    if not isinstance(chunk, Note) and not is_empty(chunk):
        if tail := decoder.decode(b"", final=True):
            out.append(tail)
        decoder.reset()
    out.append(chunk)
