"""Run a command, and leave nothing of it behind: `keeper.py OWNER COMMAND…`, a script that needs the standard library alone.

A byte on its standard input asks all that runs to stop (SIGTERM); the end of the input, or of the process OWNER, kills it
(SIGKILL). The end of the command kills the rest too, unless it was asked to stop. The script ends when all have ended, with
the command's status, or 128 and the number of the signal that killed it, as in shells.

It is two processes. Ray kills the children of a replica that ends, and them alone: `_relay` is the child, and hands the
status on; `_keep` is the parent of the command, and adopts what the command's own children leave behind.
"""

from __future__ import annotations

import ctypes
import os
import select
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import NoReturn

LINUX = sys.platform == "linux"
LOOK = 0.05
"""Seconds between two looks at processes that are about to end."""
PR_SET_CHILD_SUBREAPER = 36
CANNOT_RUN = 126


def main() -> NoReturn:
    """Run the command that the arguments name."""
    for signum in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP):
        # Sent to the group, and meant for the server; SIG_IGN would be inherited.
        signal.signal(signum, lambda *_: None)
    keeper = os.fork()
    os._exit(_relay(keeper) if keeper else _keep(int(sys.argv[1]), sys.argv[2:]))


def _relay(keeper: int) -> int:
    """Return the keeper's status; if it was killed, take the group along."""
    status = os.waitstatus_to_exitcode(os.waitpid(keeper, 0)[1])
    if status < 0:
        os.killpg(0, signal.SIGKILL)
    return status


def _keep(owner: int, words: list[str]) -> int:
    """Return the command's status, once nothing of it is left."""
    if LINUX:
        ctypes.CDLL(None).prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)
    watched = _watched(owner)
    try:
        server = subprocess.Popen(words, stdin=subprocess.DEVNULL)  # noqa: S603  (to run it is what we are for)
    except OSError as error:
        os.write(2, f"the command can't be run: {error.strerror}: {words[0]}\n".encode())
        return CANNOT_RUN
    asked = threading.Event()
    threading.Thread(target=_obey, args=(watched, asked), daemon=True).start()
    pid, ended = os.waitpid(-1, 0)
    while pid != server.pid:  # what the command's children have left behind is buried meanwhile
        pid, ended = os.waitpid(-1, 0)
    status = os.waitstatus_to_exitcode(ended)
    with suppress(ChildProcessError):
        while True:
            if not asked.is_set():
                _signal_all(signal.SIGKILL)
            if os.waitpid(-1, os.WNOHANG)[0] == 0:
                time.sleep(LOOK)
    return status if status >= 0 else 128 - status


def _watched(owner: int) -> int | None:
    """Return what becomes readable when the owner ends: a fork of it may hold the input open."""
    if not LINUX:
        return None
    try:
        return os.pidfd_open(owner)
    except ProcessLookupError:
        os._exit(CANNOT_RUN)  # it has gone already
    except OSError:  # Linux before 5.3
        return None


def _obey(watched: int | None, asked: threading.Event) -> NoReturn:
    """Signal what the owner asks for; kill everything when it has gone."""
    sources = select.poll()
    for source in (0, watched):
        if source is not None:
            sources.register(source, select.POLLIN)
    while watched not in {source for source, _ in sources.poll()} and os.read(0, 1):
        asked.set()
        _signal_all(signal.SIGTERM)
    while True:
        _signal_all(signal.SIGKILL)
        time.sleep(LOOK)


def _signal_all(signum: int) -> None:
    for pid in list(descendants(os.getpid()) if LINUX else _group()):  # all, before the first has ended
        with suppress(ProcessLookupError, PermissionError):
            os.kill(pid, signum)


def descendants(pid: int) -> Iterator[int]:
    """Yield the processes that come of one, in whatever session they are."""
    for children in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError):  # it has just ended
            for child in map(int, children.read_text().split()):
                yield child
                yield from descendants(child)


def _group() -> Iterator[int]:
    """Yield the other processes of this group: where the system has neither /proc nor subreapers, as macOS."""
    listed = subprocess.run(["ps", "-A", "-o", "pid=,pgid="], stdout=subprocess.PIPE, check=False)  # noqa: S607
    for pid, group in (map(int, line.split()) for line in listed.stdout.splitlines()):
        if group == os.getpgrp() and pid not in (os.getpid(), group):
            yield pid


if __name__ == "__main__":
    main()
