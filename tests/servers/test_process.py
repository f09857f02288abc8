"""A process: how it ends, and what is gone then."""

from __future__ import annotations

import asyncio
import logging
import os
import resource
import signal
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path

import pytest

from deployments.servers.commands import Command
from deployments.servers.output import Output
from deployments.servers.process import Process
from graphs.errors import Unavailable
from tests.servers.waiting import DEADLINE, called_with, gone, parent_of

ROOT = Path(__file__).parent.parent.parent
DAEMON = "setsid sleep 1000 & echo $!; "


@asynccontextmanager
async def running(*words: str, folder: str | None = None, **env: str) -> AsyncIterator[Process]:
    process = await Process.start(Command(words, {**os.environ, **env}, folder), Output("it"))
    try:
        yield process
    finally:
        await process.stop(0)


def shell(line: str) -> tuple[str, ...]:
    return ("/bin/sh", "-ec", line)


async def said(caplog: pytest.LogCaptureFixture, count: int = 1) -> list[str]:
    """The first lines that a process writes, once they are in the log."""
    async with asyncio.timeout(DEADLINE):
        while len(caplog.messages) < count:  # noqa: ASYNC110  (a log tells nobody what comes in)
            await asyncio.sleep(0.01)
    return [message.removeprefix("it | ") for message in caplog.messages]


@pytest.fixture(autouse=True)
def _all_is_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO, "anabranch.servers")


async def test_a_command_has_its_words_its_environment_and_its_folder(caplog: pytest.LogCaptureFixture, tmp_path: Path):
    async with running(*shell('echo "$0 $SAYS $(pwd)"'), "a b", folder=str(tmp_path), SAYS="hush") as process:
        assert str(await process.wait()) == "ended with status 0"
    assert caplog.messages == [f"it | a b hush {os.path.realpath(tmp_path)}"]  # noqa: ASYNC240  (a temporary folder)


@pytest.mark.parametrize(
    ("words", "folder", "message"),
    [
        (("no-such-command",), None, "no command 'no-such-command' on this machine; install it"),
        (("true",), "/no/such", "no folder '/no/such' on this machine"),
        (("/",), None, "can't be run: Permission denied: /"),
    ],
)
async def test_a_command_that_cannot_run_is_told(words: tuple[str, ...], folder: str | None, message: str):
    with pytest.raises(Unavailable, match=message):
        await Process.start(Command(words, dict(os.environ), folder), Output("it"))


@pytest.mark.parametrize(
    ("line", "ending"), [("exit 3", "ended with status 3"), ("kill -9 $$", "was killed by SIGKILL")]
)
async def test_how_it_ended_is_told(line: str, ending: str):
    async with running(*shell(line)) as process:
        assert str(await process.wait()) == ending


async def test_it_is_asked_to_stop_before_it_is_killed(caplog: pytest.LogCaptureFixture):
    async with running(*shell("trap 'echo bye; exit 7' TERM; echo up; while :; do sleep 0.02; done")) as process:
        await said(caplog)
        await process.stop(DEADLINE)
        assert str(await process.wait()) == "ended with status 7"
    assert caplog.messages[-1] == "it | bye"


async def test_all_that_it_started_may_stop_in_peace(caplog: pytest.LogCaptureFixture):
    child = "trap 'sleep 0.1; echo child bye; exit' TERM; echo up; while :; do sleep 0.02; done"
    async with running(*shell(f"/bin/sh -c '{child.replace(chr(39), chr(34))}' & wait")) as process:
        await said(caplog)
        await process.stop(DEADLINE)
    assert "it | child bye" in caplog.messages


async def test_what_does_not_hear_is_killed(caplog: pytest.LogCaptureFixture):
    async with running(*shell("trap '' TERM; echo up; while :; do sleep 0.02; done")) as process:
        await said(caplog)
        await process.stop(0.1)
        assert str(await process.wait()) == "was killed by SIGKILL"


async def test_what_it_leaves_behind_is_gone_when_it_has_ended(caplog: pytest.LogCaptureFixture):
    async with running(*shell(f"{DAEMON} sleep 1000 & echo $!; exit 0")) as process:
        await process.wait()
        for pid in await said(caplog, 2):
            with pytest.raises(ProcessLookupError):
                os.kill(int(pid), 0)


@pytest.mark.parametrize("turns", [0, 1, 3, 10, 30, 100])
async def test_a_start_that_is_given_up_leaves_nothing(turns: int, tmp_path: Path):
    words = ("sleep", "1000", str(tmp_path))
    starting = asyncio.create_task(Process.start(Command(words, dict(os.environ)), Output("it")))
    for _ in range(turns):
        await asyncio.sleep(0.001)
    starting.cancel()
    await asyncio.wait([starting])
    if not starting.cancelled():
        await starting.result().stop(0)
    for pid in called_with(str(tmp_path)):
        assert await gone(pid)


async def test_an_owner_may_have_a_thousand_files_open(tmp_path: Path):
    (tmp_path / "empty").touch()
    if resource.getrlimit(resource.RLIMIT_NOFILE)[0] < 2048:
        pytest.skip("no process here may have so many files open")
    with ExitStack() as stack:
        for _ in range(1024):
            stack.enter_context((tmp_path / "empty").open())
        async with running(*shell("kill -9 $$")) as process:
            assert str(await process.wait()) == "was killed by SIGKILL"


@pytest.mark.parametrize("which", ["the child", "the keeper"])
async def test_when_a_process_between_is_killed_all_is_gone(caplog: pytest.LogCaptureFixture, which: str):
    async with running(*shell("sleep 1000 & echo $$ $!; wait")) as process:
        server, child = map(int, (await said(caplog))[0].split())
        keeper = parent_of(server)
        assert parent_of(keeper) == process.pid
        os.kill(keeper if which == "the keeper" else process.pid, signal.SIGKILL)
        assert str(await process.wait()) == "was killed by SIGKILL"
        assert await gone(server)
        assert await gone(child)


def test_the_group_is_found_where_there_is_no_proc():
    with subprocess.Popen(["sleep", "1000"], process_group=0) as leader:
        other = subprocess.Popen(["sleep", "1000"], process_group=leader.pid)
        code = (
            f"import os; os.setpgid(0, {leader.pid}); from deployments.servers.keeper import _group; print(*_group())"
        )
        found = subprocess.run([sys.executable, "-c", code], cwd=ROOT, stdout=subprocess.PIPE, text=True, check=True)
        for each in (leader, other):
            each.kill()
        other.wait()
    assert str(other.pid) in found.stdout.split()
    assert str(leader.pid) not in found.stdout.split()


@pytest.mark.parametrize("twin", [False, True], ids=["alone", "with a fork that has its files open"])
async def test_an_owner_that_is_killed_takes_everything_along(twin: bool, tmp_path: Path):
    born = tmp_path / "born"
    os.mkfifo(born)
    line = f"trap '' TERM; setsid sleep 1000 & echo $! > {born}; sleep 1000"
    owner = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.servers.owner", *(["--twin"] if twin else []), *shell(line),
        cwd=ROOT, stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    assert owner.stdout is not None
    daemon = int(await asyncio.to_thread(born.read_text))
    server, other = map(int, (await owner.stdout.readline()).split())
    try:
        owner.kill()
        await owner.wait()
        assert await gone(server)
        assert await gone(daemon)
    finally:
        if other:
            os.kill(other, signal.SIGKILL)
