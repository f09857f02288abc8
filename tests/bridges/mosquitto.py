"""A Mosquitto of the tests' own: its files in a temporary folder, on a free port of the loopback."""

from __future__ import annotations

import contextlib
import shutil
import signal
import socket
import subprocess
import time
from pathlib import Path

DEADLINE = 30.0


def binary(name: str = "mosquitto") -> str | None:
    """Return the path of a program of Mosquitto, if it is installed: the broker's folder is not in everybody's PATH."""
    return shutil.which(name) or shutil.which(name, path="/usr/sbin:/usr/local/sbin:/opt/homebrew/sbin")


class Mosquitto:
    """A broker that can be killed and started again, on the same port."""

    def __init__(self, folder: Path, program: str, *lines: str) -> None:
        """`lines` are further lines of its configuration; a listener without a port is the one for clients."""
        self._program, self._folder = program, folder
        self.port = free_port()
        self._process: subprocess.Popen[bytes] | None = None
        self._config = folder / "mosquitto.conf"
        user = "" if lines and any(line.startswith("user ") for line in lines) else "user root"
        access = [] if any("allow_anonymous" in line for line in lines) else ["allow_anonymous true"]
        self._config.write_text("\n".join([user, f"listener {self.port} 127.0.0.1", *access, *lines, ""]))

    def start(self) -> None:
        """Start it, and wait until it accepts connections."""
        with (self._folder / "log").open("ab") as log:
            self._process = subprocess.Popen([self._program, "-c", str(self._config)], stdout=log, stderr=log)
        began = time.monotonic()
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=1):
                return
            assert self._process.poll() is None, (self._folder / "log").read_text()
            assert time.monotonic() - began < DEADLINE, "Mosquitto doesn't start"
            time.sleep(0.01)

    def kill(self) -> None:
        """Kill it where it stands."""
        self._end(signal.SIGKILL)

    def stop(self) -> None:
        """Stop it."""
        self._end(signal.SIGTERM)

    def _end(self, number: signal.Signals) -> None:
        if self._process is not None:
            self._process.send_signal(number)
            self._process.wait(DEADLINE)
            self._process = None


def free_port() -> int:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        return free.getsockname()[1]
