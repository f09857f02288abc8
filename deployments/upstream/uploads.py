"""Turn a body that is a stream into an Upload, which is sent as it comes, or join it where its type needs the whole."""

from __future__ import annotations

from collections.abc import AsyncGenerator, AsyncIterator
from contextlib import aclosing

from deployments.upstream.bodies import charset_in, encode_text, json_bytes, kind_in, needs_whole
from deployments.upstream.decoding import JSON_LINES
from graphs.component import Note, Stream
from graphs.errors import AnabranchError, InvalidInput
from graphs.stream import Batch, Chunk, Value, is_empty, kind_of


class InputFailed(Exception):
    """Raised when the source of an upload failed: `error` is the source's own, not the upstream's."""

    def __init__(self, error: AnabranchError) -> None:
        super().__init__(error.message)
        self.error = error


class Upload:
    """A body that is sent once, as it comes. Its source is read no faster than the connection takes it."""

    def __init__(self, stream: Stream, content_type: str) -> None:
        self.content_type = content_type
        self.begun = False
        """Whether some of it may have been sent, so that it can't be sent again."""
        self.failure: AnabranchError | None = None
        """The error of its source, if that failed; the sender sees only that the sending ended."""
        self._stream = stream
        self._by_line = kind_in(content_type) in JSON_LINES
        self._charset = charset_in(content_type)

    async def packets(self) -> AsyncGenerator[bytes]:
        """Yield the bytes to send; chunks that were ready together are sent together."""
        self.begun = True
        try:
            async with aclosing(self._stream.batches()) as batches:
                async for batch in batches:
                    chunks = (self._encoded(chunk) for chunk in batch if not isinstance(chunk, Note))
                    if packet := b"".join(chunks):
                        yield packet
        except AnabranchError as error:
            self.failure = error
            raise
        except UnicodeEncodeError:
            self.failure = InvalidInput("the stream holds half a character (a lone surrogate)", field="body")
            raise self.failure from None

    async def aclose(self) -> None:
        """Stop the source of an upload that was never sent; one that is sent stops it itself."""
        if not self.begun:
            await self._stream.aclose()

    def _encoded(self, chunk: Chunk) -> bytes:
        if self._by_line:
            return json_bytes(chunk) + b"\n"
        if isinstance(chunk, bytes):
            return chunk
        if isinstance(chunk, str):
            return encode_text(chunk, self._charset)
        hint = "for one JSON value a line, write Content-Type: application/x-ndjson"
        raise InvalidInput(
            f"expected chunks of text or bytes for Content-Type {kind_in(self.content_type)}, got {kind_of(chunk)}; {hint}",
            field="body",
        )


async def sendable(body: Value, content_type: str | None) -> Value | Upload:
    """Return a body as it can be sent: a stream becomes an Upload, or is joined.

    Without a Content-Type the first chunk decides: text and bytes are sent as they come, anything else is joined into JSON.
    """
    if not isinstance(body, Stream):
        return body
    if content_type is not None:
        return await body.join() if needs_whole(content_type) else Upload(body, content_type)
    batches = body.batches()  # which, once they are read, close the body when they end, fail or are closed
    first = await _first(batches)
    stream = Stream(_resumed(first, batches), batches.aclose)
    match _leading(first):
        case None:
            return b""
        case bytes():
            return Upload(stream, "application/octet-stream")
        case str():
            return Upload(stream, "text/plain; charset=utf-8")
        case _:
            return await stream.join()


async def _first(batches: AsyncIterator[Batch]) -> Batch:
    """Return the first batch with a chunk that isn't empty, or an empty batch."""
    async for batch in batches:
        if not is_empty(_leading(batch)):
            return batch
    return []


def _leading(batch: Batch) -> Chunk:
    chunks = (chunk for chunk in batch if not isinstance(chunk, Note) and not is_empty(chunk))
    return next(chunks, None)


async def _resumed(first: Batch, rest: AsyncGenerator[Batch]) -> AsyncGenerator[Batch]:
    async with aclosing(rest):
        yield first
        async for batch in rest:
            yield batch
