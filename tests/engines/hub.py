"""A hub of models on this machine: folders in, the answers of huggingface.co out."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from urllib.parse import unquote, urlsplit

COMMIT = "5" * 40


class Hub(ThreadingHTTPServer):
    """`folders` by repository; `refusals` by repository: a status (0 hangs up), and how the hub names the reason."""

    daemon_threads = True

    def __init__(self, folders: dict[str, Path], refusals: dict[str, tuple[int, str]] | None = None) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.folders = folders
        self.refusals = dict(refusals or {})
        self.asked: list[str] = []

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"

    @property
    def sent(self) -> list[str]:
        """The files that were downloaded."""
        return sorted(path.rpartition("/")[2] for path in self.asked if path.startswith("GET") and "/resolve/" in path)


@contextmanager
def served(hub: Hub) -> Iterator[Hub]:
    thread = Thread(target=hub.serve_forever, kwargs={"poll_interval": 0.01})
    thread.start()
    try:
        yield hub
    finally:
        hub.shutdown()
        hub.server_close()
        thread.join()


class _Handler(BaseHTTPRequestHandler):
    server: Hub

    def do_HEAD(self) -> None:
        self._answer()

    def do_GET(self) -> None:
        self._answer()

    def log_message(self, format: str, *args: object) -> None:
        pass

    def _answer(self) -> None:
        path = unquote(urlsplit(self.path).path)
        self.server.asked.append(f"{self.command} {path}")
        name = "/".join(path.removeprefix("/api/models").strip("/").split("/")[:2])
        if name in self.server.refusals or name not in self.server.folders:
            status, reason = self.server.refusals.get(name, (404, "RepoNotFound"))
            if not status:
                self.close_connection = True
                return
            self._send(status, b"", {"X-Error-Code": reason})
        elif path.startswith("/api/models/"):
            self._tell(name, path)
        else:
            self._give(self.server.folders[name] / path.split(f"/resolve/{COMMIT}/")[-1].split("/resolve/main/")[-1])

    def _tell(self, name: str, path: str) -> None:
        files = sorted(file for file in self.server.folders[name].rglob("*") if file.is_file())
        named = [(file.relative_to(self.server.folders[name]).as_posix(), file.read_bytes()) for file in files]
        if "/tree/" in path:
            told: object = [
                {"type": "file", "path": file, "size": len(data), "oid": hashlib.sha1(data).hexdigest()}
                for file, data in named
            ]
        else:
            siblings = [{"rfilename": file, "size": len(data)} for file, data in named]
            told = {"id": name, "modelId": name, "sha": COMMIT, "siblings": siblings, "tags": [], "private": False}
        self._send(200, json.dumps(told).encode(), {"Content-Type": "application/json"})

    def _give(self, file: Path) -> None:
        if not file.is_file():
            self._send(404, b"", {"X-Error-Code": "EntryNotFound"})
            return
        data = file.read_bytes()
        self._send(200, data, {"ETag": f'"{hashlib.sha1(data).hexdigest()}"', "X-Repo-Commit": COMMIT})

    def _send(self, status: int, body: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in headers.items():
            self.send_header(name, value)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        if self.command == "GET":
            self.wfile.write(body)
