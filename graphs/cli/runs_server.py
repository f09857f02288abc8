"""A server's kept runs over HTTP: tasks as JSON, and a run's events, read on where they were cut until the run has ended."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Mapping
from contextlib import closing
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection, IncompleteRead
from random import uniform
from socket import socket
from time import sleep
from typing import Any, NamedTuple, cast
from urllib.parse import quote, urlencode, urlsplit

from deployments.upstream.sse import EventParser, ServerEvent
from graphs.errors import AnabranchError, BadRequest, NotFound, Unavailable, from_wire

Json = dict[str, Any]

ENDS = frozenset({"end", "error", "completed", "failed", "cancelled"})
"""The names of events after which nothing comes: the first two of a run's output, the others of all that it says."""
PATIENCE = 30.0
"""Seconds that a server may take to answer."""
SILENCE = 60.0
"""Seconds without a byte after which a connection is taken for lost: a server sends a heartbeat every 15."""
FIRST_WAIT, LONGEST_WAIT = 0.2, 5.0
STANDSTILL = 1.0
"""Seconds without an event after which a run that still runs is taken to have said all."""
PAGE = 100


class _Cut(Exception):
    """The connection was lost, or there is no server now that knows the run: it may come back."""


class _NoServer(Unavailable):
    """No anabranch answers; `reason` in the details says why."""


class _Opened(NamedTuple):
    connection: HTTPConnection
    socket: socket
    """Kept here too: the connection lets go of it where the server is going to close it."""
    answer: HTTPResponse


