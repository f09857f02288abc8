"""Stream the words of a text back, one chunk each, at a given pace."""

from __future__ import annotations

import re
from collections.abc import AsyncGenerator, AsyncIterator, Iterable
from contextlib import aclosing
from itertools import chain, repeat
from typing import TYPE_CHECKING, Annotated, Any

from pydantic import Field

from graphs.component import ActionInput, Chunk, Component, ComponentConfig, Note, Stream, Streamable, Truth, Whole
from graphs.errors import ComponentFailed
from graphs.units import Duration

if TYPE_CHECKING:
    from asyncio import AbstractEventLoop, Future

_WORD = re.compile(r"\s*\S+(?:\s+\Z)?|\s+\Z")
"""A word with the space before it; the last one also with the space after it. Joined, the words are the text again."""

Count = Annotated[int, Field(ge=0)]


class EchoInput(ActionInput):
    text: Streamable[Any] = Field(description="What to send back: text, a stream, or any other value.")
    interval: Duration = Field(default=0.0, description="The pause between two chunks; 20ms is 50 a second.")
    delay: Duration = Field(default=0.0, description="The pause before the first chunk.")
    repeat: Count = Field(default=1, description="How often the text is repeated.")
    streaming: Truth = Field(default=True, description="false: one whole answer.")
    fail_after: Count | None = Field(default=None, description="Fail once this many chunks have been sent.")


class Echo(Component[ComponentConfig, EchoInput]):
    """Streams back the words of its input, for first documents and for tests.

    Text is split into words, which keep their spaces. A stream is passed on chunk by chunk. Any other value (a mapping, a
    number, bytes) comes back whole.
    """

    type = "echo"
    light = True
    Input = EchoInput
    _clock: _Clock | None = None

    async def run(self, input: EchoInput) -> AsyncIterator[Chunk]:
        # asyncio is heavy, and checking documents needs only the fields above.
        from asyncio import get_running_loop, sleep

        clock = self._clock = self._clock or _Clock(get_running_loop())
        interval, fail_after = input.interval, input.fail_after
        start = clock.now() + input.delay
        await sleep(input.delay)
        sent = 0
        async with aclosing(_batches(input)) as batches:
            async for batch in batches:
                for chunk in batch:
                    if sent == fail_after:
                        raise _asked_to_fail(sent)
                    # Timed from the start, so that the pace doesn't drift. Without a pace the other calls still get their
                    # turn, as they do between two tokens of a model.
                    if interval and sent:
                        await clock.strikes(start + sent * interval)
                    else:
                        await sleep(0)
                    yield chunk
                    sent += type(chunk) is not Note
        if sent == fail_after:
            raise _asked_to_fail(sent)


class _Clock:
    """Wakes calls on time, by one timer for all calls that are due in the same millisecond.

    A timer for each chunk would cost more than everything else done with the chunk.
    """

    def __init__(self, loop: AbstractEventLoop) -> None:
        self._loop = loop
        self._due: dict[int, list[Future[None]]] = {}
        self.now = self._loop.time

    def strikes(self, time: float) -> Future[None]:
        """Return a future that is done at this time."""
        tick = int(time * 1000) + 1
        future = self._loop.create_future()
        if tick not in self._due:
            self._due[tick] = []
            self._loop.call_at(tick / 1000, self._strike, tick)
        self._due[tick].append(future)
        return future

    def _strike(self, tick: int) -> None:
        for future in self._due.pop(tick):
            if not future.done():  # its call was cancelled
                future.set_result(None)


def _asked_to_fail(sent: int) -> ComponentFailed:
    return ComponentFailed(f"asked to fail after {sent} chunks")


async def _batches(input: EchoInput) -> AsyncGenerator[Iterable[Chunk]]:
    text: Any = input.text
    if isinstance(text, Stream):
        if input.streaming and input.repeat == 1:
            async with aclosing(text.batches()) as batches:
                async for batch in batches:
                    yield batch
            return
        text = await text.join()
    if not isinstance(text, str):
        yield [Whole(text)]
    elif not input.streaming:
        yield [Whole(text * input.repeat)]
    else:
        yield chain.from_iterable(repeat(_WORD.findall(text), input.repeat))
