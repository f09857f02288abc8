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
        if is_text(batch) and not decoder.getstate()[0]:
            return batch
        out: Batch = []
        for chunk in batch:
            _decode(chunk, decoder, out)
        return out

    return stream.through(step, lambda: _tail(decoder))


def is_text(batch: Batch) -> bool:
    """Whether there is nothing but text in it, as most often; a plain loop, for this runs for every chunk."""
    for chunk in batch:  # noqa: SIM110
        if type(chunk) is not str:
            return False
    return True


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
