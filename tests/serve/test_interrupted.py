"""`anabranch serve`, told to stop when that is not convenient: while it starts, and a second time while streams end."""

import os
import shutil
import signal
import socket
import subprocess
import tempfile
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path

import pytest
from aiohttp import ClientError

from bench.processes import Processes
from bench.systems import ROOT, SCRIPTS, System, _environment, free_port, serving
from tests.serve.api import calling, data, until

STARTED_WITHIN = 90.0
GONE_WITHIN = 60.0

ENDLESS = """
component:
  type: echo
  action: {text: one, repeat: 1000000, interval: 1h}
"""


@contextmanager
def started(folder: Path, port: int) -> Iterator[tuple[subprocess.Popen[bytes], Processes]]:
    """`anabranch serve` on this port, as soon as its process is there."""
    tag = folder.name
    processes = Processes(tag)
    with (folder / "log").open("wb") as log:
        root = subprocess.Popen(
            [str(SCRIPTS / "anabranch"), "serve", "configs/hello.yaml", "--port", str(port)],
            env=_environment(folder, tag, free_port()), cwd=ROOT, stdout=log, stderr=log, start_new_session=True,
        )  # fmt: skip
    try:
        yield root, processes
    finally:
        processes.stop(root.pid, 1.0)
        root.wait()


@pytest.fixture
def short_path(tmp_path_factory) -> Iterator[Path]:
    """A folder for Ray: the paths of its sockets must be short."""
    folder = Path(tempfile.mkdtemp(prefix="stop-"))
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


@pytest.mark.parametrize(
    ("moment", "number"),
    [
        ("gcs_server", signal.SIGINT),
        ("no_agent.py", signal.SIGTERM),
        ("default_worker.py", signal.SIGINT),
        ("ServeController", signal.SIGTERM),
    ],
)
async def test_interrupted_while_it_starts_and_its_port_is_taken_it_leaves_no_process(
    short_path: Path, moment: str, number: signal.Signals
):
    port = free_port()
    with started(short_path, port) as (root, processes):

        async def names() -> list[str]:
            return [process.name for process in processes.find()]

        def reached(moment: str):
            return lambda names: any(moment in name for name in names) or root.poll() is not None

        await until(names, reached("gcs_server"), within=STARTED_WITHIN)
        with socket.create_server(("127.0.0.1", port)):
            await until(names, reached(moment), within=STARTED_WITHIN)
            assert root.poll() is None, (short_path / "log").read_text()
            root.send_signal(number)
            await until(names, lambda names: not names, within=GONE_WITHIN)
            assert root.wait() == 130


@asynccontextmanager
async def endless(folder: Path) -> AsyncIterator:
    path = folder / "endless.yaml"
    path.write_text(ENDLESS)
    command = [str(SCRIPTS / "anabranch"), "serve", str(path), "--port"]
    # The command itself must have started: interrupted before, it ends at once.
    with serving(
        System("endless", "anabranch serve", lambda port, _: [*command, str(port)], says="Serving ")
    ) as server:
        async with calling(server.url.rstrip("/")) as api:
            yield server, api


async def test_a_second_interrupt_cuts_streams_that_have_not_ended(tmp_path: Path):
    async with endless(tmp_path) as (server, api), api.stream() as reading:
        assert await reading.response.content.readuntil(b"\n\n") == data("one")
        (root,) = [each.pid for each in server.processes.find() if int(each.stat[1]) == os.getpid()]
        os.kill(root, signal.SIGINT)
        await until(lambda: api.get("/ready"), lambda answer: answer.status == 503)
        os.kill(root, signal.SIGINT)
        with pytest.raises(ClientError):
            await reading.rest()

        async def left() -> list[str]:
            return [process.name for process in server.processes.find()]

        await until(left, lambda left: not left, within=GONE_WITHIN)
