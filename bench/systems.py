"""The systems side by side: a System in, a Server that answers out, and no process of it left afterwards."""

from __future__ import annotations

import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Generator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from bench.processes import TAG, Processes
from bench.wire import MARK

ROOT = Path(__file__).resolve().parent.parent
PEERS = Path(__file__).resolve().parent / "peers"
SCRIPTS = Path(sys.executable).parent
HOST = "127.0.0.1"

FAST = {"RAY_SERVE_ENABLE_HA_PROXY": "1", "RAY_SERVE_THROUGHPUT_OPTIMIZED": "1"}
"""Ray's fast flags, the same for every system on Ray Serve."""

START_WITHIN = 120.0
STOP_WITHIN = 1.0
"""Seconds before what is left is terminated, and then killed: draining is not what is measured here."""


class NotStarted(Exception):
    """A system didn't come up."""


@dataclass(frozen=True)
class System:
    """One row of the table: how to start it, and what to ask it."""

    key: str
    title: str
    command: Callable[[int, Path], list[str]]
    """From a port and a folder for files of its own."""
    on_ray: bool = True
    path: str = "/"
    envelope: dict[str, Any] = field(default_factory=dict[str, Any], hash=False)
    """What the fields of a request are sent in; where it is empty they are the body."""
    mark: bytes = MARK
    """What stands once in every chunk of the answer."""
    ready: str = "/ready"
    """Answers 200 once the system takes requests."""
    environment: Mapping[str, str] = field(default_factory=dict[str, str], hash=False)
    """What it is told besides its command."""
    says: str = ""
    """What it writes once it has started: requests may be answered before."""


@dataclass(frozen=True)
class Server:
    """A system that runs."""

    system: System
    port: int
    processes: Processes
    log: Path
    """What it has written so far."""
    started_after: float
    """Seconds from its command until it took requests."""

    @property
    def url(self) -> str:
        """Return where requests go."""
        return f"http://{HOST}:{self.port}{self.system.path}"


@contextmanager
def serving(system: System) -> Generator[Server]:
    """Start the system alone, with folders and ports of its own; stop it whatever happens."""
    folder = Path(
        tempfile.mkdtemp(prefix="bench-")
    )  # short: Ray's sockets lie below it, and 107 bytes hold their paths
    tag = uuid.uuid4().hex
    processes = Processes(tag)
    port, stats_port = free_port(), free_port()
    log = folder / "log"
    root: subprocess.Popen[bytes] | None = None
    try:
        began = time.monotonic()
        with log.open("wb") as output:
            root = subprocess.Popen(
                system.command(port, folder),
                env=_environment(folder, tag, stats_port) | system.environment,
                cwd=ROOT,
                stdin=subprocess.DEVNULL,
                stdout=output,
                stderr=subprocess.STDOUT,
                start_new_session=True,  # Ctrl-C reaches the bench alone, which then stops everything in order
            )
        _wait(root, log, "ready", lambda: _get(port, system.ready) is not None)
        if system.on_ray:
            _wait(root, log, "behind HAProxy", lambda: _routed(_get(stats_port, "/stats;csv")))
        _wait(root, log, "started", lambda: system.says in log.read_text(errors="replace"))
        took = time.monotonic() - began
        processes.find()
        yield Server(system, port, processes, log, took)
    finally:
        if root is not None:
            processes.stop(root.pid, STOP_WITHIN)
            root.wait()
        shutil.rmtree(folder, ignore_errors=True)


def free_port() -> int:
    """Return a port that nobody listens on now."""
    with socket.socket() as listener:
        listener.bind((HOST, 0))
        return listener.getsockname()[1]


