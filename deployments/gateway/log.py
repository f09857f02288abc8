"""The log of one run in memory: what is said goes in, readers get it from any number on, and the store's writer takes it."""

from __future__ import annotations

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import replace
from itertools import islice
from typing import Literal

from deployments.gateway.entries import ENDS, Accepted, Entry, LogEvent, pack, without_content
from deployments.runs.events import Delta, Finished, JobChunks, JobEnded, RunCancelled, RunFailed, Started
from deployments.store.rows import Segment, State
from graphs.errors import AnabranchError, TooLarge
from graphs.stream import Note, Value, batch_size, is_empty

WINDOW = 16 * 1024
"""Bytes of a log that stay in memory once they are stored: readers that are further behind read the store.

In memory an entry takes several times its bytes, and Python's search for garbage looks at each again and again.
"""
MAX_UNWRITTEN = 8 * 1024 * 1024
"""Bytes that may wait for the store; beyond it the run waits as well."""
MAX_SEGMENT = 1024 * 1024
"""Bytes of a segment, about: readers of the store take several at once."""
LARGE = 8 * 1024 * 1024
"""Bytes from which on an event is tried at once: whether it can be stored."""
MAX_LOG = 256 * 1024 * 1024
"""Bytes that all a run says may take."""
ENTRY_SIZE = 64

Status = Literal["pending", "processing", "streaming", "completed", "failed", "cancelled"]


class RunLog:
    """The newest entries of a run, and their readers.

    What has left the window is in the store, so that a reader finds every number in one of the two.
    """

    def __init__(self, run: str, first: int = 0) -> None:
        self.run = run
        self.next = first
        """The number of the next entry."""
        self.status: Status = "pending"
        self.ended_at: float | None = None
        self.format: str | None = None
        """What its first chunk is: text, bytes, or one of several named streams. A stream without a format is written by that."""
        self.readers = 0
        self.error: AnabranchError | None = None
        """Why no more of it comes here."""
        self._entries: deque[Entry] = deque()
        self._sizes: deque[int] = deque()
        self._size = 0
        self._waiting: list[asyncio.Future[None]] = []
        """Readers that wait for news."""

    @property
    def base(self) -> int:
        """The first number that is in memory."""
        return self._entries[0].first if self._entries else self.next

    @property
    def ended(self) -> bool:
        return self.ended_at is not None

    def add(self, entry: Entry) -> int:
        """Append an entry, which bears the next number; return about how many bytes it takes."""
        event = entry.event
        if isinstance(event, Delta):
            self.next = entry.first + len(event.chunks)
            self.status = "streaming"
            if self.format is None:
                self.format = _format(event)
            size = ENTRY_SIZE + batch_size(event.chunks)
        else:
            self.next = entry.last + 1
            size = ENTRY_SIZE + _size(event)
            self._note(entry)
        self._entries.append(entry)
        self._sizes.append(size)
        self._size += size
        if self._waiting:
            self._wake()
        return size

    def _note(self, entry: Entry) -> None:
        """Note what has become of the run."""
        event = entry.event
        if isinstance(event, Started):
            self.status = "processing"
        elif isinstance(event, ENDS):
            self.status, self.ended_at = _status(event), entry.at

    def fail(self, error: AnabranchError) -> None:
        """Let readers have what there is, and then this error: no more comes here."""
        self.error = error
        self._wake()

    def _wake(self) -> None:
        waiting, self._waiting = self._waiting, []
        for each in waiting:
            if not each.done():
                each.set_result(None)

    def since(self, number: int) -> list[Entry]:
        """Return the entries after a number that isn't before the base."""
        found: list[Entry] = []
        for entry in reversed(self._entries):
            if entry.first <= number:
                if (rest := entry.after(number)) is not None:
                    found.append(rest)
                break
            found.append(entry)
        found.reverse()
        return found

    def news(self) -> asyncio.Future[None]:
        """Return what is done once something was added; at once, if the log has ended. Raise what it was broken off with."""
        if self.error is not None:
            raise self.error.saying(self.error.message, self.error.details)
        news = asyncio.get_running_loop().create_future()
        if self.ended:
            news.set_result(None)
        else:
            self._waiting.append(news)
        return news

    def trim(self, written: int) -> None:
        """Let go of entries beyond the window, up to the number that the store has."""
        while self._size > WINDOW and self._entries and self._entries[0].last <= written:
            self._entries.popleft()
            self._size -= self._sizes.popleft()


