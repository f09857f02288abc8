"""A server that speaks the API of tasks, made of scripted runs: it cuts streams, refuses, stops, and starts again on its port."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qsl, unquote, urlsplit

AT = "2030-01-01T12:00:00.{:03}Z"
NOW = struct.pack("ii", 1, 0)


def event(number: int, data: str, name: str = "") -> bytes:
    lines = [f"event: {name}"] if name else []
    return "\n".join([*lines, f"id: {number}", *(f"data: {line}" for line in data.split("\n")), "", ""]).encode()


@dataclass
class Run:
    """A run: its task, and its log as it is sent; None in a log stands for what is still to come."""

    task: dict[str, Any]
    stream: list[tuple[int, str, str] | None] = field(default_factory=list[Any])
    events: list[dict[str, Any] | None] = field(default_factory=list[Any])


def text_run(id: str = "run_1", *, texts: list[str], end: tuple[str, str] | None = ("", "end"), **task: Any) -> Run:
    """Return a run whose chunks have the numbers from 3 on, as a job's events have those before."""
    stream: list[Any] = [(number, text, "") for number, text in enumerate(texts, 3)]
    stream.append(end and (len(texts) + 3, *end))
    said = {"status": "completed" if end else "streaming", "last_event_id": len(texts) + 3, **task}
    return Run({"task_id": id, "workflow_id": "story", "created_at": AT.format(0), **said}, stream)


@dataclass
class Asked:
    method: str
    path: str
    query: dict[str, str]
    after: str | None


class Runs:
    """The server; what it was asked stands in `asked`."""

    def __init__(self, *runs: Run) -> None:
        self.runs = {each.task["task_id"]: each for each in runs}
        self.asked: list[Asked] = []
        self.cuts: list[int] = []
        """After how many events each of the next streams is cut."""
        self.by_reset = True
        """A reset takes what is under way with it; else the connection is closed."""
        self.refusals: list[tuple[int, bytes]] = []
        """What the next streams are answered instead."""
        self.json = False
        self.then: Callable[[], None] = lambda: None
        """Called once a stream was cut."""
        self._server: ThreadingHTTPServer | None = None
        self._open: set[socket.socket] = set()
        self._stopped = threading.Event()
        self.port = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> Runs:
        if self._server is None:
            self._stopped.clear()
            handler = type("Handler", (_Handler,), {"runs": self})
            self._server = _Server(("127.0.0.1", self.port), handler)
            self.port = self._server.server_port
            threading.Thread(target=self._server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True).start()
        return self

    def stop(self) -> None:
        """Stop as a process that is killed: the port is closed, and every connection reset."""
        server, self._server = self._server, None
        if server is not None:
            self._stopped.set()
            server.shutdown()
            server.server_close()
            for each in list(self._open):
                reset(each)

    def until_stopped(self) -> None:
        self._stopped.wait()


def reset(connection: socket.socket) -> None:
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, NOW)
    connection.close()


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing of clients that have left."""


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    runs: Runs

    def do_GET(self) -> None:
        self._answer()

    def do_POST(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: Any) -> None:
        pass

    def _answer(self) -> None:
        parts = urlsplit(self.path)
        asked = Asked(self.command, parts.path, dict(parse_qsl(parts.query)), self.headers["Last-Event-ID"])
        self.runs.asked.append(asked)
        self.runs._open.add(self.connection)
        try:
            self._route(asked, [unquote(part) for part in parts.path.split("/")[2:]])
        except OSError:
            self.close_connection = True
        finally:
            self.runs._open.discard(self.connection)

    def _route(self, asked: Asked, path: list[str]) -> None:
        match path:
            case ["workflows", _, "schema"]:
                output = {"format": "sse-json" if self.runs.json else "sse-text", "streams": []}
                self._json(200, {"workflow_id": path[1], "output": output})
            case ["tasks"]:
                self._page(asked.query)
            case ["tasks", id, *_] if id not in self.runs.runs:
                self._error(404, "not_found", f"there is no run '{id}'")
            case ["tasks", id]:
                self._json(200, self.runs.runs[id].task)
            case ["tasks", id, "cancel"]:
                task = self.runs.runs[id].task
                if task["status"] in ("pending", "processing", "streaming"):
                    task["status"] = "cancelled"
                self._json(200, task)
            case ["tasks", id, what]:
                self._stream(asked, self.runs.runs[id], what)
            case _:
                self._error(404, "not_found", "there is no such path")

    def _page(self, query: dict[str, str]) -> None:
        names = ("workflow_id", "status", "session_id")
        tasks = [each.task for each in reversed(self.runs.runs.values())]
        tasks = [each for each in tasks if all(each.get(name) == query[name] for name in names if name in query)]
        ids = [each["task_id"] for each in tasks]
        start = ids.index(query["before"]) + 1 if "before" in query else 0
        page = tasks[start : start + int(query["limit"])]
        more = start + len(page) < len(tasks)
        self._json(200, {"tasks": page, "next": page[-1]["task_id"] if more else None})

    def _stream(self, asked: Asked, run: Run, what: str) -> None:
        if self.runs.refusals:
            status, body = self.runs.refusals.pop(0)
            self._body(status, "application/json" if body.startswith(b"{") else "text/plain", body)
            return
        after = -1 if asked.after is None else int(asked.after)
        log = [
            each if each is None else self._encoded(each) for each in (run.events if what == "events" else run.stream)
        ]
        rest = [each for each in log if each is None or each[0] > after]
        if not rest:
            self.send_response(204)
            self.end_headers()
            return
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream; charset=utf-8")
        self.send_header("Transfer-Encoding", "chunked")
        self.end_headers()
        cut = self.runs.cuts.pop(0) if self.runs.cuts else None
        for count, each in enumerate(rest):
            if count == cut:
                self.wfile.flush()
                self.close_connection = True
                if self.runs.by_reset:
                    reset(self.connection)
                self.runs.then()
                return
            if each is None:
                self.runs.until_stopped()
                return
            self._chunk(b": heartbeat\n\n")
            for half in (each[1][:5], each[1][5:]):
                self._chunk(half)
        self.wfile.write(b"0\r\n\r\n")

    def _encoded(self, entry: Any) -> tuple[int, bytes]:
        if isinstance(entry, dict):
            said = {name: value for name, value in entry.items() if name != "id"}
            return entry["id"], event(entry["id"], json.dumps(said), entry["type"])
        return entry[0], event(*entry)

    def _chunk(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%b\r\n" % (len(data), data))

    def _error(self, status: int, type: str, message: str) -> None:
        self._json(status, {"error": {"type": type, "message": message}})

    def _json(self, status: int, value: Any) -> None:
        self._body(status, "application/json", json.dumps(value).encode())

    def _body(self, status: int, kind: str, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)