def _environment(folder: Path, tag: str, stats_port: int) -> dict[str, str]:
    """Keep the server apart from any other cluster on the machine: no address to join, no folder or port shared."""
    apart = {name: value for name, value in os.environ.items() if not name.startswith("RAY_")}
    haproxy = folder / "haproxy"
    return apart | FAST | {
        TAG: tag,
        "PYTHONPATH": str(ROOT),
        "RAY_TMPDIR": str(folder),
        "RAY_USAGE_STATS_ENABLED": "0",
        "RAY_SERVE_HAPROXY_CONFIG_FILE_LOC": str(haproxy / "haproxy.cfg"),
        "RAY_SERVE_HAPROXY_SOCKET_PATH": str(haproxy / "admin.sock"),
        "RAY_SERVE_HAPROXY_METRICS_SOCKET_PATH": str(haproxy / "metrics.sock"),
        "RAY_SERVE_HAPROXY_SERVER_STATE_BASE": str(haproxy),
        "RAY_SERVE_HAPROXY_SERVER_STATE_FILE": str(haproxy / "server-state"),
        "RAY_SERVE_HAPROXY_STATS_PORT": str(stats_port),
        "RAY_SERVE_HAPROXY_METRICS_PORT": str(free_port()),
        "RAY_SERVE_FALLBACK_PROXY_HTTP_PORT": str(free_port()),
    }  # fmt: skip


def _wait(root: subprocess.Popen[bytes], log: Path, what: str, reached: Callable[[], bool]) -> None:
    deadline = time.monotonic() + START_WITHIN
    while not reached():
        if root.poll() is not None:
            raise NotStarted(f"it ended with {root.returncode}: {_last_lines(log)}")
        if time.monotonic() > deadline:
            raise NotStarted(f"it was not {what} after {START_WITHIN:g} s: {_last_lines(log)}")
        time.sleep(0.2)


def _get(port: int, path: str) -> str | None:
    """Return the body of a 200, or None."""
    try:
        with urllib.request.urlopen(f"http://{HOST}:{port}{path}", timeout=2.0) as answer:
            return answer.read().decode() if answer.status == 200 else None
    except (urllib.error.URLError, ConnectionError, TimeoutError):
        return None


def _routed(stats: str | None) -> bool:
    """Whether HAProxy knows a replica; before it does, Serve's slower Python proxy answers in its stead."""
    rows = [line.split(",") for line in (stats or "").splitlines()]
    return any(len(row) > 17 and row[1].startswith("SERVE_REPLICA") and row[17].startswith("UP") for row in rows)


def _last_lines(log: Path, lines: int = 8) -> str:
    return "\n".join(log.read_text(errors="replace").splitlines()[-lines:]) or "it said nothing"


def _uvicorn(port: int, _: Path) -> list[str]:
    return [
        sys.executable, "-m", "uvicorn", "bench.peers.uvicorn_app:app", "--host", HOST, "--port", str(port),
        "--no-access-log", "--log-level", "warning", "--lifespan", "off",
    ]  # fmt: skip


def _serve(import_path: str) -> Callable[[int, Path], list[str]]:
    def command(port: int, folder: Path) -> list[str]:
        config = folder / "serve.json"
        application = {"name": "peer", "route_prefix": "/", "import_path": import_path}
        config.write_text(json.dumps({"http_options": {"host": HOST, "port": port}, "applications": [application]}))
        return [str(SCRIPTS / "serve"), "run", str(config)]

    return command


def _anabranch(document: str) -> Callable[[int, Path], list[str]]:
    def command(port: int, _: Path) -> list[str]:
        return [str(SCRIPTS / "anabranch"), "serve", str(PEERS / document), "--host", HOST, "--port", str(port)]

    return command


RUN = {"workflow_id": "words", "output_only": True}

UVICORN = System("uvicorn", "bare uvicorn", _uvicorn, on_ray=False)
INGRESS = System("ingress", "bare Serve ingress", _serve("bench.peers.serve_ingress:app"))
GRAPH_ONE = System("graph-1", "naive Serve graph, one component", _serve("bench.peers.serve_graph:one"))
GRAPH_TWO = System("graph-2", "naive Serve graph, two components", _serve("bench.peers.serve_graph:two"))
ANABRANCH_ONE = System(
    "anabranch-1",
    "anabranch, one component",
    _anabranch("anabranch_one.yaml"),
    path="/api/workflows/runs",
    envelope=RUN,
)
ANABRANCH_TWO = System(
    "anabranch-2",
    "anabranch, two components",
    _anabranch("anabranch_two.yaml"),
    path="/api/workflows/runs",
    envelope=RUN,
)

SYSTEMS = (UVICORN, INGRESS, ANABRANCH_ONE, ANABRANCH_TWO, GRAPH_ONE, GRAPH_TWO)
