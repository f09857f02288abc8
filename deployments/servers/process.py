"""Start a command as a process that ends, with all that it has started, when this process does: even when it is killed."""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import signal
import subprocess
import sys
import threading
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from deployments.servers.commands import Command
from deployments.servers.keeper import descendants
from deployments.servers.output import Output
from graphs.errors import Unavailable

logger = logging.getLogger("anabranch.servers")

KEEPER = str(Path(__file__).with_name("keeper.py"))
PIECE = 16 * 1024
"""Bytes of output that are read at once."""
SLACK = 5.0
"""Seconds beyond the grace in which a killed group must be gone; only the kernel can take longer."""
LAST_WORDS = 1.0
"""How long the rest of the output is awaited once the process has ended."""
PF_EXITING = 0x4
"""Linux's mark of a process that is ending: set before its files and sockets are closed."""


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: its status; of one that was killed, 128 and the number of the signal."""

    status: int

    def __str__(self) -> str:
        with suppress(ValueError):
            if self.status > 128:
                return f"was killed by {signal.Signals(self.status - 128).name}"
        return f"ended with status {self.status}"


class Process:
    """A command that runs, in a session of its own."""

    def __init__(self, popen: subprocess.Popen[bytes], output: Output) -> None:
        self.pid = popen.pid
        """The process that leads the session: `keeper.py`, an ancestor of the command."""
        assert popen.stdin is not None
        assert popen.stdout is not None
        self._popen, self._stdin, self._stdout = popen, popen.stdin, popen.stdout
        self._output = output
        self._loop = asyncio.get_running_loop()
        self._ended: asyncio.Future[Ending] = self._loop.create_future()
        threading.Thread(target=self._follow, name=f"process {self.pid}", daemon=True).start()

    @classmethod
    async def start(cls, command: Command, output: Output) -> Process:
        """Start a command; raises Unavailable when there is no such command or folder."""
        _check(command)
        output.begin()
        try:
            popen = subprocess.Popen(  # noqa: S603, ASYNC220  (returns when the script has been loaded)
                [sys.executable, "-I", "-S", KEEPER, str(os.getpid()), *command.words],
                env=command.env,
                cwd=command.folder,
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                start_new_session=True,
                bufsize=0,
            )
        except OSError as error:
            raise Unavailable(f"this machine can start no more processes: {error}") from None
        return cls(popen, output)

    async def wait(self) -> Ending:
        """Return how it ended, once it and all it started have."""
        return await asyncio.shield(self._ended)

    @property
    def ended(self) -> bool:
        return self._ended.done()

    @property
    def dying(self) -> bool:
        """Whether a process of the session is ending, or has ended and isn't buried yet, where that can be seen."""
        return any(map(_dies, (self.pid, *descendants(self.pid))))

    async def stop(self, grace: float) -> None:
        """Ask it to end, and kill what is left after `grace` seconds."""
        try:
            with suppress(OSError, ValueError):  # it has ended
                self._stdin.write(b"t")
            await asyncio.wait([self._ended], timeout=grace)
        finally:
            self._stdin.close()  # which has the keeper kill what is left
        await asyncio.wait([self._ended], timeout=SLACK)
        if not self.ended:
            logger.error("process %d could not be killed within %g s", self.pid, SLACK)

    def _follow(self) -> None:
        """Read the output and wait for the end, in a thread: an event loop can't wait for processes on every system."""
        reading = threading.Thread(target=self._read, name=f"output of process {self.pid}", daemon=True)
        reading.start()
        status = self._popen.wait()
        self._stdin.close()
        reading.join(LAST_WORDS)
        with suppress(RuntimeError):  # the loop is closed: nothing awaits the end any more
            self._loop.call_soon_threadsafe(self._ended.set_result, Ending(status if status >= 0 else 128 - status))

    def _read(self) -> None:
        with self._stdout as said:
            while packet := said.read(PIECE):
                self._output.feed(packet)
        self._output.end()


def _check(command: Command) -> None:
    word, folder = command.words[0], command.folder
    if folder is not None and not Path(folder).is_dir():
        raise Unavailable(f"there is no folder {folder!r} on this machine to run it in")
    place = str(Path(folder or "", word)) if "/" in word else word
    if shutil.which(place, path=command.env.get("PATH", os.defpath)) is not None:
        return
    if Path(place).exists() and "/" in word:
        raise Unavailable(f"the command can't be run: Permission denied: {word}")
    raise Unavailable(f"there is no command {word!r} on this machine; install it, or write its full path")


def _dies(pid: int) -> bool:
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return sys.platform == "linux"  # it has died
    return state in (b"Z", b"X") or bool(int(fields[5]) & PF_EXITING)