class Server:
    """The server at one address."""

    def __init__(self, url: str) -> None:
        self.url = url.rstrip("/").removesuffix("/api")
        try:
            scheme, self._host, self._port, self._root = _parts(self.url)
            self._connection = {"http": HTTPConnection, "https": HTTPSConnection}[scheme]
        except (ValueError, KeyError):
            said = f"expected the address of a server, got {url!r}; write --url http://127.0.0.1:8080"
            raise BadRequest(said) from None

    def tasks(self, filters: Mapping[str, str | None], limit: int) -> tuple[list[Json], str | None]:
        """Return runs, newest first, and what the next page begins before, None where there is none."""
        found: list[Json] = []
        before: str | None = None
        while len(found) < limit:
            asked = {**filters, "limit": str(min(limit - len(found), PAGE)), "before": before}
            page = self._json("GET", "/tasks", "tasks", asked)
            found += page["tasks"]
            before = page["next"]
            if before is None:
                break
        return found, before

    def task(self, id: str) -> Json:
        return self._json("GET", f"/tasks/{quote(id, safe='')}", "task_id")

    def cancel(self, id: str) -> Json:
        return self._json("POST", f"/tasks/{quote(id, safe='')}/cancel", "task_id")

    def gives_json(self, workflow: str) -> bool:
        """Return whether the chunks of a workflow's output are JSON; they are text where the server no longer knows it."""
        try:
            output = self._json("GET", f"/workflows/{quote(workflow, safe='')}/schema", "output")["output"]
        except NotFound:
            return False
        return output["format"] == "sse-json" or bool(output["streams"])

    def said_until_now(self, task: Json) -> list[Json]:
        """Return the events of a run but for its chunks, each with its number; of one that still runs, those until now."""
        found: list[Json] = []
        silence = SILENCE if task["status"] in ENDS else STANDSTILL
        try:
            for event in self._events(task["task_id"], "events", None, {"chunks": "false"}, silence):
                found.append({"id": int(event.id), **json.loads(event.data)})
                if event.event in ENDS or int(event.id) >= task["last_event_id"]:
                    break
        except _Cut as cut:
            if not found:
                raise Unavailable(f"{self.url} stopped answering ({cut})") from None
        return found

    def follow(
        self, id: str, what: str, after: int | None, query: Mapping[str, str | None], note: Callable[[str], None]
    ) -> Iterator[ServerEvent]:
        """Yield the events of a run's `stream` or `events` that come after a number, until its end.

        Where the connection is lost, `note` is told, and the server is asked again for what follows. The last event is
        missing where it was read before.
        """
        last, wait, lost = (None if after is None else str(after)), FIRST_WAIT, False
        while True:
            try:
                for event in self._events(id, what, last, query, SILENCE):
                    if lost:
                        note(f"{self.url} answers again")
                    last, wait, lost = event.id or last, FIRST_WAIT, False
                    yield event
                    if event.event in ENDS:
                        return
                return
            except _Cut as cut:
                if not lost:
                    note(f"the connection to {self.url} is lost ({cut}); waiting for it, Ctrl-C to stop")
                lost = True
            sleep(wait * uniform(0.5, 1.0))
            wait = min(wait * 2, LONGEST_WAIT)

    def _events(
        self, id: str, what: str, last: str | None, query: Mapping[str, str | None], silence: float
    ) -> Iterator[ServerEvent]:
        """Yield the events of one answer; raises _Cut where it ends before the run does."""
        headers = {"Accept": "text/event-stream"} | ({} if last is None else {"Last-Event-ID": last})
        try:
            opened = self._open("GET", f"/tasks/{quote(id, safe='')}/{what}", query, headers)
        except _NoServer as error:
            raise _Cut(error.details["reason"]) from None
        except AnabranchError as error:
            if self._failed(id):  # before it gave anything: the answer is the run's own error
                return
            raise _Cut(error.message) if error.status >= 500 else error from None
        with closing(opened.connection), opened.answer as answer:
            if answer.status == 204:
                return
            kind = answer.headers.get_content_type()
            if kind != "text/event-stream":
                raise BadRequest(
                    f"the output of run {id} isn't sent as events but as {kind}; read {self.url}/api/tasks/{id}"
                )
            yield from self._parsed(opened, silence)

    def _parsed(self, opened: _Opened, silence: float) -> Iterator[ServerEvent]:
        parser = EventParser()
        while True:
            try:
                packet = opened.answer.read1(65536)
            except (OSError, HTTPException) as error:
                raise _Cut(_reason(error)) from None
            if not packet:
                raise _Cut("it ended before the run did")
            opened.socket.settimeout(silence)
            yield from parser.feed(packet)

    def _json(self, method: str, path: str, has: str, query: Mapping[str, str | None] | None = None) -> Json:
        """Return an answer, a mapping that has a certain key if it is anabranch's."""
        opened = self._open(method, path, query or {}, {"Accept": "application/json"})
        with closing(opened.connection), opened.answer as answer:
            try:
                found = json.loads(answer.read())
            except (OSError, HTTPException) as error:
                raise Unavailable(f"{self.url} stopped answering ({_reason(error)})") from None
            except ValueError:
                found = None
        if not isinstance(found, dict) or has not in found:
            raise self._stranger(answer.status)
        return cast("Json", found)

    def _open(self, method: str, path: str, query: Mapping[str, str | None], headers: Mapping[str, str]) -> _Opened:
        """Return an answer that isn't an error; raises the server's error, or that no anabranch answers."""
        asked = urlencode({name: value for name, value in query.items() if value is not None})
        connection = self._connection(self._host, self._port, timeout=PATIENCE)
        try:
            connection.request(method, f"{self._root}{path}{'?' if asked else ''}{asked}", headers=dict(headers))
            kept, answer = connection.sock, connection.getresponse()
            body = b"" if answer.status < 300 else answer.read()
        except (OSError, HTTPException) as error:
            connection.close()
            said = f"no server answers at {self.url} ({_reason(error)}); start it, or write its address with --url"
            raise _NoServer(said, reason=_reason(error)) from None
        if answer.status < 300:
            return _Opened(connection, kept, answer)
        connection.close()
        try:
            error = json.loads(body)["error"]
            raised = from_wire({"error": error, "status": answer.status, "types": [error["type"]]})
        except (ValueError, TypeError, KeyError):
            raise self._stranger(answer.status) from None
        raise raised

    def _failed(self, id: str) -> bool:
        try:
            return self.task(id)["status"] in ("failed", "cancelled")
        except AnabranchError:
            return False

    def _stranger(self, status: int) -> _NoServer:
        """Return the error of an answer that isn't anabranch's, as Ray's proxy gives where no application is served."""
        reason = f"another server answers, or it isn't ready: HTTP {status}"
        return _NoServer(f"no anabranch answers at {self.url} ({reason})", reason=reason)


def _parts(url: str) -> tuple[str, str, int | None, str]:
    """Return scheme, host, port and the path below which the API is; raises ValueError where there is no host."""
    parts = urlsplit(url)
    if not parts.hostname:
        raise ValueError(url)
    return parts.scheme, parts.hostname, parts.port, parts.path + "/api"


def _reason(error: Exception) -> str:
    if isinstance(error, TimeoutError):
        return "it was silent for too long"
    if isinstance(error, IncompleteRead):
        return "it was cut"
    return (isinstance(error, OSError) and error.strerror) or str(error) or type(error).__name__
