"""A started server in, the CPU and memory of all its processes out; and the end of every one of them.

Ray starts its daemons in sessions of their own and HAProxy leaves its parent, so neither a process group nor a tree
holds them all. What they share is the environment they inherit: a server is started with a tag in it, and its
processes are those that carry the tag, and their children.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from dataclasses import dataclass
from pathlib import Path

TAG = "ANABRANCH_BENCH"

_TICK = os.sysconf("SC_CLK_TCK")
_PAGE = os.sysconf("SC_PAGE_SIZE")


@dataclass(frozen=True)
class Process:
    """A process, told from a later one of the same id by when it began."""

    pid: int
    began: int

    @property
    def stat(self) -> list[str] | None:
        """Return the fields of /proc/PID/stat after the name, or None when it is gone."""
        fields = _stat(self.pid)
        return fields if fields and int(fields[19]) == self.began and fields[0] != "Z" else None

    @property
    def name(self) -> str:
        """Return the command line, shortened: what Ray calls its processes."""
        words = _read(Path(f"/proc/{self.pid}/cmdline")).replace(b"\0", b" ").decode(errors="replace").split()
        named = " ".join(Path(word).name for word in words)
        return named[:60].strip() or "?"


class Processes:
    """All processes of one server."""

    def __init__(self, tag: str) -> None:
        self._mark = f"{TAG}={tag}\0".encode()
        self._known: dict[int, Process] = {}

    def find(self) -> list[Process]:
        """Look for processes that came since; return all that live."""
        parents: dict[int, int] = {}
        for entry in Path("/proc").iterdir():
            if not entry.name.isdigit():
                continue
            pid = int(entry.name)
            fields = _stat(pid)
            if fields is None or fields[0] == "Z":
                continue
            parents[pid] = int(fields[1])
            began = int(fields[19])
            known = self._known.get(pid)
            if (known is None or known.began != began) and self._mark in _read(entry / "environ") + b"\0":
                self._known[pid] = Process(pid, began)
        self._adopt(parents)
        self._known = {pid: process for pid, process in self._known.items() if process.stat}
        return list(self._known.values())

    def cpu(self) -> float:
        """Return the seconds of user and system time taken so far by the processes last found."""
        stats = (process.stat for process in self._known.values())
        return sum(int(fields[11]) + int(fields[12]) for fields in stats if fields) / _TICK

    def resident(self) -> dict[Process, int]:
        """Return the resident bytes of each process last found that lives."""
        return {process: int(fields[21]) * _PAGE for process in self._known.values() if (fields := process.stat)}

    def proportional(self) -> dict[Process, int]:
        """Return the bytes of each process last found; those of a page that several share are divided among them."""
        return {process: size for process in self._known.values() if (size := _proportional(process.pid))}

    def stop(self, root: int, grace: float) -> None:
        """Ask the root to end, as Ctrl-C does; after `grace` seconds end all that are left."""
        try:
            if self.find():
                _signal(root, signal.SIGINT)
                self._gone_within(grace)
            if left := self.find():
                for process in left:
                    _signal(process.pid, signal.SIGTERM)
                self._gone_within(grace)
        finally:
            while left := self.find():
                for process in left:
                    _signal(process.pid, signal.SIGKILL)
                self._gone_within(1.0)

    def _adopt(self, parents: dict[int, int]) -> None:
        """Children may have overwritten their environment with a title: their parent tells whose they are."""
        grew = True
        while grew:
            grew = False
            for pid, parent in parents.items():
                if pid not in self._known and parent in self._known and (fields := _stat(pid)):
                    self._known[pid] = Process(pid, int(fields[19]))
                    grew = True

    def _gone_within(self, seconds: float) -> bool:
        deadline = time.monotonic() + seconds
        while self.find():
            if time.monotonic() > deadline:
                return False
            time.sleep(0.1)
        return True


def machine_cpu() -> float:
    """Return the seconds that all cores of the machine have been busy, stolen time included."""
    user, nice, system, _, _, irq, softirq, steal = (int(part) for part in _read(Path("/proc/stat")).split()[1:9])
    return (user + nice + system + irq + softirq + steal) / _TICK


def _stat(pid: int) -> list[str] | None:
    text = _read(Path(f"/proc/{pid}/stat"))
    return text.rpartition(b") ")[2].decode().split() if text else None


def _proportional(pid: int) -> int:
    for line in _read(Path(f"/proc/{pid}/smaps_rollup")).splitlines():
        if line.startswith(b"Pss:"):
            return int(line.split()[1]) * 1024
    return 0


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:  # gone meanwhile, or not ours
        return b""


def _signal(pid: int, number: signal.Signals) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, number)
