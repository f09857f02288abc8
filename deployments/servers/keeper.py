"""A command to run -> the command, kept: when it is told to stop, or whoever asked for it is gone, nothing of it is left.

`process.py` runs this file as a script, in a session of its own: `keeper.py CONTROL OWNER`. CONTROL is its end of a
socket, OWNER the process it works for. Lines of JSON go over the socket:

    {"command": […], "env": {…}, "folder": …}      what to run, the first line
    {"pid": 1234} or {"failed": "…"}               the answer
    {"stop": 10.0}                                 SIGTERM now, SIGKILL to what is left after so many seconds
    {"ended": -15}                                 it has ended, and so has everything it started; the last line

The end of the socket without a word is the death of the owner: SIGKILL to all. It can't be waited for in the owner
itself, which may be killed without notice. This file needs the standard library alone, for it is started with `-I -S`.
"""

from __future__ import annotations

import ctypes
import json
import os
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

LOOK = 0.05
"""Seconds between two looks at processes that are about to end."""

PR_SET_PDEATHSIG = 1
PR_SET_CHILD_SUBREAPER = 36
LINUX = sys.platform == "linux"


class Keeper:
    """One command, and all that comes of it."""

    def __init__(self, control: socket.socket, owner: int | None) -> None:
        self._control = control
        self._owner = owner
        self._read = b""
        self._server = 0
        self._status: int | None = None
        self._patience: float | None = None
        self._bell = _bell()

    def keep(self) -> None:
        """Run the command to its end."""
        asked = self._line()
        if asked is None:
            return
        try:
            # Kept alive: one that is collected asks how its process ended, and so would hide it from us.
            kept = _start(asked)
        except OSError as error:
            self._say(failed=f"{error.strerror}: {error.filename or asked['command'][0]}", code=error.errno)
            return
        self._server = kept.pid
        self._say(pid=self._server)
        while self._reap():
            self._hurry()
            self._listen()
        self._say(ended=self._status)

    def _reap(self) -> bool:
        """Bury the dead; tell whether anyone is left."""
        try:
            while True:
                pid, status = os.waitpid(-1, os.WNOHANG)
                if pid == 0:
                    return True
                if pid == self._server:
                    self._status = os.waitstatus_to_exitcode(status)
                    if self._patience is None:
                        self._patience = time.monotonic()  # what outlives the server has nobody to serve
        except ChildProcessError:
            return _lives(self._server)

    def _hurry(self) -> None:
        """Kill what is left once patience has run out."""
        if self._patience is not None and time.monotonic() >= self._patience:
            self._signal(signal.SIGKILL)

    def _listen(self) -> None:
        """Wait for news: from the owner, of its death, or of a child's."""
        # Not select: the owner may have thousands of files open, and the number of our end of its socket is one of theirs.
        sources = select.poll()
        for source in (self._bell, self._owner, self._control.fileno()):
            if source is not None and source != -1:
                sources.register(source, select.POLLIN)
        ready = {source for source, _ in sources.poll(None if self._patience is None else 1000 * LOOK)}
        if self._bell in ready:
            os.read(self._bell, 4096)
        if self._owner in ready:
            self._leave()
        elif self._control.fileno() in ready:
            self._obey()

    def _obey(self) -> None:
        asked = self._line()
        if asked is None:
            self._leave()
            return
        self._signal(signal.SIGTERM)
        self._patience = time.monotonic() + float(asked["stop"])

    def _leave(self) -> None:
        """Nobody is there any more to be patient for."""
        self._control.close()
        self._owner = None
        self._patience = 0.0

    def _signal(self, signum: int) -> None:
        _send(os.killpg, self._server, signum)
        for pid in _descendants(os.getpid()):
            _send(os.kill, pid, signum)

    def _line(self) -> dict[str, Any] | None:
        """Return what the owner says next; None when it has gone."""
        while b"\n" not in self._read:
            try:
                packet = self._control.recv(65536)
            except OSError:
                return None
            if not packet:
                return None
            self._read += packet
        line, _, self._read = self._read.partition(b"\n")
        return json.loads(line)

    def _say(self, **words: Any) -> None:
        try:
            self._control.sendall(json.dumps(words).encode() + b"\n")
        except OSError:
            return


def _start(asked: dict[str, Any]) -> subprocess.Popen[bytes]:
    keeper = os.getpid()
    return subprocess.Popen(  # noqa: S603  (to run it is what we are for)
        asked["command"],
        env=asked["env"],
        cwd=asked["folder"],
        stdin=subprocess.DEVNULL,
        start_new_session=True,
        preexec_fn=lambda: _die_with(keeper),  # noqa: PLW1509  (this process has one thread)
    )


def _die_with(keeper: int) -> None:
    """Have the kernel kill this process when its keeper is killed: then nobody else would."""
    if LINUX:
        _prctl(PR_SET_PDEATHSIG, signal.SIGKILL)
        if os.getppid() != keeper:
            os._exit(1)


def _descendants(ancestor: int) -> Iterator[int]:
    """Yield the processes that came of one, those too that went into sessions of their own."""
    children: dict[int, list[int]] = {}
    for entry in Path("/proc").glob("[0-9]*") if LINUX else ():
        try:
            fields = (entry / "stat").read_bytes().rpartition(b")")[2].split()
        except OSError:
            continue  # it has just ended
        children.setdefault(int(fields[1]), []).append(int(entry.name))
    found = [ancestor]
    for pid in found:
        found += children.get(pid, [])
    yield from found[1:]


def _lives(group: int) -> bool:
    """Tell whether anyone is left in a group whose members may be others' children: where there are no subreapers."""
    try:
        os.killpg(group, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return not LINUX
    return True


def _send(send: Any, to: int, signum: int) -> None:
    try:
        send(to, signum)
    except (ProcessLookupError, PermissionError):
        return


def _bell() -> int:
    """Return what becomes readable when a child ends; other signals are meant for the server, not for its keeper."""
    heard, rung = os.pipe()
    os.set_blocking(heard, False)
    os.set_blocking(rung, False)
    for signum in (signal.SIGCHLD, signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Not SIG_IGN, which the server would inherit.
        signal.signal(signum, lambda *_: None)
    signal.set_wakeup_fd(rung, warn_on_full_buffer=False)
    return heard


def _watch(owner: int) -> int | None:
    """Return what becomes readable when the owner ends: its socket may have been inherited, and live on."""
    try:
        return os.pidfd_open(owner)
    except (AttributeError, OSError):
        return None


def _prctl(option: int, value: int) -> None:
    ctypes.CDLL(None, use_errno=True).prctl(option, value, 0, 0, 0)


def main() -> None:
    """Step out of the owner's children, which some owners kill when they end, and keep."""
    control, owner = socket.socket(fileno=int(sys.argv[1])), _watch(int(sys.argv[2]))
    if os.fork():
        os._exit(0)
    if LINUX:
        _prctl(PR_SET_CHILD_SUBREAPER, 1)
    Keeper(control, owner).keep()
    os._exit(0)


if __name__ == "__main__":
    main()
