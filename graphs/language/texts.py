"""A stream of bytes -> a stream of text in which no character is split."""

from __future__ import annotations

import codecs
from collections.abc import Callable

from graphs.errors import AnabranchError
from graphs.stream import Batch, Chunk, Note, StepFailed, Stream, Value, is_empty


def decoded(stream: Stream, convert: Callable[[Value], Value] | None = None) -> Stream:
    """Return the stream with its bytes decoded as UTF-8; chunks that aren't bytes pass, or are converted.

    A character split over two chunks arrives whole with the second; one never completed becomes U+FFFD.
    """
    decoder: codecs.IncrementalDecoder | None = None
    """Made for the first chunk that isn't text: most streams have none."""
    incomplete = False
    """Whether it holds the beginning of a character."""

    def step(batch: Batch) -> Batch:
        nonlocal decoder, incomplete
        # Nothing but text, as most often, passes as it is: this runs for every chunk.
        for chunk in batch:
            if incomplete or type(chunk) is not str:
                break
        else:
            return batch
        if decoder is None:
            decoder = codecs.getincrementaldecoder("utf-8")("replace")
        out: Batch = []
        for chunk in batch:
            _decode(chunk, decoder, out)
        incomplete = bool(decoder.getstate()[0])
        return out if convert is None else _converted(out, convert)

    return stream.through(step, lambda: [] if decoder is None else _tail(decoder))


def _converted(batch: Batch, convert: Callable[[Value], Value]) -> Batch:
    """Return the batch with what is no text converted, the empty left out; StepFailed where that can't be done."""
    out: Batch = []
    for chunk in batch:
        try:
            value = chunk if isinstance(chunk, str | Note) else convert(chunk)
        except AnabranchError as error:
            raise StepFailed(out, error) from error
        if not is_empty(value):
            out.append(value)
    return out


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
