"""What the log of a run holds, and its bytes: entries in, a segment's body out, and back."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from typing import Any, NamedTuple

from deployments.runs.events import (
    Delta,
    Finished,
    JobChunks,
    JobEnded,
    JobEvent,
    JobRetried,
    JobStarted,
    JobStreaming,
    RunCancelled,
    RunFailed,
    Started,
)
from deployments.streams.codec import decode, decode_error, encode, encode_error
from graphs.errors import AnabranchError, ComponentFailed, Unavailable
from graphs.stream import Batch, Note, Value


@dataclass(frozen=True, slots=True)
class Accepted:
    """The run is kept from here on; its number is 0."""

    workflow: str
    input: Value
    session_id: str | None = None
    request: Value = None
    """What the transport that started it keeps with it."""


End = Finished | RunFailed | RunCancelled
LogEvent = Accepted | Started | Delta | JobEvent | End

ENDS = (Finished, RunFailed, RunCancelled)
CHUNKS = (Delta, JobChunks)


class Entry(NamedTuple):
    """An event with its number and its time. Chunks have a number each: an entry of several has the first one's."""

    first: int
    at: float
    """Seconds since the epoch. It never goes back within a run, whatever the clock does."""
    event: LogEvent

    @property
    def last(self) -> int:
        """The number of its last chunk."""
        return self.first + len(self.event.chunks) - 1 if isinstance(self.event, CHUNKS) else self.first

    def after(self, number: int) -> Entry | None:
        """Return what of it follows a number; None if nothing does."""
        if self.first > number:
            return self
        if self.last <= number:
            return None
        assert isinstance(self.event, CHUNKS), "no other event has several numbers"
        rest = self.event.chunks[number + 1 - self.first :]
        return Entry(number + 1, self.at, replace(self.event, chunks=rest))

    def split(self, number: int) -> list[Entry]:
        """Return it in two if it holds a number and more: up to that, and what follows."""
        rest = self.after(number)
        if rest is None or rest is self:
            return [self]
        assert isinstance(self.event, CHUNKS), "no other event has several numbers"
        return [self._replace(event=replace(self.event, chunks=self.event.chunks[: rest.first - self.first])), rest]


def pack(entries: Iterable[Entry]) -> tuple[int, bytes]:
    """Return the kind and the body of a segment that holds entries which follow each other."""
    return encode([[entry.at, *_packed(entry.event)] for entry in entries])


def without_content(entry: Entry, error: AnabranchError) -> Entry:
    """Return the entry with its numbers and without its content, which can't be kept because of this error."""
    match entry.event:
        case Delta(chunks=chunks) | JobChunks(chunks=chunks):
            return entry._replace(event=replace(entry.event, chunks=[None] * len(chunks)))
        case JobEnded(job=job, status=status):
            return entry._replace(event=JobEnded(job, status, why=error.message))
        case _:
            return entry._replace(event=RunFailed(error))


def unpack(first: int, kind: int, body: bytes) -> Iterator[Entry]:
    """Yield the entries of a segment that begins with this number."""
    try:
        for at, name, *fields in decode(kind, body):
            entry = Entry(first, at, _unpacked(name, fields))
            yield entry
            first = entry.last + 1
    except (ComponentFailed, LookupError, TypeError, ValueError) as error:
        raise Unavailable(
            f"the log of the run can't be read from number {first} on: it is damaged, or of another version"
        ) from error


def last_segment(error: AnabranchError, at: float) -> tuple[int, bytes]:
    """Return the kind and the body of a segment that ends a log, whatever its number."""
    return pack([Entry(0, at, RunFailed(error))])


def _packed(event: LogEvent) -> list[Value]:
    """Return an event as its name and its fields, in which notes and errors stand as data."""
    if type(event) is Delta and event.name is None and not event.whole and Note not in map(type, event.chunks):
        return ["chunks", event.chunks]  # nearly all there is; the fields that are left out have their defaults
    fields = [getattr(event, name) for name in _FIELDS[type(event)]]
    notes: list[int] = []
    if isinstance(event, CHUNKS):
        chunks, notes = _without_notes(event.chunks)
        fields = [chunks if field is event.chunks else field for field in fields]
    elif isinstance(event, Finished):
        fields[-1] = [dict(note.data) for note in event.notes]
    else:
        fields = [_error(field) if isinstance(field, AnabranchError) else field for field in fields]
    return [_NAMES[type(event)], *fields, *([notes] if notes else [])]


def _unpacked(name: str, fields: list[Any]) -> LogEvent:
    kind = _KINDS[name]
    named = dict(zip(_FIELDS[kind], fields, strict=False))
    if kind in CHUNKS and len(fields) > len(named):
        named["chunks"] = _with_notes(named["chunks"], fields[-1])
    if named.get("error") is not None:
        named["error"] = _error_again(named["error"])
    if "notes" in named:
        named["notes"] = tuple(map(Note, named["notes"]))
    return kind(**named)


_NAMES: dict[type[LogEvent], str] = {
    Accepted: "accepted",
    Started: "started",
    Delta: "chunks",
    JobStarted: "job_started",
    JobStreaming: "job_streaming",
    JobRetried: "job_retried",
    JobChunks: "job_chunks",
    JobEnded: "job_ended",
    Finished: "completed",
    RunFailed: "failed",
    RunCancelled: "cancelled",
}
"""What each event is called in the store. A name never changes its meaning: logs are older than the code that reads them."""
_KINDS: dict[str, type[Any]] = {name: kind for kind, name in _NAMES.items()}
_FIELDS: dict[type[Any], tuple[str, ...]] = {
    kind: tuple(field.name for field in dataclasses.fields(kind)) for kind in _NAMES
}


def _without_notes(chunks: Batch) -> tuple[Batch, list[int]]:
    """Return the chunks with the data of notes in place of these, and where they stand."""
    if Note not in map(type, chunks):
        return chunks, []
    notes = [index for index, chunk in enumerate(chunks) if isinstance(chunk, Note)]
    return [dict(chunk.data) if isinstance(chunk, Note) else chunk for chunk in chunks], notes


def _with_notes(chunks: Batch, notes: list[int]) -> Batch:
    for index in notes:
        chunks[index] = Note(chunks[index])
    return chunks


def _error(error: AnabranchError) -> str:
    return encode_error(error).decode("utf-8", "surrogatepass")


def _error_again(text: str) -> AnabranchError:
    return decode_error(text.encode("utf-8", "surrogatepass"))