class OwnLog(RunLog):
    """The log of a run of this process. `mark` has the store's writer take from it; it is a Source of the writer's.

    `stored` is called once all of it is in the store, after its end; `fail` when what the run said can't be kept.
    """

    def __init__(
        self,
        run: str,
        mark: Callable[[OwnLog], None],
        stored: Callable[[], None] = lambda: None,
        fail: Callable[[AnabranchError], None] = lambda _: None,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        super().__init__(run)
        self._mark, self._stored, self._fail = mark, stored, fail
        self._clock = clock
        self._epoch = time.time() - clock()
        self._untaken: deque[Entry] = deque()
        """What the writer hasn't taken; each is among the entries, too."""
        self._taken: deque[tuple[int, int]] = deque()
        """Up to which number the writer has taken, and how many bytes."""
        self.behind = 0
        """Bytes that aren't in the store."""
        self._room = asyncio.Event()
        self.size = 0
        self.most = MAX_LOG
        self.kept = True
        """False: the store has this log already, ended by another process."""

    def now(self) -> float:
        """Return the time of day, by a clock that never jumps."""
        return self._epoch + self._clock()

    def accept(self, event: Accepted) -> Segment:
        """Return the first segment, which is to be written before anything else is said."""
        entry = Entry(0, self.now(), event)
        self.add(entry)
        return Segment(self.run, 0, 0, *pack([entry]))

    def say(self, event: LogEvent) -> None:
        """Append an event, and have it written. Raise TooLarge for one that can't be kept."""
        entry = Entry(self.next, self._epoch + self._clock(), event)
        if not isinstance(event, Delta) and _size(event) > LARGE:
            entry = _storable(entry)
        size = self.add(entry)
        self.size += size
        if self.kept:
            if not self._untaken:  # else the writer knows
                self._mark(self)
            self._untaken.append(entry)
            self.behind += size

    @property
    def crowded(self) -> bool:
        """Return whether `room` has something to wait for, or to raise."""
        return self.behind > MAX_UNWRITTEN or self.size > self.most

    async def room(self) -> None:
        """Wait until more may be said: no more than so much waits for the store. Raise TooLarge when the log is full."""
        if (full := self.full()) is not None:
            raise full
        while self.behind > MAX_UNWRITTEN:
            self._room.clear()
            await self._room.wait()

    def full(self) -> TooLarge | None:
        """Return the error of a run that has said too much; None if it hasn't."""
        if self.size <= self.most:
            return None
        return TooLarge(f"the run has said more than {self.most >> 20} MiB, the most that is kept of a run")

    def take(self) -> tuple[Segment, State] | None:
        """Return what the writer hasn't taken yet."""
        untaken = self._untaken
        if not untaken:
            return None
        entries: list[Entry] = []
        size = 0
        # What isn't taken are the newest entries.
        sizes = islice(self._sizes, len(self._sizes) - len(untaken), None)
        for its in sizes:
            if entries and size + its > MAX_SEGMENT:
                break
            entries.append(untaken.popleft())
            size += its
        kind, body = self._packed(entries)
        first, last = entries[0].first, entries[-1]
        self._taken.append((last.last, size))
        if isinstance(last.event, ENDS):
            state = State(_status(last.event), last.at, self.format)
        else:
            state = State("streaming" if self.format else "processing", None, self.format)
        return Segment(self.run, first, last.last, kind, body), state

    def _packed(self, entries: list[Entry]) -> tuple[int, bytes]:
        """Return the entries as bytes; one that is too large for the store loses its content, and fails the run."""
        try:
            return pack(entries)
        except AnabranchError:
            for index, entry in enumerate(entries):
                try:
                    pack([entry])
                except AnabranchError as error:
                    entries[index] = without_content(entry, error)
                    self._fail(error)
            return pack(entries)

    def written(self, last: int) -> None:
        """Hear that the store has all up to this number."""
        while self._taken and self._taken[0][0] <= last:
            self.behind -= self._taken.popleft()[1]
        if self._untaken:
            self._mark(self)
        self._room.set()
        self.trim(last)
        if self.ended and last == self.next - 1:
            self._stored()

    def lose(self) -> None:
        """Hear that the store has ended this log by itself: nothing more of it is written."""
        self.kept = False
        self._untaken.clear()
        self.behind = 0
        self._room.set()


class FollowedLog(RunLog):
    """The log of another process's run, as it comes out of the store."""

    def extend(self, entries: Iterable[Entry]) -> None:
        """Append what the store has; what is known already is left out."""
        for entry in entries:
            rest = entry.after(self.next - 1)
            if rest is not None:
                self.add(rest)
        self.trim(self.next - 1)


def _storable(entry: Entry) -> Entry:
    """Return the entry if it can be stored; that of a job without its output if it can't."""
    try:
        pack([entry])
    except TooLarge:
        if not isinstance(entry.event, JobEnded):
            raise
        return entry._replace(event=replace(entry.event, output=None, why="its output is too large to be kept"))
    return entry


def _status(event: LogEvent) -> Status:
    match event:
        case RunFailed():
            return "failed"
        case RunCancelled():
            return "cancelled"
        case _:
            return "completed"


def _format(delta: Delta) -> str | None:
    if delta.name is not None:
        return "named"
    for chunk in delta.chunks:
        if not is_empty(chunk) and not isinstance(chunk, Note):
            return "bytes" if isinstance(chunk, bytes) else "text"
    return None


def _size(event: LogEvent) -> int:
    match event:
        case Delta() | JobChunks():
            return batch_size(event.chunks)
        case JobEnded() | Finished():
            return _weight(event.output)
        case _:
            return 0


def _weight(value: Value) -> int:
    """Return about how many bytes a plain value takes."""
    if isinstance(value, str | bytes):
        return len(value)
    if isinstance(value, dict):
        return 8 + sum(len(key) + _weight(item) for key, item in value.items())
    if isinstance(value, list):
        return 8 + sum(map(_weight, value))
    return 8
