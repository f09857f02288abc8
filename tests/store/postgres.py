"""A PostgreSQL of the tests' own: its files in a temporary folder, on a free port of the loopback."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import socket
import subprocess
import tempfile
from pathlib import Path

import psycopg

PASSWORD = "open-sesame"


def binaries() -> Path | None:
    """Return the folder of PostgreSQL's programs, if it is installed."""
    found = shutil.which("pg_ctl")
    if found is not None:
        return Path(found).resolve().parent
    folders = sorted(Path("/usr/lib/postgresql").glob("*/bin/pg_ctl"))
    return folders[-1].parent if folders else None


class Postgres:
    """A server that can be stopped and started again."""

    def __init__(self, programs: Path) -> None:
        self._programs = programs
        self._folder = Path(tempfile.mkdtemp(prefix="anabranch-postgres-"))
        # PostgreSQL refuses to run as root.
        self._user = "postgres" if os.geteuid() == 0 else None
        if self._user:
            shutil.chown(self._folder, self._user)
        self._databases = 0
        self.port = _free_port()
        password = self._folder / "password"
        password.write_text(PASSWORD)
        if self._user:
            shutil.chown(password, self._user)
        self._do(
            "initdb", "-N", "-U", "someone", "-A", "scram-sha-256", f"--pwfile={password}", "-E", "UTF8", "--locale=C"
        )
        self.start()

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        options = (
            f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self._folder} -c fsync=off -c restart_after_crash=on"
        )
        self._do("pg_ctl", "-w", "-o", options, "-l", str(self._folder / "log"), "start")

    def stop(self) -> None:
        """Stop it, its connections included."""
        self._do("pg_ctl", "-w", "-m", "fast", "stop")

    def kill(self) -> None:
        """Kill all its processes where they stand."""
        lock = self._folder / "data" / "postmaster.pid"
        server = int(lock.read_text().splitlines()[0])
        children = Path(f"/proc/{server}/task/{server}/children").read_text().split()
        for process in (server, *map(int, children)):
            with contextlib.suppress(ProcessLookupError):
                os.kill(process, signal.SIGKILL)
        # The next start would ask whether the process in its locks is alive, and one that nobody has reaped yet is.
        for each in (lock, *self._folder.glob(".s.PGSQL.*.lock")):
            each.unlink()

    def remove(self) -> None:
        """Stop it and delete its files."""
        self._do("pg_ctl", "-w", "-m", "immediate", "stop")
        shutil.rmtree(self._folder)

    def database(self, options: str = "") -> str:
        """Return the URL of a new database."""
        self._databases += 1
        name = f"store{self._databases}"
        self.execute(f"CREATE DATABASE {name} {options}")
        return self.url(name)

    def url(self, name: str, password: str = PASSWORD) -> str:
        """Return the URL of a database of this name."""
        return f"postgresql://someone:{password}@127.0.0.1:{self.port}/{name}"

    def execute(self, statement: str) -> None:
        """Execute a statement as the server's owner."""
        with psycopg.connect(self.url("postgres"), autocommit=True) as connection:
            connection.execute(statement)

    def _do(self, program: str, *arguments: str) -> None:
        command = [str(self._programs / program), "-D", str(self._folder / "data"), *arguments]
        quiet = subprocess.DEVNULL
        subprocess.run(command, user=self._user, cwd=self._folder, check=True, stdout=quiet, stderr=quiet, timeout=60)


def _free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
