"""A command to run -> a Process whose group ends with this one, even when this one is killed."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import os
import signal
import socket
import subprocess
import sys
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from deployments.servers.output import Output
from graphs.errors import Unavailable

logger = logging.getLogger("anabranch.servers")

KEEPER = Path(__file__).with_name("keeper.py")
PIECE = 16 * 1024
"""How much output is read before others get their turn."""
SLACK = 5.0
"""Seconds beyond the grace in which a killed group must be gone; only the kernel can take longer."""
LAST_WORDS = 1.0
"""How long the rest of the output is awaited once its writers have ended."""
PF_EXITING = 0x4
"""Linux's mark of a process that is ending: set before its files and sockets are closed."""


@dataclass(frozen=True, slots=True)
class Command:
    """What to run, in which environment, and where."""

    words: tuple[str, ...]
    env: Mapping[str, str]
    folder: str | None = None


@dataclass(frozen=True, slots=True)
class Ending:
    """How a process ended: its status, negative for a signal; None when even its keeper was killed."""

    status: int | None

    def __str__(self) -> str:
        if self.status is None:
            return "was lost, and killed"
        if self.status >= 0:
            return f"ended with status {self.status}"
        try:
            return f"was killed by {signal.Signals(-self.status).name}"
        except ValueError:
            return f"was killed by signal {-self.status}"


class Process:
    """A process that runs. Its group holds all that it has started."""

    def __init__(self, pid: int, keeper: _Line, output: asyncio.Task[None]) -> None:
        self.pid = pid
        self._keeper = keeper
        self._ended = asyncio.create_task(self._follow(output))

    @classmethod
    async def start(cls, command: Command, output: Output) -> Process:
        """Start a command; raises Unavailable when there is no such command or folder."""
        output.begin()
        try:
            keeper, said = await _launch()
        except (OSError, subprocess.SubprocessError) as error:
            raise Unavailable(f"this machine can start no more processes: {error}") from None
        try:
            await keeper.say(command=command.words, env=dict(command.env), folder=command.folder)
            answer = await keeper.hear()
            if "pid" not in answer:
                raise Unavailable(_not_started(answer, command))
        except BaseException:
            keeper.close()
            said.close()
            raise
        return cls(answer["pid"], keeper, asyncio.create_task(_read(said, output)))

    async def wait(self) -> Ending:
        """Return how it ended, once it and all it started have."""
        return await asyncio.shield(self._ended)

    @property
    def ended(self) -> bool:
        """Whether it has."""
        return self._ended.done()

    @property
    def dying(self) -> bool:
        """Whether it, or a process that it has started, is ending, or has ended and isn't buried yet, where that can be seen."""
        return any(map(_dies, _family(self.pid)))

    async def stop(self, grace: float) -> None:
        """Ask it to end, and kill what is left of its group after `grace` seconds."""
        if self.ended:
            return
        try:
            with suppress(ConnectionError):
                await self._keeper.say(stop=grace)
            async with asyncio.timeout(grace + SLACK):
                await self.wait()
        except TimeoutError:
            logger.error("process %d could not be killed within %g s", self.pid, SLACK)
        finally:
            # The end of the socket is the order to kill.
            self._keeper.close()

    async def _follow(self, output: asyncio.Task[None]) -> Ending:
        status: int | None = None
        answer = await self._keeper.hear()
        if "ended" in answer:
            status = answer["ended"]
        else:
            with suppress(ProcessLookupError, PermissionError):
                os.killpg(self.pid, signal.SIGKILL)
        self._keeper.close()
        await asyncio.wait([output], timeout=LAST_WORDS)
        output.cancel()
        return Ending(status)


def _family(pid: int) -> Iterator[int]:
    """Yield a process, and those that came of it and have not left it."""
    yield pid
    with suppress(OSError):  # one may end meanwhile
        for children in Path(f"/proc/{pid}/task").glob("*/children"):
            for child in children.read_text().split():
                yield from _family(int(child))


def _dies(pid: int) -> bool:
    try:
        state, *fields = Path(f"/proc/{pid}/stat").read_bytes().rpartition(b")")[2].split()
    except OSError:
        return sys.platform == "linux"  # it has died
    return state in (b"Z", b"X") or bool(int(fields[5]) & PF_EXITING)


class _Line:
    """This side of the socket to a keeper."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def say(self, **words: Any) -> None:
        self._writer.write(json.dumps(words).encode() + b"\n")
        await self._writer.drain()

    async def hear(self) -> dict[str, Any]:
        """Return what the keeper says next; nothing when it has gone."""
        try:
            line = await self._reader.readline()
        except ConnectionError:
            return {}
        return cast("dict[str, Any]", json.loads(line)) if line.endswith(b"\n") else {}

    def close(self) -> None:
        self._writer.close()


class _Said:
    """The end of the pipe that a process writes to."""

    def __init__(self, reader: asyncio.StreamReader, transport: asyncio.ReadTransport) -> None:
        self._reader = reader
        self._transport = transport

    async def read(self) -> bytes:
        return await self._reader.read(PIECE)

    def close(self) -> None:
        self._transport.close()


async def _launch() -> tuple[_Line, _Said]:
    """Start a keeper; return the socket to it, and what its command will write."""
    ours, theirs = socket.socketpair()
    heard, written = os.pipe()
    with os.fdopen(heard, "rb", buffering=0) as pipe, ours, theirs:
        launching = asyncio.create_task(asyncio.to_thread(_run_keeper, theirs.fileno(), written))
        try:
            await asyncio.shield(launching)
        finally:
            # Cancelled, the thread goes on; what it hands over must stay open until it has.
            await asyncio.wait([launching])
            os.close(written)
        line = _Line(*await asyncio.open_unix_connection(sock=ours.dup()))
        said = asyncio.StreamReader(limit=PIECE)
        transport, _ = await asyncio.get_running_loop().connect_read_pipe(
            lambda: asyncio.StreamReaderProtocol(said), os.fdopen(os.dup(pipe.fileno()), "rb", buffering=0)
        )
        return line, _Said(said, transport)


def _run_keeper(control: int, written: int) -> None:
    """Run the script until it has stepped into the background."""
    subprocess.run(  # noqa: S603  (our own file)
        [sys.executable, "-I", "-S", str(KEEPER), str(control), str(os.getpid())],
        stdin=subprocess.DEVNULL,
        stdout=written,
        stderr=written,
        pass_fds=(control,),
        start_new_session=True,
        check=True,
    )


async def _read(said: _Said, output: Output) -> None:
    try:
        while packet := await said.read():
            output.feed(packet)
            await asyncio.sleep(0)  # a process that never pauses must not keep others from their turn
    finally:
        output.end()
        said.close()


def _not_started(answer: Mapping[str, Any], command: Command) -> str:
    match answer.get("code"):
        case errno.ENOENT if command.folder is not None and not Path(command.folder).is_dir():
            return f"there is no folder {command.folder!r} on this machine to run it in"
        case errno.ENOENT:
            return f"there is no command {command.words[0]!r} on this machine; install it, or write its full path"
        case _:
            return f"the command can't be run: {answer.get('failed', 'its keeper was killed')}"
