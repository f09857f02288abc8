"""`anabranch dev` as a process: what it prints, line by line, and its end."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 30.0
"""For what must come; nothing waits this long unless it is broken."""
SERVED = "Try:"
"""What it prints last, once it serves."""


class Running:
    """A command under way."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self.process = process
        self.said = ""
        """Everything it has printed so far."""
        self.command = ""
        """The command that it says to try."""

    async def until(self, text: str) -> str:
        """Read on until a line holds this text; return what came."""
        assert self.process.stderr is not None
        came = ""
        async with asyncio.timeout(DEADLINE):
            while text not in came:
                line = (await self.process.stderr.readline()).decode()
                assert line, f"it ended without {text!r}: {self.said}{came}"
                came += line
        self.said += came
        return came

    async def served(self) -> str:
        """Wait until it serves; return its address."""
        await self.until(SERVED)
        self.command = (await self.until("curl")).strip()
        found = re.search(r" on (http://\S+) after ", self.said)
        assert found is not None
        return found[1]

    async def ended(self) -> int:
        """Wait for its end; return its status."""
        assert self.process.stderr is not None
        async with asyncio.timeout(DEADLINE):
            self.said += (await self.process.stderr.read()).decode()
            return await self.process.wait()

    def stop(self) -> None:
        """Press Ctrl-C."""
        self.process.send_signal(signal.SIGINT)

    def session(self) -> list[int]:
        """The processes of its session that are left."""
        found: list[int] = []
        for path in Path("/proc").glob("[0-9]*"):
            with suppress(OSError):
                if os.getsid(int(path.name)) == self.process.pid:
                    found.append(int(path.name))
        return found


@asynccontextmanager
async def running(folder: Path, *args: str, **environ: str) -> AsyncIterator[Running]:
    """`anabranch dev ARGS` in a folder, whose packages it knows; stopped in the end."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "graphs.cli", "dev", *args,
        cwd=folder, env=_environ(folder) | environ, stderr=asyncio.subprocess.PIPE, start_new_session=True,
    )  # fmt: skip
    dev = Running(process)
    try:
        yield dev
    finally:
        for pid in dev.session():
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        await dev.ended()


async def until(seen: Callable[[], object]) -> None:
    """Wait for what another process does, which tells nobody."""
    async with asyncio.timeout(DEADLINE):
        while not seen():  # noqa: ASYNC110
            await asyncio.sleep(0.01)


def _environ(folder: Path) -> Mapping[str, str]:
    return {**os.environ, "PYTHONPATH": os.pathsep.join([str(ROOT), str(folder)])}


def plug_in(folder: Path, module: str) -> None:
    """Have a module of the folder found as a plug-in is: as if it were installed."""
    info = folder / f"{module}-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(f"[anabranch.components]\n{module} = {module}\n")
