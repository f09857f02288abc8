"""`install`, `build` and `clean`: each run to its end, install once on a machine."""

from __future__ import annotations

import asyncio
import fcntl
import hashlib
import json
import logging
import os
import sys
import tempfile
from collections.abc import AsyncGenerator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from deployments.servers.commands import command
from deployments.servers.fields import CLEAN_LIMIT, HttpServerConfig
from deployments.servers.output import Output
from deployments.servers.process import Command, Process
from graphs.errors import AnabranchError, Unavailable

logger = logging.getLogger("anabranch.servers")

LIMIT = 3600.0
"""The longest that install or build may take: they download and compile."""
LOOK = 0.2
"""Seconds between two looks at a lock that another replica holds."""


async def prepare(config: HttpServerConfig, output: Output) -> None:
    """Run install, if it hasn't been on this machine, and build; one replica at a time."""
    if config.install is None and config.build is None:
        return
    async with _locked(_mark(config)) as mark:
        if config.install is not None and not mark.stat().st_size:
            await _run("install", command(config, config.install, config.port), LIMIT, output)
            mark.write_text("installed\n", encoding="utf-8")
        if config.build is not None:
            await _run("build", command(config, config.build, config.port), LIMIT, output)


async def clean(config: HttpServerConfig, output: Output) -> None:
    """Run clean; that it fails is told to the log alone, for nobody waits for it."""
    if config.clean is None:
        return
    try:
        await _run("clean", command(config, config.clean, config.port), CLEAN_LIMIT, output)
    except AnabranchError as error:
        logger.error("%s", error.message)


async def _run(name: str, script: Command, limit: float, output: Output) -> None:
    try:
        process = await Process.start(script, output)
    except Unavailable as error:
        raise error.at(f"its {name} script can't be run") from None
    try:
        async with asyncio.timeout(limit):
            ending = await process.wait()
    except TimeoutError:
        raise Unavailable(output.quoted(f"its {name} script didn't end within {limit:g} s")) from None
    finally:
        await process.stop(0)
    if ending.status != 0:
        raise Unavailable(output.quoted(f"its {name} script {ending}"))


def _mark(config: HttpServerConfig) -> Path:
    """Return the file that says whether this has been installed: by these commands, in this folder, for this Python."""
    install = command(config, config.install or (), config.port)
    folder = Path(install.folder or ".").absolute()
    with suppress(OSError):
        # A folder that was deleted and made anew has another number, and nothing in it.
        made = folder.stat()
        folder = Path(f"{folder}#{made.st_dev}:{made.st_ino}")
    of = [install.words, dict(config.env), str(folder), sys.prefix]
    return _folder() / hashlib.sha256(json.dumps(of).encode()).hexdigest()


def _folder() -> Path:
    """Return where marks are kept: the user's cache, or where there is none, the folder for what is temporary."""
    cache = Path(os.environ.get("XDG_CACHE_HOME") or "~/.cache").expanduser() / "anabranch" / "installed"
    try:
        cache.mkdir(parents=True, exist_ok=True)
        if os.access(cache, os.W_OK):
            return cache
    except OSError:
        pass
    fallback = Path(tempfile.gettempdir()) / f"anabranch-{os.getuid()}" / "installed"
    fallback.mkdir(mode=0o700, parents=True, exist_ok=True)
    return fallback


@asynccontextmanager
async def _locked(mark: Path) -> AsyncGenerator[Path]:
    """Hold a file against the other replicas of this machine; the kernel lets go of it for one that is killed."""
    with mark.open("a") as file:
        async with asyncio.timeout(2 * LIMIT):
            while not _lock(file.fileno()):  # noqa: ASYNC110  (the other is another process)
                await asyncio.sleep(LOOK)
        yield mark


def _lock(file: int) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
