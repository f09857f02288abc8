"""The run behind a response: its events, read one after another; the response when it has ended; and as it stands now."""

from __future__ import annotations

import re
import time
from collections.abc import AsyncGenerator, Sequence
from contextlib import aclosing

from deployments.conversations.reading import Reading
from deployments.gateway.entries import Entry, LogEvent
from deployments.gateway.running import Following, Running
from deployments.runs.events import Delta, Event, Finished, RunCancelled, RunFailed, Started
from deployments.transports.openai.responses.encoder import ALL, About, ResponseEncoder
from deployments.transports.openai.responses.encoder import Event as ResponseEvent
from deployments.transports.openai.responses.items import Item, with_ids
from graphs.errors import AnabranchError, Cancelled

_MESSAGE = re.compile(r"\bmessages(?:\[(\d+)\]|\.(\d+)\b)")


class ResponseRun:
    """One reading of a response. Read it once, by `events`, `whole` or `now`; or close it."""

    def __init__(
        self, running: Running, about: About, own: Sequence[Item], before: Sequence[Item], primary: str | None,
        entries: AsyncGenerator[Entry, None] | None = None,
    ) -> None:  # fmt: skip
        """`entries` is the log of a stored response, of what follows its first entry; `own` is its input, and `before` what was
        said before that. `primary` is the document's choice among streams side by side."""
        self.about = about
        self._running = running
        self._entries = entries
        self._own, self._before = own, before
        self._reading = Reading(about.run, primary, parallel_calls=about.asked["parallel_tool_calls"])
        self._encoder = ResponseEncoder(about)

    @property
    def id(self) -> str:
        return self.about.id

    @property
    def stored(self) -> bool:
        """Return whether the response can be asked for again."""
        return self.about.asked["store"]

    @property
    def answered(self) -> bool:
        """Return whether the response has its answer, as far as it was read: then another may continue it."""
        return self._encoder.answered

    def input(self) -> list[Item]:
        """Return the items of its own input."""
        return with_ids(self._own, self.about.run)

    def said(self) -> list[Item]:
        """Return all that was said up to the end of what was read: what came before, its input, and its output."""
        return [*self._before, *self.input(), *self._encoder.output()]

    async def events(self, after: int = -1) -> AsyncGenerator[list[ResponseEvent], None]:
        """Yield the events after a number, those that came together at once; the last is the end.

        Raise the error of a response that isn't stored and fails before its first piece, and that of a log that can't be read.
        """
        encoder = self._encoder = ResponseEncoder(self.about, after)
        if self._entries is not None and (begun := encoder.begin()):
            yield begun
        async with aclosing(self._told()) as told:
            try:
                async for event, at in told:
                    if said := self._encoded(event, at):
                        yield said
            except AnabranchError as error:
                if isinstance(self._running, Following) or not encoder.begun:
                    raise  # of a kept run it is the reading that fails: the run's own failure is in its log
                yield encoder.fail(error)

    async def whole(self) -> dict[str, object]:
        """Return the response when it has ended; raise its error. One that was cancelled is one, too."""
        async with aclosing(self.events(ALL)) as events:
            async for _ in events:
                pass
        failure = self._encoder.failure
        if failure is not None and not isinstance(failure, Cancelled):
            raise failure
        return self._encoder.response()

    async def now(self) -> dict[str, object]:
        """Return a stored response as it stands."""
        assert isinstance(self._running, Following), "it is stored"
        assert self._entries is not None, "it is stored"
        encoder, last = ResponseEncoder(self.about, ALL), self._running.info.last
        self._encoder = encoder
        encoder.begin()
        async with aclosing(self._entries) as entries:
            number = 0
            while number < last:
                entry = await anext(entries)
                number = entry.last
                self._encoded(entry.event, entry.at)
        return encoder.response()

    async def aclose(self) -> None:
        """End the reading. A run that isn't kept is cancelled by it."""
        if self._entries is not None:
            await self._entries.aclose()
        await self._running.aclose()

    async def _told(self) -> AsyncGenerator[tuple[LogEvent | Event, float], None]:
        """Yield the run's events, each with its time."""
        if self._entries is not None:
            async with aclosing(self._entries) as entries:
                async for entry in entries:
                    yield entry.event, entry.at
            return
        async with aclosing(self._running) as running:
            async for event in running:
                yield event, time.time()

    def _encoded(self, event: LogEvent | Event, at: float) -> list[ResponseEvent]:
        encoder = self._encoder
        match event:
            case Delta():
                pieces = self._reading.read(event)
                return encoder.add(pieces, at) if pieces else []
            case Started() if encoder.begun:
                return encoder.start()
            case Finished():
                return encoder.add(self._reading.end(event), at)
            case RunFailed(error):
                return self._failed(error)
            case RunCancelled(reason):
                return self._failed(Cancelled(reason))
            case _:
                return []

    def _failed(self, error: AnabranchError) -> list[ResponseEvent]:
        error = _placed(error, self.about.places)
        if not self._encoder.begun:
            raise error
        return self._encoder.fail(error)


def _placed(error: AnabranchError, places: Sequence[str]) -> AnabranchError:
    """Return an error of a model with the request's own places for the messages that it names."""
    if "workflow" in error.details:
        return error  # of a document's workflow, whose messages may be others

    def place(found: re.Match[str]) -> str:
        index = int(found[1] or found[2])
        return places[index] if index < len(places) else found[0]

    field = error.details.get("field")
    details = {**error.details, "field": _MESSAGE.sub(place, field)} if isinstance(field, str) else error.details
    return error.saying(_MESSAGE.sub(place, error.message), details)
