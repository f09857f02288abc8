"""Everything that a kept run says, as server-sent events: one for each entry of its log."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from deployments.asgi.json_values import base64_text, json_text, utf8
from deployments.gateway.entries import Accepted, Entry, LogEvent
from deployments.gateway.running import Following
from deployments.runs.events import (
    Delta,
    Finished,
    JobChunks,
    JobEnded,
    JobRetried,
    JobStarted,
    JobStreaming,
    RunCancelled,
    RunFailed,
    Started,
)
from deployments.transports.run_answer import How, LogAnswer
from deployments.transports.task_json import moment, problem
from graphs.stream import Chunk, Note


class EventsOfLog(LogAnswer):
    """The events of a kept run."""

    def __init__(self, running: Following, after: int, how: How, *, chunks: bool, job_chunks: bool) -> None:
        super().__init__(running, after, how)
        self._chunks, self._job_chunks = chunks, job_chunks

    def encode(self, entry: Entry) -> bytes:
        event = entry.event
        if (isinstance(event, Delta) and not self._chunks) or (isinstance(event, JobChunks) and not self._job_chunks):
            return b""
        at, run_id = moment(entry.at), self.running.run.id
        return b"".join(
            _event(number, said["type"], {**said, "at": at}) for number, said in _said(event, entry.first, run_id)
        )


def _event(number: int, type: str, data: dict[str, Any]) -> bytes:
    return utf8(f"id: {number}\nevent: {type}\ndata: {json_text(data)}\n\n")


def _said(event: LogEvent, number: int, run_id: str) -> Iterator[tuple[int, dict[str, Any]]]:
    """Yield what an event says, with its number; each of several chunks by itself."""
    match event:
        case Delta(chunks=chunks, name=name):
            named = {} if name is None else {"name": name}
            for index, chunk in enumerate(chunks):
                yield number + index, {**_chunk("chunk", chunk), **named}
        case JobChunks(chunks=chunks, job=job):
            for index, chunk in enumerate(chunks):
                yield number + index, {**_chunk("job_chunk", chunk), "job": job}
        case _:
            yield number, _told(event, run_id)


def _chunk(type: str, chunk: Chunk) -> dict[str, Any]:
    if isinstance(chunk, Note):
        return {"type": type, "note": dict(chunk.data)}
    return {"type": type, "chunk": base64_text(chunk) if isinstance(chunk, bytes) else chunk}


def _told(event: LogEvent, run_id: str) -> dict[str, Any]:
    match event:
        case Accepted():
            said = {"type": "accepted", "workflow_id": event.workflow, "input": event.input}
            return said if event.session_id is None else {**said, "session_id": event.session_id}
        case Started():
            return {"type": "started"}
        case JobStarted():
            return {"type": "job_started", "job": event.job}
        case JobStreaming():
            return {"type": "job_first_chunk", "job": event.job}
        case JobRetried():
            error = problem(event.error, run_id)
            return {"type": "job_retried", "job": event.job, "attempt": event.attempt, "error": error}
        case JobEnded():
            return _job_ended(event, run_id)
        case _:
            return _end(event, run_id)


def _job_ended(event: JobEnded, run_id: str) -> dict[str, Any]:
    if event.status == "skipped":
        return {"type": "job_skipped", "job": event.job, "why": event.why}
    if event.status == "failed":
        said = {"type": "job_failed", "job": event.job}
        said = {**said, "why": event.why} if event.why else said
        return said if event.error is None else {**said, "error": problem(event.error, run_id)}
    output = {"streamed": True} if event.streamed else {"output": event.output}
    return {"type": "job_ended", "job": event.job, **output}


def _end(event: LogEvent, run_id: str) -> dict[str, Any]:
    match event:
        case Finished():
            notes = {name: value for note in event.notes for name, value in note.data.items()}
            output = {"streamed": True} if event.streamed else {"output": event.output}
            return {"type": "completed", **output, **({"notes": notes} if notes else {})}
        case RunFailed():
            return {"type": "failed", "error": problem(event.error, run_id)}
        case RunCancelled():
            return {"type": "cancelled", "reason": event.reason}
        case _:
            raise AssertionError(f"{type(event).__name__} is no end")
